"""Laying a checkpoint's entries out as the variables of a network, or saying what does not fit."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxadv.formats.errors import PortingError, listed, quoted

Transform = Callable[[np.ndarray], np.ndarray]
Keys = tuple[str, ...]
Arrays = dict[str, np.ndarray]

MOST_SHOWN = 5  # entries of each kind that a message lists


class Entry(NamedTuple):
    """The foreign entry of one leaf: its name, and what brings it into Flax's layout.

    Several leaves may be of one entry. A transform raises `ValueError`, `IndexError` or `TypeError`
    for an array of another shape than it takes.
    """

    name: str
    transform: Transform


class Mapped(NamedTuple):
    """A row of what was mapped: the foreign name, the leaf's path and its shape in Flax."""

    name: str
    leaf: str
    shape: tuple[int, ...]


class Misfit(PortingError):
    """A checkpoint of another network: entries are missing, left over or of another shape."""


#: what checkpoints hold that no captioner uses: counters, heads of the classifier, what
#: optimisers remember, running means of weights; of `transformers`, numbers of positions, causal
#: masks, poolers, and the words' embeddings once more, as the output's weights, which are the same
UNUSED = re.compile(
    r".*\.num_batches_tracked|fc\.(weight|bias)|AuxLogits\..*|\d\d\.meta"
    r"|global_step|beta[12]_power|OptimizeLoss/.*|InceptionV3/(AuxLogits|Logits)/.*"
    r"|.*/(Momentum|Adam(_1)?|RMSProp(_1)?|Adagrad|ExponentialMovingAverage)"
    r"|.*\.position_ids|decoder\.transformer\.h\.\d+\.(attn|crossattention)\.(masked_)?bias"
    r"|encoder\.pooler\..*|decoder\.lm_head\.weight"
    r"|text_decoder\.cls\.predictions\.decoder\.(weight|bias)"
)


def keys_of(path: Any) -> Keys:
    """Name a leaf of a tree of dicts by the keys on the way to it."""
    return tuple(str(part.key) for part in path)


def fit(
    arrays: Arrays, table: Mapping[Keys, Entry], tree: Any, source: str
) -> tuple[Any, list[Mapped]]:
    """Lay a checkpoint's arrays out as the Flax tree.

    Args:
      arrays: what the files hold; what is laid out is taken from it, so that it is held once.
      table: which entry each leaf is.
      tree: the expected variables, as `jax.eval_shape` gives them.
      source: the files, for the error.

    Returns:
      the variables, and what was mapped.

    Raises:
      Misfit: entries are missing, left over, or of another shape; the first of each are named.
      PortingError: entries hold what weights cannot be.
    """
    if problems := misfits(arrays, table, tree):
        raise Misfit(f"{source}: not a checkpoint of this architecture: {'; '.join(problems)}")
    uses = Counter(entry.name for entry in table.values())
    odd: list[str] = []
    mapped: list[Mapped] = []

    def take(path: Any, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        keys = keys_of(path)
        entry = table[keys]
        uses[entry.name] -= 1
        stored = arrays[entry.name] if uses[entry.name] else arrays.pop(entry.name)
        if stored.dtype.kind != "f":
            odd.append(f"{quoted(entry.name)} holds {stored.dtype}, not floating-point numbers")
            return stored
        with np.errstate(over="ignore"):  # numbers that only float64 has become infinite, and named
            value = np.asarray(entry.transform(stored), leaf.dtype, order="C")
        if infinite := int(value.size - np.isfinite(value).sum()):
            odd.append(f"{quoted(entry.name)} holds {infinite:,} NaN or infinite of {value.size:,}")
        elif keys[-1] == "var" and (value < 0).any():
            odd.append(f"{quoted(entry.name)} holds negative variances")
        mapped.append(Mapped(entry.name, "/".join(keys), value.shape))
        return value

    variables = jax.tree_util.tree_map_with_path(take, tree)
    if odd:
        hint = "; integers are weights without their scale, as quantised networks have"
        integers = any("floating-point" in line for line in odd)
        raise PortingError(
            f"{source}: weights that cannot be right: {_first(dict.fromkeys(odd))}"
            f"{hint if integers else ''}"
        )
    return variables, mapped


def misfits(arrays: Arrays, table: Mapping[Keys, Entry], tree: Any) -> list[str]:
    """Say what is missing, left over and of another shape: a line each, none where all fits."""
    wanted = {entry.name for entry in table.values()}
    missing = sorted(wanted - arrays.keys())
    extra = sorted(name for name in arrays.keys() - wanted if not UNUSED.fullmatch(name))
    misshapen = [
        line
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        if (line := _misshapen(arrays, table[keys_of(path)], leaf.shape))
    ]
    unexpected = [f"{quoted(name)} {arrays[name].shape}" for name in extra]
    kinds = {
        "missing": listed(missing),
        "unexpected": _first(unexpected),
        "of another shape": _first(misshapen),
    }
    counts = (len(missing), len(extra), len(misshapen))
    return [
        f"{count:,} {kind}: {lines}"
        for count, (kind, lines) in zip(counts, kinds.items(), strict=True)
        if count
    ]


def _misshapen(arrays: Arrays, entry: Entry, shape: tuple[int, ...]) -> str:
    """Say how an entry that is there differs in shape; nothing where it does not."""
    if entry.name not in arrays:
        return ""
    stored = arrays[entry.name]
    try:
        found = entry.transform(stored).shape
    except (ValueError, IndexError, TypeError):
        return f"{quoted(entry.name)} {stored.shape} does not become {shape}"
    if found == shape:
        return ""
    return f"{quoted(entry.name)} {stored.shape} is {found} in Flax's layout, expected is {shape}"


def _first(lines: Iterable[str]) -> str:
    every = list(lines)
    more = len(every) - MOST_SHOWN
    return ", ".join(every[:MOST_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
