"""What `ja.from_torch` costs over the native form of the same weights, in one interleaved run.

python -m benchmarks.from_torch

ViT-GPT2 of `transformers` with random weights, as it is and read from the files that it saves:
the log-likelihood of a whole caption and its gradient.
"""

import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

import jaxadv as ja
from benchmarks.timing import compare
from jaxadv.captions.captioner import caption_log_probability

WORDS, PLACES = 5000, 12
WIDTH, LAYERS, SIDE = 192, 6, 224


def published(folder: Path) -> Any:
    """Save a random network and its tokenizer as they are published; return the network."""
    import tokenizers
    import torch
    import transformers

    torch.manual_seed(0)
    words = {f"w{number}": number for number in range(WORDS)}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="w1"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(folder / "tokenizer.json"))
    sees = transformers.ViTConfig(
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=3,
        intermediate_size=4 * WIDTH,
        image_size=SIDE,
    )
    speaks = transformers.GPT2Config(
        n_embd=WIDTH,
        n_layer=LAYERS,
        n_head=3,
        n_positions=2 * PLACES,
        vocab_size=WORDS,
        bos_token_id=0,
        eos_token_id=0,
    )
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(sees, speaks)
    config.decoder_start_token_id = config.eos_token_id = config.pad_token_id = 0
    net = transformers.VisionEncoderDecoderModel(config).eval()
    net.save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps({"max_length": PLACES}))
    return net


def sides_of(folder: Path) -> dict[str, Any]:
    """Return the network as it is, and natively; each is a victim with its parameters."""
    net = published(folder)
    native = ja.load(str(folder))
    made: Any = native.architecture
    torch = ja.from_torch(
        net,
        made.image_shape,
        mean=made.mean,
        std=made.std,
        vocabulary=(folder / "tokenizer.json").read_text(),
        begin=(0,),
        end=0,
        max_length=PLACES,
    )
    return {"from_torch": torch, "native": native}


def slopes(victim: Any, images: Any, tokens: Any) -> Callable[[], Any]:
    """Make the log-likelihood of a caption a picture, and its gradient by the picture."""

    def likelihood(image: Any, words: Any) -> Any:
        features = victim.model.encode(victim.params, image)
        return caption_log_probability(victim.model, victim.params, features, words)

    return partial(jax.jit(jax.vmap(jax.value_and_grad(likelihood))), images, tokens)


def main() -> None:
    """Print a line for each batch."""
    with tempfile.TemporaryDirectory() as folder:
        sides = sides_of(Path(folder))
    for count in (1, 8):
        shape = (count, SIDE, SIDE, 3)
        images = np.random.default_rng(0).uniform(size=shape).astype(np.float32)
        tokens = np.tile(np.arange(2, 2 + PLACES, dtype=np.int32), (count, 1))
        runs = {name: slopes(victim, images, tokens) for name, victim in sides.items()}
        (found,) = compare("likelihood and gradient", runs)
        assert found.seconds is not None
        seconds = " and ".join(f"{value:.3f} s" for value in found.seconds)
        print(f"{count} pictures, {found.what}: {found.ratio:.2f} ({seconds})", flush=True)


if __name__ == "__main__":
    main()
