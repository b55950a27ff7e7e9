"""Many caption attacks: targets as the exact-caption paper chooses them, its table's rows."""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
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
from jaxadv.core.run import Iterate, Result, compiled
from jaxadv.errors import InputError
from jaxadv.vocabulary import END


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
    """Read what a method shall aim at, a caption or keywords, as people write it.

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


class Outcome(NamedTuple):
    """What came of a request.

    Attributes:
      number: of the request among those made.
      request: what was asked.
      success: whether the float picture fools the victim (for targets: eq. 17).
      precision, recall: eq. 18 on the float picture; NaN for keywords.
      success_8bit: the success sign after 8-bit rounding.
      already: whether the benign picture had it, so that success means nothing.
      norm, linf: of the perturbation.
      said, said_8bit: the captions of the two.
      iterations: steps taken.
      image: the adversarial picture.
    """

    number: int
    request: Request
    success: bool
    precision: float
    recall: float
    success_8bit: bool
    already: bool
    norm: float
    linf: float
    said: str
    said_8bit: str
    iterations: int
    image: np.ndarray


class Row(NamedTuple):
    """A row of the table: averages over all attempts, and the norm over successes beside.

    `already` counts the pictures whose benign caption has the target.
    """

    setting: str
    attempts: int
    success: float
    precision: float
    recall: float
    norm: float
    norm_of_successes: float
    success_8bit: float
    already: int
    seconds: float


class Progress(NamedTuple):
    """How many attacks are done, and the outcomes of the last batch."""

    done: int
    total: int
    message: str
    outcomes: list[Outcome]
    seconds: float


def say(
    victim: Captioner, params: Params, images: Iterable[np.ndarray], batch: int = 50
) -> list[list[int]]:
    """Caption pictures greedily, a batch at a time; the numbers of each caption's words."""
    speak = jax.jit(jax.vmap(lambda i: greedy(victim, params, victim.encode(params, i)).tokens))
    captions: list[list[int]] = []
    for some in _batches(images, batch):
        tokens = np.asarray(speak(jnp.stack(some.padded)))[: some.real]
        captions += [[int(t) for t in row if t != END] for row in tokens]
    return captions


def choose_targets(
    captions: Sequence[list[int]],
    settings: Sequence[Setting],
    per_image: int,
    attacked: Sequence[int],
    max_length: int,
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

    Args:
      captions: what the victim says of each picture, as numbers; an empty one is no target.
      settings: columns of the table.
      per_image: targets a picture.
      attacked: which pictures are attacked.
      max_length: the victim's.
      seed: of the choice; a picture's targets do not depend on which others are attacked.
    """
    requests = []
    for image in attacked:
        rng = np.random.default_rng([seed, image])
        own = captions[image]
        others = sorted({tuple(c) for i, c in enumerate(captions) if i != image and c and c != own})
        drawn = (list(others[row]) for row in rng.permutation(len(others)))
        usable = (tokens for tokens in drawn if not repeats_phrase(tokens))
        for tokens in itertools.islice(usable, per_image):
            for setting in settings:
                target = _partial(tokens, setting, max_length, rng)
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
    return choose_targets(captions, columns, per_image, attacked, max_length, seed)


def distinct_targets(requests: Sequence[Request]) -> int:
    """Count the targets that differ."""
    return len({tuple(np.asarray(x).tobytes() for x in r.target) for r in requests})


def _partial(
    tokens: list[int], setting: Setting, max_length: int, rng: np.random.Generator
) -> PartialCaption | None:
    """Hide words; None where the caption is too short for the setting."""
    if setting.observed is None:
        free = rng.permutation(np.arange(1, len(tokens)))
        if len(free) < (setting.latent or 0):
            return None
        return make_target(tokens, max_length, set(free[: setting.latent].tolist()))
    near = rng.permutation(np.arange(1, min(7, len(tokens))))
    if len(near) < setting.observed:
        return None
    seen = {0, *near[: setting.observed].tolist()}
    return make_target(tokens, max_length, set(range(len(tokens))) - seen, ends=False)


def compile_attacks(
    victim: Captioner,
    params: Params,
    images: Sequence[np.ndarray],
    requests: Sequence[Request],
    method: Chosen,
    batch: int,
    seed: int = 0,
) -> Callable[..., Result]:
    """Compile what `attack_all` with these arguments runs; several can be compiled at once."""
    some = next(_numbered(requests, batch))
    return compiled(
        method.attack(victim),
        params,
        *_arrays(images, some, seed),
        iterations=method.iterations,
    )


def attack_all(
    victim: Captioner,
    params: Params,
    images: Sequence[np.ndarray],
    requests: Sequence[Request],
    method: Chosen,
    batch: int,
    seed: int = 0,
    attack_batch: Callable[..., Result] | None = None,
) -> Iterator[Progress]:
    """Make every attack, `batch` at a time, compiled once; `attack_batch` if it is already.

    Attacks of like cost go together: a batch decodes as many configurations as its widest target
    has. The last batch is filled up with copies, which are dropped. Each attack's randomness
    follows from its own number among the requests.
    """
    if attack_batch is None:
        attack_batch = compile_attacks(victim, params, images, requests, method, batch, seed)
    done = 0
    for some in _numbered(requests, batch):
        arrays = _arrays(images, some, seed)
        began = time.perf_counter()
        result = jax.block_until_ready(attack_batch(params, *arrays))
        seconds = time.perf_counter() - began
        reported = jax.tree.map(np.asarray, method.report(result))
        taken, already = np.asarray(result.iterations), np.asarray(result.already)
        outcomes = [
            outcome(
                victim,
                number,
                request,
                jax.tree.map(lambda x, j=j: x[j], reported),
                taken=int(taken[j]),
                already=bool(already[j]),
            )
            for j, (number, request) in enumerate(some.padded[: some.real])
        ]
        done += some.real
        fooled = np.mean([o.success_8bit for o in outcomes])
        real = some.real / len(some.padded)
        yield Progress(done, len(requests), f"{fooled:.0%} fooled", outcomes, seconds * real)


def _numbered(requests: Sequence[Request], batch: int) -> "Iterator[_Batch]":
    """Batches of `(number, request)`, those of like cost together."""
    in_order = sorted(enumerate(requests), key=lambda r: width(r[1].target))
    return _batches(in_order, min(batch, len(requests)))


def _arrays(images: Sequence[np.ndarray], some: "_Batch", seed: int) -> tuple[Any, ...]:
    """Pictures, targets, key and ids of a batch."""
    return (
        jnp.stack([images[r.image] for _, r in some.padded]),
        jax.tree.map(lambda *x: jnp.stack(x), *(r.target for _, r in some.padded)),
        jax.random.key(seed),
        jnp.asarray([number for number, _ in some.padded]),
    )


def width(target: Any) -> tuple[int, ...]:
    """Say how much a target costs: its latent words, those that come early first.

    Configurations multiply with each; targets sorted by this share a batch well.
    """
    if not isinstance(target, PartialCaption):
        return ()
    before = np.cumsum(np.asarray(target.latent))
    return (int(before[-1]), *(-before).tolist())


def outcome(
    victim: Captioner,
    number: int,
    request: Request,
    iterate: Iterate,
    *,
    taken: int,
    already: bool,
) -> Outcome:
    """Describe what came of a request, from the picture that its method reports."""
    target = request.target
    precision = recall = float("nan")
    if isinstance(target, PartialCaption):
        said = jnp.asarray(iterate.output)
        scores = caption_scores(jnp.asarray(target.tokens), jnp.asarray(target.observed), said)
        precision, recall = float(scores.precision), float(scores.recall)
    return Outcome(
        number,
        request,
        bool(iterate.success),
        precision,
        recall,
        bool(iterate.success_8bit),
        already,
        float(iterate.norm),
        float(iterate.linf),
        victim.vocabulary.decode(iterate.output),
        victim.vocabulary.decode(iterate.output_8bit),
        taken,
        np.asarray(iterate.image),
    )


def tabulate(outcomes: Sequence[Outcome], seconds: float) -> list[Row]:
    """Average outcomes a setting, as the paper's tables do: over all attempts.

    `seconds` is the time that all of them took together.
    """
    rows = []
    in_order = sorted(outcomes, key=lambda o: o.number)
    for setting in dict.fromkeys(o.request.setting for o in in_order):
        some = [o for o in outcomes if o.request.setting == setting]
        fooled = [o.norm for o in some if o.success]
        rows.append(
            Row(
                setting,
                len(some),
                float(np.mean([o.success for o in some])),
                float(np.mean([o.precision for o in some])),
                float(np.mean([o.recall for o in some])),
                float(np.mean([o.norm for o in some])),
                float(np.mean(fooled)) if fooled else float("nan"),
                float(np.mean([o.success_8bit for o in some])),
                sum(o.already for o in some),
                seconds / len(outcomes),
            )
        )
    return rows


def record(made: Outcome, victim: Captioner) -> dict[str, Any]:
    """Say an outcome in JSON."""
    target = made.request.target
    if isinstance(target, PartialCaption):
        wanted = write_target(target, victim.vocabulary)
    else:
        wanted = ", ".join(victim.vocabulary.decode([w]) for w in target.words if w != END)
    return {
        "image": made.request.image,
        "setting": made.request.setting,
        "target": wanted,
        "said": made.said,
        "said_8bit": made.said_8bit,
        "success": made.success,
        "success_8bit": made.success_8bit,
        "already": made.already,
        "precision": _number(made.precision),
        "recall": _number(made.recall),
        "norm": made.norm,
        "linf": made.linf,
        "iterations": made.iterations,
    }


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
