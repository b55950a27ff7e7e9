"""What captioners can be made to say, and where they fail: section 6 of the exact-caption paper.

For each captioner and method: success by the place of a word (Figure 3), targets in several
sentence forms (Figure 4), and how the pictures transfer to the other captioners.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxadv.captions.methods import METHODS
from jaxadv.captions.options import CAPTION
from jaxadv.captions.options import COMPLETE as NO_GAPS
from jaxadv.captions.target import make_target
from jaxadv.core.memory import Fit, largest_batch
from jaxadv.core.method import Chosen, choose
from jaxadv.errors import InputError
from jaxadv.experiments.banks import params_with_bank
from jaxadv.experiments.caption_jobs import caption_attacks
from jaxadv.experiments.captions import Request, choose_targets, say, settings_named, width
from jaxadv.experiments.job import Planned, carry_out
from jaxadv.experiments.sentences import (
    Sentence,
    SentenceTargets,
    Unsayable,
    check_contents,
    choose_sentences,
    log_probabilities_of,
    target_sentences,
)
from jaxadv.experiments.subjects import Subject
from jaxadv.experiments.transfer import Transfer, Words, target_words, transfer, words_of

COMPLETE, ONE_WORD = "0 latent", "1 obser"


class Plan(NamedTuple):
    """What is asked of every captioner.

    Attributes:
      methods: attacks.
      images: pictures attacked, the first of each subject's.
      targets: captions aimed at a picture, for each setting; and contents, for each form.
      batch: attacks at once.
      seed: of the choice of targets.
      contents: active sentences that are aimed at in all their forms, one a picture.
      data: what the pictures are of.
    """

    methods: Sequence[Chosen] = (choose(METHODS, "gem"),)
    images: int = 24
    targets: int = 2
    batch: int = 50
    seed: int = 0
    contents: Sequence[str] = ()
    data: Sequence[str] = ("scenes",)


class Outcome(NamedTuple):
    """What came of a request.

    Attributes:
      number: of the request among those made.
      request: what was asked.
      columns: what came of it (`captions.outcome`).
      image: the adversarial picture.
    """

    number: int
    request: Request
    columns: dict[str, Any]
    image: np.ndarray


class Attempt(NamedTuple):
    """An attack towards a sentence, with `ln P` of the sentence on the picture as it was."""

    sentence: Sentence
    log_probability: float
    outcome: Outcome


class Study(NamedTuple):
    """What one method achieved on one captioner.

    Attributes:
      method, victim: names.
      subject: the captioner.
      words: outcomes of complete captions, and of targets with one observed word.
      attempts: at sentences.
      unsayable: sentences that were not attempted.
      benign: what the captioner says of each picture as it is.
    """

    method: str
    victim: str
    subject: Subject
    words: list[Outcome]
    attempts: list[Attempt]
    unsayable: list[Unsayable]
    benign: list[Words]

    @property
    def complete(self) -> list[Outcome]:
        """The outcomes of complete captions, in the order of their requests."""
        found = [made for made in self.words if made.request.setting == COMPLETE]
        return sorted(found, key=lambda made: made.number)


class Progress(NamedTuple):
    """How many attacks are done, and what has been found since."""

    done: int
    total: int
    message: str
    studies: tuple[Study, ...] = ()
    transfers: tuple[Transfer, ...] = ()


class _Job(NamedTuple):
    """One method on one captioner, before it runs."""

    subject: Subject
    method: Chosen
    words: list[Request]
    sentences: SentenceTargets
    benign: list[Words]


def understand(subjects: Sequence[Subject], plan: Plan) -> Iterator[Progress]:
    """Attack every captioner with every method; then show the pictures to the other captioners.

    Raises:
      InputError: a method that takes no targeted caption, a setting outside its range, two
        captioners of one name, or a content that is no clause.
    """
    check(subjects, plan)
    jobs = [job for subject in subjects for job in _jobs(subject, plan)]
    total = sum(len(job.words) + len(job.sentences.targets) for job in jobs)
    done = 0
    studies: list[Study] = []
    for job in jobs:
        requests = _requests(job)
        outcomes: list[Outcome] = []
        subject, name = job.subject, f"{job.method.name} on {job.subject.name}"
        for made in _attack(subject, job.method, requests, plan):
            outcomes.append(made)
            fooled = np.mean([o.columns["success_8bit"] for o in outcomes])
            told = f"{name}: {fooled:.0%} fooled"
            yield Progress(done + len(outcomes), total, told)
        done += len(requests)
        studies.append(_study(job, outcomes, plan))
        yield Progress(done, total, f"{name}: done", studies=(studies[-1],))
    benign = {study.victim: study.benign for study in studies}
    for study in studies:
        found = tuple(_transfers(study, subjects, benign, plan.batch)) if study.complete else ()
        yield Progress(done, total, f"{study.method} on {study.victim}: shown", transfers=found)


def _attack(
    subject: Subject, method: Chosen, requests: Sequence[Request], plan: Plan
) -> Iterator[Outcome]:
    """Make every attack; one that has no outcome ends the study.

    Raises:
      InputError: the victim's loss or gradient was not finite.
    """

    def load(request: Request) -> tuple[np.ndarray, Any]:
        return subject.pictures[request.image], request.target

    planned = sorted(
        (Planned(i, {}, partial(load, request)) for i, request in enumerate(requests)),
        key=lambda p: width(requests[p.id].target),
    )
    params = _params(subject, method, plan)
    job = caption_attacks(subject.captioner, params, method, planned)
    slots = min(plan.batch, max(len(planned), 1))
    for done in carry_out(job, lambda _: True, slots=slots, key=jax.random.key(plan.seed)):
        if isinstance(done, str) or done.image is None:
            why = done if isinstance(done, str) else done.failed
            raise InputError(f"{method.name} on {subject.name}: {why}")
        number = done.planned.id
        yield Outcome(number, requests[number], done.columns, done.image)


def _params(subject: Subject, method: Chosen, plan: Plan) -> Any:
    if method.method.with_bank is None or subject.victim is None:
        return subject.params
    return params_with_bank(method, subject.victim, plan.data)


def check(subjects: Sequence[Subject], plan: Plan) -> None:
    """Refuse what cannot be run.

    Raises:
      InputError: as for `understand`.
    """
    check_contents(plan.contents)
    names = [subject.name for subject in subjects]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"victim {name!r}: given twice; a matrix needs different names")
    for method in plan.methods:
        if method.aims_at not in (CAPTION, NO_GAPS):
            raise InputError(f"method {method.name!r}: the study is of targeted captions")
        for subject in subjects:
            method.attack(subject.captioner)


def largest_plan(plan: Plan, subjects: Sequence[Subject]) -> tuple[Plan, Fit]:
    """Let a plan make as many attacks at once as fit the device, whichever captioner is attacked.

    Raises:
      InputError: of some attack not even one fits.
    """
    fits = []
    for subject in subjects:
        target = make_target([1], subject.captioner.max_length)
        for method in plan.methods:
            fits.append(
                largest_batch(
                    method.attack(subject.captioner),
                    _params(subject, method, plan),
                    subject.pictures[0],
                    target,
                    iterations=method.iterations,
                    most=plan.images * plan.targets,
                )
            )
    fit = min(fits, key=lambda fit: fit.batch)
    return plan._replace(batch=fit.batch), fit


def _jobs(subject: Subject, plan: Plan) -> Iterator[_Job]:
    captioner = subject.captioner
    captions = say(captioner, subject.params, subject.pictures, plan.batch)
    attacked = range(plan.images)
    texts = [captioner.vocabulary.decode(caption) for caption in captions]
    chosen = choose_sentences(
        texts, attacked, plan.targets, captioner.vocabulary, plan.seed, plan.contents
    )
    sentences = target_sentences(chosen, captioner.vocabulary, captioner.max_length)
    benign = [words_of(caption, captioner.vocabulary) for caption in captions]
    for method in plan.methods:
        gaps = method.aims_at == CAPTION
        columns = settings_named([COMPLETE, ONE_WORD] if gaps else [COMPLETE])
        words = choose_targets(
            captions, columns, plan.targets, attacked, captioner.max_length, plan.seed
        )
        yield _Job(subject, method, words, sentences, benign)


def _requests(job: _Job) -> list[Request]:
    """The words' requests, then the sentences'."""
    both = zip(job.sentences.sentences, job.sentences.targets, strict=True)
    return [*job.words, *(Request(s.image, s.form, target) for s, target in both)]


def _study(job: _Job, outcomes: Sequence[Outcome], plan: Plan) -> Study:
    subject, (sentences, targets, unsayable) = job.subject, job.sentences
    in_order = sorted(outcomes, key=lambda made: made.number)
    words, said = in_order[: len(job.words)], in_order[len(job.words) :]
    likely = log_probabilities_of(
        subject.captioner,
        subject.params,
        subject.pictures[: plan.images],
        [sentence.image for sentence in sentences],
        targets,
        plan.batch,
    )
    attempts = [Attempt(s, float(p), o) for s, p, o in zip(sentences, likely, said, strict=True)]
    name = job.method.name
    return Study(name, subject.name, subject, words, attempts, unsayable, job.benign)


def _transfers(
    study: Study, subjects: Sequence[Subject], benign: dict[str, list[Words]], batch: int
) -> Iterator[Transfer]:
    made, vocabulary = study.complete, study.subject.captioner.vocabulary
    wanted = [target_words(outcome.request.target, vocabulary) for outcome in made]
    for victim in subjects:
        before = benign[victim.name]
        yield transfer(study.method, study.victim, wanted, made, victim, before, batch)
