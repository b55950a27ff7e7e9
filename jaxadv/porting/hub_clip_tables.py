"""What the parameters of CLIP and SigLIP are called in the checkpoints of `transformers`."""

import re
from collections.abc import Iterable
from functools import partial
from typing import Any

import jax
import numpy as np

from jaxadv.porting.fitting import Entry, Keys, Transform, keys_of

#: what stands for a leaf's name there
LEAVES = {"kernel": "weight", "scale": "weight", "embedding": "weight", "bias": "bias"}

_BLOCK = {
    "norm1": "layer_norm1",
    "norm2": "layer_norm2",
    "query": "self_attn.q_proj",
    "key": "self_attn.k_proj",
    "value": "self_attn.v_proj",
    "out": "self_attn.out_proj",
    "widen": "mlp.fc1",
    "narrow": "mlp.fc2",
}
_TOWER = {
    "class_token": "embeddings.class_embedding",
    "positions": "embeddings.position_embedding.weight",
    "embed": "embeddings.patch_embedding",
    "norm_before": "pre_layrnorm",
    "norm": "post_layernorm",
}
_TEXT = {
    "positions": "embeddings.position_embedding.weight",
    "embed": "embeddings.token_embedding",
    "norm": "final_layer_norm",
}
_OTHERS = {
    "norm": "vision_model.post_layernorm",
    "visual_projection": "visual_projection",
    "text_projection": "text_projection",
    "text_head": "text_model.head",
}
_HEAD = {"norm": "layernorm", "widen": "mlp.fc1", "narrow": "mlp.fc2", "out": "attention.out_proj"}
_QUERY_KEY_VALUE = ("query", "key", "value")
_NUMBERS = {"log_scale": "logit_scale", "logit_bias": "logit_bias"}
# counters that old releases stored
_UNUSED = re.compile(r"(text|vision)_model\.embeddings\.position_ids")


def clip_table(tree: Any) -> dict[Keys, Entry]:
    """Name every leaf of the variables of a `Clip` or `Siglip` in the terms of `transformers`."""
    table = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        keys = keys_of(path)
        part, *rest = keys[1:]
        inside = tuple(rest)
        match part:
            case "tower":
                table[keys] = tower_entry(inside, leaf.shape, "vision_model.")
            case "text":
                table[keys] = _text_entry(inside, leaf.shape)
            case "pool":
                table[keys] = _pool_entry(inside, leaf.shape)
            case "log_scale" | "logit_bias":
                table[keys] = Entry(_NUMBERS[part], lambda array: array.reshape(()))
            case _:
                table[keys] = linear(_OTHERS[part], inside[-1], leaf.shape)
    return table


def clip_unused(stored: Iterable[str]) -> set[str]:
    """Name what a file of CLIP or SigLIP holds in addition to the two encoders."""
    return {name for name in stored if _UNUSED.fullmatch(name)}


def tower_entry(path: Keys, shape: tuple[int, ...], prefix: str) -> Entry:
    """Name a leaf of a `Tower` whose modules' names begin with `prefix`."""
    if path[0] == "encoder":
        return _block_entry(path[1:], shape, prefix)
    if path[0] in ("class_token", "positions"):
        return Entry(f"{prefix}{_TOWER[path[0]]}", _as_it_is)
    return linear(f"{prefix}{_TOWER[path[0]]}", path[-1], shape)


def linear(module: str, leaf: str, shape: tuple[int, ...]) -> Entry:
    """Name a leaf of a linear map, a convolution or a norm; heads are parted where Flax does."""
    return Entry(f"{module}.{LEAVES[leaf]}", _layout(leaf, shape))


def _layout(leaf: str, shape: tuple[int, ...]) -> Transform:
    if leaf == "kernel" and len(shape) == 4:
        return lambda array: array.transpose(2, 3, 1, 0)
    if leaf == "kernel":
        return lambda array: array.T.reshape(shape)
    if leaf == "bias":
        return lambda array: array.reshape(shape)
    return _as_it_is


def _block_entry(path: Keys, shape: tuple[int, ...], prefix: str) -> Entry:
    number = path[0].removeprefix("block")
    return linear(f"{prefix}encoder.layers.{number}.{_BLOCK[path[-2]]}", path[-1], shape)


def _text_entry(path: Keys, shape: tuple[int, ...]) -> Entry:
    if path[0] == "encoder":
        return _block_entry(path[1:], shape, "text_model.")
    if path[0] == "positions":
        return Entry(f"text_model.{_TEXT['positions']}", _as_it_is)
    return linear(f"text_model.{_TEXT[path[0]]}", path[-1], shape)


def _pool_entry(path: Keys, shape: tuple[int, ...]) -> Entry:
    """Name a leaf of SigLIP's attention pooling, whose queries, keys and values are one map."""
    if path[0] == "probe":
        return Entry("vision_model.head.probe", lambda array: array.reshape(shape))
    if path[-2] in _QUERY_KEY_VALUE:
        name = f"vision_model.head.attention.in_proj_{LEAVES[path[-1]]}"
        return Entry(name, partial(_third, _QUERY_KEY_VALUE.index(path[-2]), shape))
    return linear(f"vision_model.head.{_HEAD[path[-2]]}", path[-1], shape)


def _third(number: int, shape: tuple[int, ...], array: np.ndarray) -> np.ndarray:
    """Of three maps that lie one behind another, one."""
    return np.split(array, 3)[number].T.reshape(shape)


def _as_it_is(array: np.ndarray) -> np.ndarray:
    return array
