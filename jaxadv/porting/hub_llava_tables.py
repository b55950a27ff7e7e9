"""What the parameters of LLaVA, Idefics3 and SmolVLM are called in checkpoints of `transformers`.

Releases named the parts of these networks differently; a file's own names tell which one it is of.
"""

import re
from collections.abc import Collection
from functools import partial
from typing import Any

import jax

from jaxadv.porting.fitting import Entry, Keys, keys_of
from jaxadv.porting.hub_clip_tables import linear, tower_entry
from jaxadv.porting.hub_tables import swapped
from jaxadv.victims.nets.llava import LlavaConfig

#: what a part's names may begin with, the longer before those that they begin with themselves; and
#: without the `model.` that reading takes off where all names have it (`porting.wrapping`)
_DECODERS = (
    "model.language_model.",
    "language_model.model.",
    "language_model.",
    "model.text_model.",
    "text_model.",
)
_TOWERS = (
    "model.vision_tower.vision_model.",
    "model.vision_tower.",
    "vision_tower.vision_model.",
    "vision_tower.",
    "model.vision_model.",
    "vision_model.",
)
_CONNECTORS = (
    "model.multi_modal_projector.",
    "multi_modal_projector.",
    "model.connector.modality_projection.",
    "connector.modality_projection.",
)
_HEADS = ("lm_head.", "language_model.lm_head.")

_CONNECTOR = {"project_in": "linear_1", "project_out": "linear_2", "project": "proj"}
_BLOCK = {
    "norm1": "input_layernorm",
    "norm2": "post_attention_layernorm",
    "query": "self_attn.q_proj",
    "key": "self_attn.k_proj",
    "value": "self_attn.v_proj",
    "out": "self_attn.o_proj",
    "gate": "mlp.gate_proj",
    "widen": "mlp.up_proj",
    "narrow": "mlp.down_proj",
}
# numbers of positions and frequencies, which old releases stored
_COUNTERS = re.compile(r".*\.(position_ids|rotary_emb\.inv_freq)")
_TOWER_LAYER = re.compile(r"encoder\.layers\.(\d+)\..*")


def llava_table(
    tree: Any, config: LlavaConfig, stored: Collection[str], end: int
) -> dict[Keys, Entry]:
    """Name every leaf of a `Llava`'s variables in the terms of `transformers`.

    Args:
      tree: the variables.
      config: the sizes.
      stored: the names in the files.
      end: the tokenizer's number of the token that ends a caption. It and 0 change places, since 0
        ends captions here.
    """
    decoder, tower, connector, head = (
        _prefix(parts, stored) for parts in (_DECODERS, _TOWERS, _CONNECTORS, _HEADS)
    )
    table = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        keys = keys_of(path)
        match keys[1:]:
            case "tower", *inside:
                table[keys] = tower_entry(tuple(inside), leaf.shape, tower)
            case "decoder", "embedding", _:
                table[keys] = Entry(f"{decoder}embed_tokens.weight", partial(swapped, end=end))
            case "decoder", "head", _:
                table[keys] = Entry(f"{head}weight", lambda array: swapped(array, end).T)
            case "decoder", "norm", name:
                table[keys] = linear(f"{decoder}norm", name, leaf.shape)
            case "decoder", block, layer, name:
                module = f"{decoder}layers.{block.removeprefix('blocks_')}.{_BLOCK[layer]}"
                table[keys] = linear(module, name, leaf.shape)
            case layer, name:
                table[keys] = linear(f"{connector}{_CONNECTOR[layer]}", name, leaf.shape)
    return table


def llava_unused(config: LlavaConfig, stored: Collection[str]) -> set[str]:
    """Name what a file holds and no caption depends on.

    These are blocks and norms of the tower behind what the decoder reads, the head that pools its
    patches for others, and scores of words where their embeddings score them.
    """
    tower, head = _prefix(_TOWERS, stored), _prefix(_HEADS, stored)
    unused = {name for name in stored if _COUNTERS.fullmatch(name)}
    if config.decoder.tied:
        unused |= {name for name in stored if name == f"{head}weight"}
    for name in stored:
        inside = name.removeprefix(tower)
        layer = _TOWER_LAYER.fullmatch(inside)
        behind = layer is not None and int(layer[1]) >= config.tower_layers
        unread_norm = config.shuffle is None and inside.startswith("post_layernorm.")
        if name != inside and (behind or unread_norm or inside.startswith("head.")):
            unused.add(name)
    return unused


def _prefix(prefixes: tuple[str, ...], stored: Collection[str]) -> str:
    """Choose what the names of a part begin with in these files."""
    found = (p for p in prefixes if any(name.startswith(p) for name in stored))
    return next(found, prefixes[0])
