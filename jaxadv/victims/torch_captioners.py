"""Captioners of PyTorch: what sees a picture once, and what scores the words behind others."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxadv.captions.captioner import Captioner
from jaxadv.errors import InputError
from jaxadv.subwords import SubwordVocabulary
from jaxadv.victims.torch_functions import Tensor, in_jax, pytorch, tensor_of
from jaxadv.vocabulary import END, Vocabulary

See = Callable[[Array], Array]
"""A picture f32[H, W, 3] in [0, 1] to a network's pixels f32[3, H, W]."""


class Parts(NamedTuple):
    """A captioner in PyTorch.

    Attributes:
      encode: pixels f[B, 3, H, W] to features f[B, ...].
      score: `(features, tokens i64[B, n]) -> f[B, n, V]`, the scores of what comes behind each
        token; no score depends on a later token.
      begin: the tokens before a caption's, one at least; `score` is given them, too.
      modules: whose parameters `encode` and `score` use.
    """

    encode: Callable[[Tensor], Tensor]
    score: Callable[[Tensor, Tensor], Tensor]
    begin: tuple[int, ...]
    modules: tuple[Any, Any]


class _State(NamedTuple):
    """What was said, and the scores of what comes next.

    `tokens`: i32[T - 1]; `left`: i32[], how many of them are not said yet; `scores`: f32[V].
    """

    tokens: Array
    left: Array
    scores: Array


def captioner(
    parts: Parts,
    vocabulary: Vocabulary | str,
    end: int,
    see: See,
    max_length: int,
    image_shape: tuple[int, int, int],
) -> Captioner:
    """Make a captioner's four functions.

    Every word runs the words before it again, and keeps nothing of PyTorch: the state is what was
    said, and the scores that follow.

    Args:
      parts: its functions in PyTorch.
      vocabulary: what its tokens mean, or the text of a `tokenizer.json`.
      end: the token that ends a caption.
      see: prepares a picture.
      max_length: the most tokens of a caption.
      image_shape: (H, W, 3).
    """
    of_pixels, of_words = parts.modules
    encode, score = in_jax(parts.encode, of_pixels), in_jax(_next(parts, end), of_words)

    def features(params: Any, image: Array) -> Array:
        return encode(see(image))

    def scored(seen: Array, tokens: Array, left: Array) -> _State:
        return _State(tokens, left, score(seen, tokens, left))

    def begin(params: Any, seen: Array) -> _State:
        room = max_length - 1  # what follows the last word of all is never asked for
        return scored(seen, jnp.zeros(room, jnp.int32), jnp.full((), room, jnp.int32))

    def advance(params: Any, seen: Array, state: _State, token: Array) -> _State:
        here = jnp.arange(max_length - 1, 0, -1) == state.left
        tokens = jnp.where(here, token, state.tokens).astype(jnp.int32)
        return scored(seen, tokens, jnp.maximum(state.left - 1, 0))

    def logits(params: Any, state: _State) -> Array:
        return state.scores

    if isinstance(vocabulary, str):
        picture = jax.ShapeDtypeStruct(image_shape, jnp.float32)
        first = jax.eval_shape(lambda image: begin((), features((), image)).scores, picture)
        vocabulary = SubwordVocabulary(vocabulary, end, first.shape[-1])
    return Captioner(features, begin, advance, logits, vocabulary, max_length, image_shape)


def _next(parts: Parts, end: int) -> Callable[..., Tensor]:
    """Make the function of PyTorch that scores, by number, what follows a caption's beginning."""
    torch = pytorch()

    def exchanged(tokens: Tensor) -> Tensor:
        """Tokens as numbers, where 0 ends a caption, or numbers as tokens."""
        others = torch.where(tokens == END, end, tokens)
        return torch.where(tokens == end, END, others)

    def score(features: Tensor, tokens: Tensor, left: Tensor) -> Tensor:
        said = tokens.shape[1] - left
        length = int(said.max())
        before = torch.tensor(parts.begin, device=tokens.device).expand(len(tokens), -1)
        ids = torch.cat([before, exchanged(tokens[:, :length])], dim=1)
        every = tensor_of(parts.score(features, ids))[:, -1 - length :]
        here = every[torch.arange(len(said), device=said.device), said]
        return here[:, exchanged(torch.arange(here.shape[-1], device=here.device))]

    return score


def parts_of(module: Any, begin: tuple[int, ...]) -> Parts:
    """Take a captioner of `transformers` apart, or take the two functions that are given.

    A picture is seen once, and words are scored with what was seen, where the model's kind is
    known to allow it: `vision-encoder-decoder`, `blip`, and those that read a picture among the
    words of `begin` (LLaVA), whose keys and values before the caption are the features. Of another
    model (GIT) the whole `forward(pixel_values=..., input_ids=...)` is run for every word.

    Args:
      module: a model of `transformers`, or a pair `(encode, score)`.
      begin: the tokens before a caption's.

    Raises:
      InputError: it is neither, or nothing begins a caption.
    """
    if not begin:
        raise InputError("begin: empty; give the token that a caption begins with, or a prompt's")
    if isinstance(module, tuple) and len(module) == 2 and all(map(callable, module)):
        return Parts(*module, begin, module)
    config = getattr(module, "config", None)
    if config is None:
        raise InputError(
            f"module: a {type(module).__name__}; a captioner must be a model of `transformers` or "
            "a pair of functions (encode, score)"
        )
    kind = getattr(config, "model_type", "")
    if kind == "vision-encoder-decoder":
        return Parts(
            lambda pixels: module.encoder(pixel_values=pixels).last_hidden_state,
            lambda seen, tokens: module(
                encoder_outputs=(seen,), decoder_input_ids=tokens, use_cache=False
            ),
            begin,
            (module, module),
        )
    if kind == "blip":
        return Parts(
            lambda pixels: module.vision_model(pixel_values=pixels).last_hidden_state,
            lambda seen, tokens: module.text_decoder(
                input_ids=tokens, encoder_hidden_states=seen, use_cache=False
            ),
            begin,
            (module, module),
        )
    if getattr(config, "image_token_id", None) in begin[:-1]:
        return _among(module, begin)
    return Parts(
        lambda pixels: pixels,
        lambda pixels, tokens: module(pixel_values=pixels, input_ids=tokens, use_cache=False),
        begin,
        (module, module),
    )


def _among(module: Any, begin: tuple[int, ...]) -> Parts:
    """Keep what a decoder remembers of a picture and the words around it as features."""
    from transformers import DynamicCache

    torch = pytorch()
    prompt = torch.tensor(begin[:-1])
    # as newer versions call it, or older ones
    named = inspect.signature(module.forward).parameters
    memory = "cache" if "cache" in named else "past_key_values"

    def encode(pixels: Tensor) -> Tensor:
        tokens = prompt.to(pixels.device).expand(len(pixels), -1)
        cache = DynamicCache()
        module(pixel_values=pixels, input_ids=tokens, use_cache=True, **{memory: cache})
        layers = [torch.stack([layer.keys, layer.values]) for layer in cache.layers]
        return torch.stack(layers).movedim(2, 0)

    def score(seen: Tensor, tokens: Tensor) -> Tensor:
        cache = DynamicCache()
        for number, (keys, values) in enumerate(seen.movedim(0, 2)):
            cache.update(keys, values, number)
        return module(input_ids=tokens, use_cache=True, **{memory: cache})

    return Parts(encode, score, begin[-1:], (module, module))
