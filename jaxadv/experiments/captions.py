"""Many caption attacks: targets as the exact-caption paper chooses them, its table's rows."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv.captions.captioner import Captioner, Params, greedy
from jaxadv.captions.metrics import caption_scores
from jaxadv.captions.options import CAPTION, KEYWORDS, PRESENT
from jaxadv.captions.sensible import repeats_phrase
from jaxadv.captions.target import (
    PartialCaption,
    TargetError,
    make_target,
    parse_keywords,
    parse_target,
    write_target,
)
from jaxadv.core.method import Chosen
from jaxadv.core.run import Iterate, Result
from jaxadv.errors import InputError
from jaxadv.vocabulary import END, Vocabulary


class Setting(NamedTuple):
    """One column of the paper's Table 1: a number of latent, or of observed, words."""

    name: str
    latent: int | None = None
    observed: int | None = None


TABLE_1 = (
    *(Setting(f"{n} latent", latent=n) for n in range(4)),
    *(Setting(f"{n} obser", observed=n) for n in range(1, 4)),
)


def settings_named(names: Sequence[str]) -> list[Setting]:
    """Return columns of Table 1 by name; all of them where none is named.

    Raises:
      InputError: there is none of that name.
    """
    known = {setting.name: setting for setting in TABLE_1}
    for name in names:
        if name not in known:
            raise InputError(f"setting {name!r}: must be among {', '.join(known)}")
    return [known[name] for name in names or known]


def read_target(captioner: Captioner, method: Chosen, text: str) -> Any:
    """Read the target of a method, a caption or keywords, as people write it.

    Raises:
      TargetError: it makes no sense, or the method cannot aim at it.
      UnknownWordError: a word that the victim does not know.
    """
    if method.aims_at == PRESENT:
        raise TargetError("an untargeted attack takes no target")
    if method.aims_at == KEYWORDS:
        return parse_keywords(text, captioner.vocabulary)
    target = parse_target(text, captioner.vocabulary, captioner.max_length)
    if method.aims_at != CAPTION and bool(target.latent.any()):
        raise TargetError("show-and-fool takes a complete caption: use gem or ssvm for gaps")
    return target


class Request(NamedTuple):
    """One attack to be made: which picture, towards what."""

    image: int
    setting: str
    target: Any


def say(
    victim: Captioner, params: Params, images: Iterable[np.ndarray], batch: int = 50
) -> list[list[int]]:
    """Caption pictures greedily, a batch at a time; the numbers of each caption's words."""
    captions: list[list[int]] = []
    for some in _batches(images, batch):
        tokens = np.asarray(_speak(victim, params, jnp.stack(some.padded)))[: some.real]
        captions += [[int(t) for t in row if t != END] for row in tokens]
    return captions


@partial(jax.jit, static_argnames="victim")
def _speak(victim: Captioner, params: Params, images: jax.Array) -> jax.Array:
    one = jax.vmap(lambda image: greedy(victim, params, victim.encode(params, image)).tokens)
    return jnp.asarray(one(images))


def choose_targets(
    captions: Sequence[list[int]],
    settings: Sequence[Setting],
    per_image: int,
    attacked: Sequence[int],
    max_length: int,
    vocabulary: Vocabulary,
    seed: int = 0,
) -> list[Request]:
    """Choose targets as the paper's section 5.1 does.

    For each attacked picture `per_image` different captions predicted on other pictures; of each,
    one target a setting. Captions that repeat a phrase are no targets. The first word, mostly "a",
    stays observed and is passed over: latent words are drawn from all others, observed words from
    the second to the seventh. Where words are observed, all others than those and the first are
    latent, and the caption may end anywhere. Success, precision and recall (eqs. 17 and 18) count
    the first word, too; in the paper's Table 1 success equals precision for one observed word, so
    it seems not to be counted there.

    Of captions in sub-words, phrases are counted in words, and a latent or observed word is one
    that is a single token: a target is text, and a gap in it stands for one token between words.

    Args:
      captions: what the victim says of each picture, as numbers; an empty one is no target.
      settings: columns of the table.
      per_image: targets a picture.
      attacked: which pictures are attacked.
      max_length: the victim's.
      vocabulary: the victim's.
      seed: of the choice; a picture's targets do not depend on which others are attacked.
    """
    requests = []
    for image in attacked:
        rng = np.random.default_rng([seed, image])
        own = captions[image]
        others = sorted({tuple(c) for i, c in enumerate(captions) if i != image and c and c != own})
        drawn = (list(others[row]) for row in rng.permutation(len(others)))
        usable = (tokens for tokens in drawn if not repeats_phrase(vocabulary.words_of(tokens)))
        for tokens in itertools.islice(usable, per_image):
            begins = np.array([*vocabulary.words_begin(tokens), len(tokens)])
            for setting in settings:
                target = _partial(tokens, setting, max_length, rng, begins)
                if target is not None:
                    requests.append(Request(image, setting.name, target))
    return requests


def requests_for(
    method: Chosen,
    captions: Sequence[list[int]],
    settings: Sequence[Setting],
    per_image: int,
    attacked: Sequence[int],
    max_length: int,
    vocabulary: Vocabulary,
    seed: int = 0,
) -> list[Request]:
    """Choose a method's targets: captions of other pictures, or the benign ones if untargeted.

    The arguments are those of `choose_targets`. A method that takes complete captions alone has the
    setting "0 latent" only; an untargeted one has one request a picture that has a caption.

    Raises:
      TargetError: the method aims at keywords, or at nothing in these settings.
    """
    if method.aims_at == PRESENT:
        some = [i for i in attacked if captions[i]]
        return [Request(i, "untargeted", make_target(captions[i], max_length)) for i in some]
    if method.aims_at == KEYWORDS:
        raise TargetError(
            "it aims at keywords, which are not drawn: list its targets in `requests`"
        )
    columns = [s for s in settings if method.aims_at == CAPTION or s.latent == 0]
    if not columns:
        raise TargetError("it takes complete captions: set 0 latent")
    return choose_targets(captions, columns, per_image, attacked, max_length, vocabulary, seed)


def distinct_targets(requests: Sequence[Request]) -> int:
    """Count the targets that differ."""
    return len({tuple(np.asarray(x).tobytes() for x in r.target) for r in requests})


def _partial(
    tokens: list[int],
    setting: Setting,
    max_length: int,
    rng: np.random.Generator,
    begins: np.ndarray,
) -> PartialCaption | None:
    """Hide words of one token; None where the caption has too few for the setting.

    `begins` are the places where its words begin, and the one behind the last.
    """
    first, places, after = int(begins[1]), begins[1:-1], begins[2:]
    places = places[after == places + 1]
    if setting.observed is None:
        free = rng.permutation(places)
        if len(free) < (setting.latent or 0):
            return None
        return make_target(tokens, max_length, set(free[: setting.latent].tolist()))
    near = rng.permutation(places[places < 7])
    if len(near) < setting.observed:
        return None
    seen = {*range(first), *near[: setting.observed].tolist()}
    return make_target(tokens, max_length, set(range(len(tokens))) - seen, ends=False)


def width(target: Any) -> tuple[int, ...]:
    """Say how much a target costs: its latent words, those that come early first.

    Configurations multiply with each; targets sorted by this share a batch well.
    """
    if not isinstance(target, PartialCaption):
        return ()
    before = np.cumsum(np.asarray(target.latent))
    return (int(before[-1]), *(-before).tolist())


def outcome(victim: Captioner, target: Any, reported: Iterate, result: Result) -> dict[str, Any]:
    """Say what an attack came to, by column.

    Args:
      victim: the captioner.
      target: a partial caption, or keywords, which have no precision and recall (eq. 18).
      reported: the picture that the method reports.
      result: the attack's.
    """
    precision = recall = float("nan")
    if isinstance(target, PartialCaption):
        said = jnp.asarray(reported.output)
        scores = caption_scores(jnp.asarray(target.tokens), jnp.asarray(target.observed), said)
        precision, recall = float(scores.precision), float(scores.recall)
    return {
        "benign": victim.vocabulary.decode(result.benign.output),
        "said": victim.vocabulary.decode(reported.output),
        "said_8bit": victim.vocabulary.decode(reported.output_8bit),
        "success": bool(reported.success),
        "success_8bit": bool(reported.success_8bit),
        "already": bool(result.already),
        "precision": _number(precision),
        "recall": _number(recall),
        "norm": float(reported.norm),
        "linf": float(reported.linf),
        "steps": int(result.iterations),
    }


def wanted(target: Any, victim: Captioner) -> str:
    """Write a target as people do."""
    if isinstance(target, PartialCaption):
        return write_target(target, victim.vocabulary)
    return ", ".join(victim.vocabulary.decode([w]) for w in target.words if w != END)


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


class _Batch(NamedTuple):
    padded: list[Any]
    real: int


def _batches(items: Iterable[Any], size: int) -> Iterator[_Batch]:
    """Cut into batches of one size; the last is filled up with copies of its last item."""
    left = iter(items)
    while some := list(itertools.islice(left, size)):
        yield _Batch(some + [some[-1]] * (size - len(some)), len(some))
