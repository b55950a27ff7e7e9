"""Victims from modules of PyTorch, whatever they are made of; the weights stay in the module."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxadv import checks
from jaxadv.captions.captioner import Captioner
from jaxadv.errors import InputError
from jaxadv.hashing.hasher import CrossModalHasher, unit
from jaxadv.labels.classifier import MultiLabelClassifier
from jaxadv.victims.nets.inference import normalised
from jaxadv.victims.torch_captioners import captioner, parts_of
from jaxadv.victims.torch_functions import in_jax, pytorch
from jaxadv.vocabulary import END, Vocabulary


class TorchVictim(NamedTuple):
    """A victim whose functions call PyTorch.

    Attributes:
      model: the pure functions of its kind.
      params: (); the module has its own.
    """

    model: Captioner | MultiLabelClassifier | CrossModalHasher
    params: tuple[()] = ()


def from_torch(
    module: Any,
    image_shape: tuple[int, int, int],
    *,
    classes: Sequence[str] = (),
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    std: Sequence[float] = (1.0, 1.0, 1.0),
    vocabulary: Vocabulary | str | None = None,
    begin: Sequence[int] = (),
    end: int | None = None,
    max_length: int = 20,
    tags: Sequence[str] = (),
    logit_scale: float | None = None,
) -> TorchVictim:
    """Make a victim of a PyTorch module: a tagger, a captioner, or a pair of encoders.

    It is a **captioner** where a `vocabulary` is given, a **pair of encoders** where `tags` are,
    and a **tagger** else. Whole batches go through PyTorch at once, values and gradients, on the
    module's device. `ja.check(victim.model, victim.params)` says what does not work.

    Args:
      module: of a tagger, pixels f[B, 3, H, W] to logits f[B, c], as a tensor or as `logits` of
        what it returns. Of a captioner, a model of `transformers`, or a pair of functions:
        `encode`, pixels to features f[B, ...], and `score`, `(features, tokens i64[B, n])` to
        the scores f[B, n, V] of what comes behind each token. Of encoders, a pair: pixels to
        codes f[B, K], and bags of words f[B, T] to codes f[B, K]. Modules are in `eval()` mode;
        functions that are no modules get float32 on the CPU.
      image_shape: (H, W, 3).
      classes: what the logits are of; of encoders, the labels that say what is alike.
      mean: what is taken from pictures in [0, 1] before they are divided, a channel each.
      std: what they are divided by.
      vocabulary: what a captioner's tokens mean, or the text of its tokenizer's `tokenizer.json`
        (`tokenizer.backend_tokenizer.to_str()` of `transformers`).
      begin: the tokens before every caption: the one it starts with, and those of a prompt with
        those that stand for a picture in it, as the model's processor writes them.
      end: the token that ends a caption; 0 by default, where words are given. A caption's numbers
        are the tokens', but for 0, which is exchanged with it.
      max_length: the most tokens of a caption.
      tags: the words of a bag.
      logit_scale: of encoders whose codes are compared by their inner product at norm 1, what it
        is multiplied by; None compares signs.

    Returns:
      the victim, `.model` and `.params`.

    Raises:
      InputError: PyTorch is not installed; an argument is of another kind; an encoder or a
        captioner is in training mode, fails on two pictures, or gives no row for each (of a tagger
        `ja.check` says so).

    >>> import pytest
    >>> torch = pytest.importorskip("torch")
    >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 3)).eval()
    >>> tagger = from_torch(net, (4, 4, 3), classes=("cat", "dog", "car"), mean=(0.5, 0.5, 0.5))
    >>> tagger.model.logits(tagger.params, jnp.ones((4, 4, 3))).shape
    (3,)
    """
    pytorch()
    _check_shape(image_shape)

    def see(image: Array) -> Array:
        return jnp.moveaxis(normalised(image, mean, std), -1, 0)

    if vocabulary is not None:
        checks.whole("max_length", max_length, 2)
        if isinstance(vocabulary, str) and end is None:
            raise InputError("end: give the tokenizer's number of the token that ends a caption")
        parts, last = parts_of(module, tuple(begin)), END if end is None else end
        return TorchVictim(captioner(parts, vocabulary, last, see, max_length, image_shape))
    if tags:
        return TorchVictim(
            _encoders(module, see, image_shape, tuple(classes), tuple(tags), logit_scale)
        )
    checks.callable_("module", module, "a torch.nn.Module")
    logits = in_jax(module, module)
    return TorchVictim(
        MultiLabelClassifier(lambda params, image: logits(see(image)), tuple(classes), image_shape)
    )


def _check_shape(shape: Any) -> None:
    if not (isinstance(shape, tuple) and len(shape) == 3 and shape[2] == 3):
        raise checks.wrong("image_shape", str(shape), "(height, width, 3), the colours last")


def _encoders(
    modules: Any,
    see: Callable[[Array], Array],
    image_shape: tuple[int, int, int],
    classes: tuple[str, ...],
    tags: tuple[str, ...],
    logit_scale: float | None,
) -> CrossModalHasher:
    """Make the pair of functions to codes."""
    if not (isinstance(modules, tuple) and len(modules) == 2 and all(map(callable, modules))):
        raise InputError(
            "module: with `tags` it must be a pair of modules, one of pictures and one of bags"
        )
    of_image, of_text = (in_jax(module, module) for module in modules)

    def code(found: Array) -> Array:
        return found if logit_scale is None else unit(found)

    def image_code(params: Any, image: Array) -> Array:
        return code(of_image(see(image)))

    picture = jax.ShapeDtypeStruct(image_shape, jnp.float32)
    (bits,) = jax.eval_shape(image_code, (), picture).shape
    return CrossModalHasher(
        image_code=image_code,
        text_code=lambda params, bag: code(of_text(bag)),
        bits=bits,
        image_shape=image_shape,
        tags=tags,
        classes=classes,
        logit_scale=None if logit_scale is None else lambda params: jnp.asarray(logit_scale),
    )
