"""Tiny models with random weights in the layouts that `transformers` saves, as files by name."""

import json
import zlib
from pathlib import Path

import numpy as np
from helpers.subword_kinds import byte_level, clip_texts, metaspace, siglip_texts, word_piece
from safetensors.numpy import save

STORED = Path(__file__).parents[1] / "porting/stored"
KINDS = json.loads((STORED / "hub_models.json").read_text())
ENCODERS = json.loads((STORED / "hub_encoders.json").read_text())
PICTURES = b'{"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.2]}'
TOKENIZERS = {"blip": word_piece, "git": word_piece, "vision-encoder-decoder": byte_level,
    "llava": metaspace, "idefics3": metaspace, "clip": clip_texts, "siglip": siglip_texts,
}  # fmt: skip


def published(kind, seed=0):
    """Return the files of a model: configuration, tokenizer and weights."""
    made = (KINDS | ENCODERS)[kind]
    return {
        "config.json": json.dumps(made["config"]).encode(),
        "tokenizer.json": TOKENIZERS[kind]()[0].encode(),
        "preprocessor_config.json": PICTURES,
        "generation_config.json": b'{"max_length": 9}',
        "model.safetensors": save(weights(kind, seed)),
    }


def weights(kind, seed=0):
    """Draw every entry, norms around 1."""
    found = {}
    for name, shape in (KINDS | ENCODERS)[kind]["entries"].items():
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        values = 0.4 * rng.normal(size=shape) / max(1, np.sqrt([1, *shape][-1]) / 2)
        is_norm = "norm" in name.lower() or ".ln_" in name
        found[name] = np.asarray(values + (is_norm and name.endswith("weight")), np.float32)
    return found


def write(folder, files):
    """Write a model's files into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder
