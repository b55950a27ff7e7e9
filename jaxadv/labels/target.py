"""What an attack on a tagger aims at: labels to push out of its first k, and how they are chosen.

Symbols are those of the TkMIA paper: c labels, `Y` (the paper's Y_p) the relevant ones of a
picture, S the specified ones, which are some of Y, and k.
"""

import difflib
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int, PRNGKeyArray

from jaxadv import checks
from jaxadv.errors import InputError
from jaxadv.formats.errors import listed, quoted
from jaxadv.labels.classifier import MultiLabelClassifier
from jaxadv.labels.ranking import in_top


class LabelError(InputError):
    """Labels that cannot be attacked, and why."""


class UnknownLabelError(LabelError):
    """A label that the victim does not know, with the nearest ones that it does."""


class LabelTarget(NamedTuple):
    """Which labels of a picture are to leave the first k; fixed shapes, so nothing recompiles.

    Attributes:
      relevant: bool[c], Y.
      specified: bool[c], S, some of Y.
      k: i32[], how many labels count as said.
    """

    relevant: Bool[Array, " c"]
    specified: Bool[Array, " c"]
    k: Int[Array, ""]


def specify_global(relevant: Bool[Array, " c"], wanted: Bool[Array, " c"]) -> Bool[Array, " c"]:
    """Choose S as the paper's scheme S1: those of the labels wanted everywhere that are relevant.

    >>> specify_global(jnp.array([1, 1, 0], bool), jnp.array([0, 1, 1], bool)).tolist()
    [False, True, False]
    """
    return relevant & wanted


def specify_random(
    relevant: Bool[Array, " c"], number: Int[Array, ""] | int, key: PRNGKeyArray
) -> Bool[Array, " c"]:
    """Choose S as the paper's scheme S2: `number` (the paper's m, 0 < m <= k) of Y at random.

    One example's key chooses for it alone. (The released code draws from the relevant labels among
    the first k of the benign picture: give those instead of Y.)

    Raises:
      LabelError: `number` is less than 1.
    """
    try:
        checks.whole("number", number, 1)
    except InputError as problem:
        raise LabelError(str(problem)) from None
    drawn = jnp.where(relevant, jax.random.uniform(key, relevant.shape), -1.0)
    return relevant & in_top(drawn, number)


def is_valid(target: LabelTarget) -> Bool[Array, "*batch"]:
    """Return whether the paper attacks the picture: `|Y| >= k + |S|` and S not empty; bool[]."""
    relevant, specified = target.relevant.sum(axis=-1), target.specified.sum(axis=-1)
    return (relevant >= target.k + specified) & (specified > 0)


def excluded(target: LabelTarget, scores: Float[Array, " c"]) -> Int[Array, ""]:
    """Return how many specified labels are not among the first k: `|S| - |S'|` of eq. 12; i32[].

    Of equal scores the label of the smaller number leads.
    """
    return (target.specified & ~in_top(scores, target.k)).sum()


def leaves_top(
    target: LabelTarget, scores: Float[Array, " c"], delta: int | None = None
) -> Bool[Array, ""]:
    """Return whether at least δ specified labels are out of the first k (section 5.1); bool[].

    `delta` is the paper's δ; None, and whatever is more than |S|, is all of them, as in eq. 2's
    condition c1; its c2, that others fill the first k, is not asked for. Scores that are not
    finite fool nobody. (`check_target` refuses a δ of more than |S|.)

    Give logits: where a tagger is sure, many probabilities are 1.0 and tied.
    """
    number = target.specified.sum()
    needed = number if delta is None else jnp.minimum(delta, number)
    return (excluded(target, scores) >= needed) & jnp.isfinite(scores).all()


def check_target(target: Any, classes: Sequence[str], delta: int | None = None) -> None:
    """Check that a target, not traced, can be attacked at all.

    Args:
      target: a `LabelTarget` of one picture.
      classes: the victim's.
      delta: δ, how many specified labels must leave; None for all.

    Raises:
      LabelError: masks of other shapes, k outside 1..c-1, no specified label, one that is not
        relevant, or fewer than δ.
    """
    relevant, specified, k = map(np.asarray, target)
    for name, mask in (("relevant", relevant), ("specified", specified)):
        if mask.shape != (len(classes),) or mask.dtype != bool:
            raise LabelError(
                f"{name}: {mask.dtype}{list(mask.shape)}; must be bool[{len(classes)}], one a "
                "label of the victim"
            )
    if k.ndim or not np.issubdtype(k.dtype, np.integer) or not 1 <= k < len(classes):
        raise LabelError(f"k = {k}: give from 1 to {len(classes) - 1}, of {len(classes)} labels")
    stray = np.flatnonzero(specified & ~relevant)
    if stray.size:
        known = listed(classes[int(i)] for i in np.flatnonzero(relevant))
        raise LabelError(
            f"specified label {quoted(classes[int(stray[0])])} is not relevant: choose among "
            f"{known or 'none'}"
        )
    number = int(specified.sum())
    if not number:
        raise LabelError("no specified label: give at least one of the relevant ones")
    if delta is not None and delta > number:
        raise LabelError(
            f"delta = {delta}: must be at most {number}, the labels that are specified"
        )


def parse_labels(text: str | Sequence[str], classes: Sequence[str]) -> Bool[Array, " c"]:
    """Read labels: a list of them, each as the victim has it; or several separated by commas.

    A text that is a label as a whole is that one, commas and all. Upper and lower case are told
    apart only where the victim does.

    >>> parse_labels("Blue square, red circle", ("red circle", "red star", "blue square")).tolist()
    [True, False, True]
    >>> parse_labels(["tench, Tinca tinca", "hen"], ("tench, Tinca tinca", "hen")).tolist()
    [True, True]
    >>> parse_labels("red st", ("red circle", "red star"))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    jaxadv.labels.target.UnknownLabelError: unknown label 'red st': did you mean 'red star'? ...

    Raises:
      UnknownLabelError: a label that is none of the classes, with the nearest ones.
      LabelError: no label.
    """
    known = [_by(way, classes) for way in _WAYS]
    commas = max((name.count(",") for name in classes), default=0)
    named: list[int] = []
    for one in [text] if isinstance(text, str) else text:
        parts = one.split(",")
        place = 0
        while place < len(parts):
            for end in range(min(place + commas + 1, len(parts)), place, -1):
                number = _find(",".join(parts[place:end]), known)
                if number is not None:
                    named.append(number)
                    break
            else:
                end = place + 1
                if name := " ".join(parts[place].split()):
                    raise UnknownLabelError(f"unknown label {quoted(name)}: {_hint(name, classes)}")
            place = end
    if not named:
        raise LabelError("no label: give at least one, separated by commas")
    return jnp.zeros(len(classes), bool).at[jnp.array(named)].set(True)


def _folded(name: str) -> str:
    return " ".join(unicodedata.normalize("NFC", name).casefold().split())


_WAYS: tuple[Callable[[str], str], ...] = (str, str.strip, _folded)  # the exact one is meant first


def _by(way: Callable[[str], str], classes: Sequence[str]) -> dict[str, list[int]]:
    numbers: dict[str, list[int]] = {}
    for number, name in enumerate(classes):
        numbers.setdefault(way(name), []).append(number)
    return numbers


def _find(text: str, known: Sequence[Mapping[str, list[int]]]) -> int | None:
    for way, numbers in zip(_WAYS, known, strict=True):
        found = numbers.get(way(text), [])
        if len(found) > 1:
            raise LabelError(f"label {quoted(text)}: {len(found)} labels are alike; write it as is")
        if found:
            return found[0]
    return None


def make_label_target(
    relevant: Bool[Array, " c"],
    specified: Bool[Array, " c"],
    k: int,
    classes: Sequence[str],
    delta: int | None = None,
) -> LabelTarget:
    """Check a target that a person gives, and build it.

    Raises:
      LabelError: k outside 1..c-1, a specified label that is not relevant, none specified, fewer
        than δ, or too few relevant ones.
    """
    target = LabelTarget(relevant, specified, jnp.asarray(k, jnp.int32))
    check_target(target, classes, delta)
    if not is_valid(target):
        needed = k + int(specified.sum())
        raise LabelError(
            f"{int(relevant.sum())} relevant labels: k + |S| = {needed} are needed, "
            "so that others can fill the first k"
        )
    return target


def target(
    specified: str | Sequence[str],
    relevant: str | Sequence[str],
    k: int,
    model: MultiLabelClassifier,
    delta: int | None = None,
) -> LabelTarget:
    """Make a target from the names of labels.

    Args:
      specified: S, the labels that are to leave the first k.
      relevant: Y, all labels that are right, the specified ones among them.
      k: how many labels count as predicted.
      model: the classifier.
      delta: how many of the specified labels must leave; None for all.

    Raises:
      LabelError: an unknown name, with the nearest ones; or a target that cannot be reached.
    """
    checks.victim(model, MultiLabelClassifier, "classifier")
    names = model.classes
    truth, gone = parse_labels(relevant, names), parse_labels(specified, names)
    return make_label_target(truth, gone, k, names, delta)


def _hint(name: str, classes: Sequence[str]) -> str:
    near = difflib.get_close_matches(_folded(name), [_folded(c) for c in classes], n=3, cutoff=0.6)
    if near:
        known = {_folded(c): c for c in classes}
        names = " or ".join(quoted(known[n]) for n in near)
        return f"did you mean {names}? (the victim knows {len(classes):,} labels)"
    return f"the victim knows {len(classes)} labels, such as {listed(sorted(classes))}"
