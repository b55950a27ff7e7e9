"""Where training starts: from random weights, or from those of a victim or its backbone.

A captioner that is fine-tuned keeps its words and their tokens, and gets new rows of weights for
new words.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv.victims import zoo
from jaxadv.victims.architectures import CaptionerArchitecture, Params, VictimError
from jaxadv.victims.nets.caption_net import initial_variables
from jaxadv.vocabulary import Vocabulary, build_vocabulary, tokenize

MORE_THAN = 4
"""A word is learned if it occurs more often than this in the training captions."""


# ---------------------------------------------------------------- captioners


class Start(NamedTuple):
    """Where the training of a captioner starts.

    Attributes:
      architecture: what is trained.
      vocabulary: its vocabulary.
      variables: its initial variables.
      origin: their origin, for the record.
    """

    architecture: CaptionerArchitecture
    vocabulary: Vocabulary
    variables: Any
    origin: str


def from_scratch(
    architecture: CaptionerArchitecture,
    captions: Sequence[str],
    seed: int = 0,
    more_than: int = MORE_THAN,
) -> Start:
    """Start with random weights and the words that captions have more than `more_than` times."""
    vocabulary = build_vocabulary(captions, more_than)
    net = architecture.network(vocabulary.size)
    variables = initial_variables(net, architecture.image_shape, jax.random.key(seed))
    return Start(architecture, vocabulary, variables, f"scratch, seed {seed}")


def from_victim(victim: zoo.Victim, captions: Sequence[str], seed: int = 0) -> Start:
    """Start with a victim's weights; new words in the captions get random rows.

    Raises:
      VictimError: the victim is not a captioner.
    """
    architecture = victim.architecture
    if not isinstance(architecture, CaptionerArchitecture):
        raise VictimError(f"victim {victim.name!r} is a {architecture.kind}, not a captioner")
    vocabulary = extend_vocabulary(victim.captioner.vocabulary, captions)
    net = architecture.network(vocabulary.size)
    fresh = initial_variables(net, architecture.image_shape, jax.random.key(seed))
    return Start(architecture, vocabulary, grow(victim.params, fresh), f"victim {victim.name}")


def extend_vocabulary(vocabulary: Vocabulary, captions: Sequence[str]) -> Vocabulary:
    """Append the words of the captions that the vocabulary lacks.

    If it has a token for unknown words, only words that occur more than four times are appended.

    >>> extend_vocabulary(Vocabulary(("a", "cat")), ["a dog", "a cat"]).words
    ('a', 'cat', 'dog')
    """
    least = 0 if vocabulary.unknown is None else MORE_THAN
    counts = Counter(word for caption in captions for word in tokenize(caption))
    new = sorted(w for w, count in counts.items() if count > least and w not in vocabulary)
    return Vocabulary((*vocabulary.words, *new))


def grow(variables: Any, fresh: Any) -> Any:
    """Copy weights into those of the same network with more words, whose other rows stay."""

    def lay(old: Any, new: Any) -> Any:
        return jnp.asarray(new).at[tuple(map(slice, np.shape(old)))].set(old)

    return jax.tree.map(lay, variables, fresh)


# ---------------------------------------------------------------- backbones


def with_backbone(variables: Params, other: Params) -> Params:
    """Return a network's variables with the layers of another backbone, where the names agree."""
    return {
        kind: {
            **part,
            "backbone": {
                name: other[kind].get(name, own) for name, own in part["backbone"].items()
            },
        }
        if "backbone" in part
        else part
        for kind, part in variables.items()
    }


def backbone_of(victim: zoo.Victim, wanted: str | None = None) -> tuple[str, Params]:
    """Return the name of a captioner's or a tagger's backbone and its variables by collection.

    Raises:
      VictimError: the victim has no such backbone, or not the wanted one.
    """
    name = str(getattr(victim.architecture, "backbone", "none"))
    if wanted not in (None, name):
        raise VictimError(f"victim {victim.name!r} has the backbone {name}, not {wanted}")
    found = {k: part["backbone"] for k, part in victim.params.items() if "backbone" in part}
    if not found:
        kind = victim.architecture.kind
        raise VictimError(f"victim {victim.name!r} is a {kind}; give a captioner or a tagger")
    return name, found


def begin_from(variables: Params, other: zoo.Victim) -> Params:
    """Take over another victim's weights: all if the shapes agree, otherwise its image features.

    These are the features of a hasher, or the backbone of a captioner or a tagger. (The hashers in
    the papers start from networks trained on ImageNet.)

    Args:
      variables: initial variables of the hasher.
      other: the victim.

    Returns:
      The variables to start from.

    Raises:
      VictimError: the weights do not fit.
    """
    if _shapes(variables) == _shapes(other.params):
        return other.params
    taken = {}
    for name, part in variables.items():
        theirs = other.params.get(name, {})
        seen = theirs.get("features", {"backbone": theirs.get("backbone")})
        if "features" in part and _shapes(seen) != _shapes(part["features"]):
            raise VictimError(
                f"victim {other.name!r} ({other.architecture.parts}) has no features that fit: "
                "start from a victim with the same backbone"
            )
        taken[name] = {**part, "features": seen} if "features" in part else part
    return taken


def begin_from_features(variables: Params, features: Params) -> Params:
    """Take over the variables of the image features, given by collection."""
    return {
        kind: {**part, "features": features[kind]} if kind in features else part
        for kind, part in variables.items()
    }


def _shapes(variables: Params) -> Any:
    return jax.tree.map(np.shape, variables)
