"""What the parameters of the published captioners are called in their `transformers` checkpoints.

Names are those of published files. Number 0 ends a caption, so rows of words are exchanged
(`swapped`).
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxadv.porting.fitting import Entry, Keys, keys_of
from jaxadv.victims.nets.blip import BlipConfig
from jaxadv.victims.nets.git import GitConfig
from jaxadv.victims.nets.vit_gpt2 import ViTGPT2Config

_LEAVES = {"kernel": "weight", "scale": "weight", "embedding": "weight", "bias": "bias"}
_NUMBERED = re.compile(r"(?<=blocks)_(\d+)")


class _Part(NamedTuple):
    """One of the maps, `maps` of them, that a checkpoint holds side by side in one."""

    module: str
    place: int
    maps: int


class _Conv1D(NamedTuple):
    """A map that GPT-2 stores as IO, or one of several side by side."""

    module: str
    place: int = 0
    maps: int = 1


# the Flax module, or leaf, without the numbers of layers: where it is in the checkpoint
_Names = Mapping[str, str | _Part | _Conv1D]


def swapped(rows: np.ndarray, end: int) -> np.ndarray:
    """Exchange row 0 and that of the token that ends a caption, which becomes number 0.

    >>> swapped(np.array([10, 11, 12]), end=2).tolist()
    [12, 11, 10]
    """
    order = np.arange(len(rows))
    order[[0, end]] = end, 0
    return rows[order]


def _query_key_value(here: str, there: str, names: tuple[str, str, str]) -> dict[str, str]:
    """Name three maps that are stored each by itself."""
    parts = ("query", "key", "value")
    return {f"{here}/{p}": f"{there}.{name}" for p, name in zip(parts, names, strict=True)}


_BERT = ("query", "key", "value")
_CLIP = ("q_proj", "k_proj", "v_proj")
_GPT2 = "decoder.transformer.h.{}"
_CROSS = f"{_GPT2}.crossattention.c_attn"
_VIT = "encoder.encoder.layer.{}"

_VIT_GPT2: _Names = {
    "vision/class_token": "encoder.embeddings.cls_token",
    "vision/positions": "encoder.embeddings.position_embeddings",
    "vision/embed": "encoder.embeddings.patch_embeddings.projection",
    "vision/norm": "encoder.layernorm",
    "vision/blocks/norm1": f"{_VIT}.layernorm_before",
    "vision/blocks/norm2": f"{_VIT}.layernorm_after",
    **_query_key_value("vision/blocks/attention", f"{_VIT}.attention.attention", _BERT),
    "vision/blocks/attention/out": f"{_VIT}.attention.output.dense",
    "vision/blocks/mlp/widen": f"{_VIT}.intermediate.dense",
    "vision/blocks/mlp/narrow": f"{_VIT}.output.dense",
    "project": "enc_to_dec_proj",
    "embed": "decoder.transformer.wte",
    "positions": "decoder.transformer.wpe",
    "norm": "decoder.transformer.ln_f",
    "blocks/norm_words": f"{_GPT2}.ln_1",
    "blocks/norm_cells": f"{_GPT2}.ln_cross_attn",
    "blocks/norm_wide": f"{_GPT2}.ln_2",
    **{f"blocks/words/{p}": _Conv1D(f"{_GPT2}.attn.c_attn", i, 3) for i, p in enumerate(_BERT)},
    "blocks/words/out": _Conv1D(f"{_GPT2}.attn.c_proj"),
    "blocks/cells/query": _Conv1D(f"{_GPT2}.crossattention.q_attn"),
    "blocks/cells/key": _Conv1D(_CROSS, 0, 2),
    "blocks/cells/value": _Conv1D(_CROSS, 1, 2),
    "blocks/cells/out": _Conv1D(f"{_GPT2}.crossattention.c_proj"),
    "blocks/mlp/widen": _Conv1D(f"{_GPT2}.mlp.c_fc"),
    "blocks/mlp/narrow": _Conv1D(f"{_GPT2}.mlp.c_proj"),
}


def _clip_tower(prefix: str) -> dict[str, str]:
    """Name what CLIP's tower and BLIP's have in common."""
    layer = f"{prefix}.encoder.layers.{{}}"
    return {
        "vision/class_token": f"{prefix}.embeddings.class_embedding",
        "vision/embed": f"{prefix}.embeddings.patch_embedding",
        "vision/norm": f"{prefix}.post_layernorm",
        "vision/blocks/norm1": f"{layer}.layer_norm1",
        "vision/blocks/norm2": f"{layer}.layer_norm2",
        "vision/blocks/mlp/widen": f"{layer}.mlp.fc1",
        "vision/blocks/mlp/narrow": f"{layer}.mlp.fc2",
    }


def _bert_attention(here: str, there: str) -> dict[str, str]:
    """Name an attention of BERT's layers."""
    return {
        **_query_key_value(f"{here}/attention", f"{there}.self", _BERT),
        f"{here}/attention/out": f"{there}.output.dense",
        f"{here}/norm": f"{there}.output.LayerNorm",
    }


def _bert_mlp(layer: str) -> dict[str, str]:
    """Name the linear maps of BERT's layers."""
    return {
        "blocks/mlp/mlp/widen": f"{layer}.intermediate.dense",
        "blocks/mlp/mlp/narrow": f"{layer}.output.dense",
        "blocks/mlp/norm": f"{layer}.output.LayerNorm",
    }


_BLIP_VISION = "vision_model.encoder.layers.{}.self_attn"
_BLIP_TEXT = "text_decoder.bert.encoder.layer.{}"
_HEAD = "text_decoder.cls.predictions"

_BLIP: _Names = {
    **_clip_tower("vision_model"),
    "vision/positions": "vision_model.embeddings.position_embedding",
    **{
        f"vision/blocks/attention/{part}": _Part(f"{_BLIP_VISION}.qkv", place, 3)
        for place, part in enumerate(_BERT)
    },
    "vision/blocks/attention/out": f"{_BLIP_VISION}.projection",
    "embed": "text_decoder.bert.embeddings.word_embeddings",
    "positions": "text_decoder.bert.embeddings.position_embeddings",
    "norm_embedded": "text_decoder.bert.embeddings.LayerNorm",
    **_bert_attention("blocks/words", f"{_BLIP_TEXT}.attention"),
    **_bert_attention("blocks/cells", f"{_BLIP_TEXT}.crossattention"),
    **_bert_mlp(_BLIP_TEXT),
    "transform": f"{_HEAD}.transform.dense",
    "norm": f"{_HEAD}.transform.LayerNorm",
    "bias": f"{_HEAD}.bias",
}

_GIT_VISION = "git.image_encoder.vision_model"
_GIT_ATTENTION = f"{_GIT_VISION}.encoder.layers.{{}}.self_attn"
_GIT_TEXT = "git.encoder.layer.{}"

_GIT: _Names = {
    **_clip_tower(_GIT_VISION),
    "vision/positions": f"{_GIT_VISION}.embeddings.position_embedding.weight",
    "vision/norm_first": f"{_GIT_VISION}.pre_layrnorm",
    **_query_key_value("vision/blocks/attention", _GIT_ATTENTION, _CLIP),
    "vision/blocks/attention/out": f"{_GIT_ATTENTION}.out_proj",
    "project": "git.visual_projection.visual_projection.0",
    "norm_projected": "git.visual_projection.visual_projection.1",
    "embed": "git.embeddings.word_embeddings",
    "positions": "git.embeddings.position_embeddings",
    "norm_embedded": "git.embeddings.LayerNorm",
    **_bert_attention("blocks/attention", f"{_GIT_TEXT}.attention"),
    **_bert_mlp(_GIT_TEXT),
    "output": "output",
}


def vit_gpt2_table(tree: Any, config: ViTGPT2Config) -> dict[Keys, Entry]:
    """Name every leaf of a `ViTGPT2`'s variables in the terms of `VisionEncoderDecoderModel`."""
    return _table(tree, _VIT_GPT2, config.end, words=("embed",))


def blip_table(tree: Any, config: BlipConfig) -> dict[Keys, Entry]:
    """Name every leaf of a `Blip`'s variables in the terms of `BlipForConditionalGeneration`."""
    return _table(tree, _BLIP, config.end, words=("embed", "bias"))


def git_table(tree: Any, config: GitConfig) -> dict[Keys, Entry]:
    """Name every leaf of a `Git`'s variables in the terms of `GitForCausalLM`."""
    return _table(tree, _GIT, config.end, words=("embed", "output"))


def _table(tree: Any, names: _Names, end: int, words: tuple[str, ...]) -> dict[Keys, Entry]:
    """Name every leaf; the modules `words` have a row a word."""
    table = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        keys = keys_of(path)
        entry = _entry(keys, leaf.shape, names)
        table[keys] = _of_words(entry, end) if keys[1] in words else entry
    return table


def _of_words(entry: Entry, end: int) -> Entry:
    """Exchange rows before a checkpoint's array is laid out."""
    return entry._replace(transform=lambda array: entry.transform(swapped(array, end)))


def _entry(keys: Keys, shape: tuple[int, ...], names: _Names) -> Entry:
    """Name one leaf."""
    *module, leaf = keys[1:]
    layer = next((found[1] for key in module if (found := _NUMBERED.search(key))), "")
    here = "/".join(_NUMBERED.sub("", key) for key in module)
    if not module or f"{here}/{leaf}" in names:  # a leaf outside a module of Flax
        return Entry(str(names["/".join([*module, leaf])]), lambda array: array.reshape(shape))
    there = names[here]
    name = there if isinstance(there, str) else there.module
    return Entry(f"{name}.{_LEAVES[leaf]}".replace("{}", layer), _layout(there, leaf, shape))


def _layout(
    there: str | _Part | _Conv1D, leaf: str, shape: tuple[int, ...]
) -> Callable[[np.ndarray], np.ndarray]:
    """Return what brings a checkpoint's array into the shape of a leaf."""

    def transform(array: np.ndarray) -> np.ndarray:
        if leaf == "kernel" and not isinstance(there, _Conv1D):
            # linear maps OI -> IO; a patch is flattened row by row, colours last
            array = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
        if not isinstance(there, str):
            array = np.split(array, there.maps, axis=-1)[there.place]
        return array.reshape(shape)

    return transform
