"""What captioners can be made to say, and where they fail: section 6 of the exact-caption paper.

A cell attacks a captioner with complete captions and with one observed word, whose success is told
by the place of a word (Figure 3), and with targets in several sentence forms (Figure 4); the
pictures made for complete captions are shown to other captioners.
"""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from jaxadv import loading
from jaxadv.captions.methods import METHODS
from jaxadv.captions.options import CAPTION
from jaxadv.captions.options import COMPLETE as NO_GAPS
from jaxadv.captions.target import write_target
from jaxadv.core.method import Chosen
from jaxadv.core.run import Result
from jaxadv.core.stream import Request as Asked
from jaxadv.data.sentence_forms import FORMS
from jaxadv.experiments.banks import params_with_bank
from jaxadv.experiments.caption_jobs import caption_attacks, shown_captions
from jaxadv.experiments.captions import Request, choose_targets, say, settings_named, width
from jaxadv.experiments.cells import Cell, Design, PlanError
from jaxadv.experiments.family import Family
from jaxadv.experiments.job import Job, Planned, Shared, at_hand
from jaxadv.experiments.sentences import (
    SentenceTargets,
    check_contents,
    choose_sentences,
    log_probabilities_of,
    target_sentences,
)
from jaxadv.experiments.subjects import Subject, compare_on
from jaxadv.experiments.transfer import Viewer, target_words
from jaxadv.experiments.understanding_tables import COMPLETE, ONE_WORD, understanding_tables
from jaxadv.victims.zoo import Victim


@dataclasses.dataclass(frozen=True)
class UnderstandingDesign(Design):
    """What is asked of a captioner.

    Attributes:
      data: "scenes", or folders of photographs.
      images: pictures attacked.
      targets: captions aimed at a picture, for each setting; and contents, for each form.
      contents: active sentences that are aimed at in all their forms, one a picture.
      transfer: other captioners that are shown the pictures, by their names.
    """

    data: tuple[str, ...] = ("scenes",)
    images: int = 24
    targets: int = 2
    contents: tuple[str, ...] = ()
    transfer: tuple[str, ...] = ()

    @property
    def attacks(self) -> int:
        """How many attacks there are in a cell, at most."""
        contents = self.targets + 1 + bool(self.contents)
        return self.images * (2 * self.targets + contents * len(FORMS))


def understanding_job(cell: Cell, victim: Victim, shared: Shared) -> Job:
    """Attack held-out pictures towards words and sentences, and show them to other captioners.

    Args:
      cell: what is attacked, and how.
      victim: the captioner.
      shared: what its cells have in common.

    Raises:
      InputError: a method that takes no targeted caption, a captioner that is named twice, a
        content that is no clause, or data that is not there.
    """
    design, method = cell.design, cell.method
    assert isinstance(design, UnderstandingDesign)
    names = (cell.victim, *design.transfer)
    for name in names:
        if names.count(name) > 1:
            raise PlanError(f"victim {name!r}: given twice; a matrix needs different names")
    if method.aims_at not in (CAPTION, NO_GAPS):
        raise PlanError(f"method {method.name!r}: the study is of targeted captions")
    check_contents(design.contents)

    def subjects() -> list[Subject]:
        others = [loading.load(name) for name in design.transfer]
        found = compare_on([victim, *others], design.data, design.images)
        return [one._replace(name=name) for one, name in zip(found, names, strict=True)]

    of = shared.once((names, design.data, design.images), subjects)
    params = params_with_bank(method, victim, design.data)
    return study(of, method, design, params, cell.seed, shared)


def study(
    subjects: Sequence[Subject],
    method: Chosen,
    design: UnderstandingDesign,
    params: Any,
    seed: int,
    shared: Shared,
) -> Job:
    """Make a job of a study.

    Args:
      subjects: the attacked captioner, then those that are shown its pictures.
      method: the attack.
      design: how many of what is aimed at.
      params: of the attacked captioner, as the method takes them.
      seed: of the choice of targets.
      shared: what the attacked captioner's cells have in common.
    """
    subject, captioner = subjects[0], subjects[0].captioner
    names, vocabulary = list(subject.pictures), captioner.vocabulary
    attacked = names[: design.images]
    viewers = [
        shared.once(("viewer", one.name, tuple(attacked)), partial(Viewer, one, attacked))
        for one in subjects
    ]
    captions = shared.once(
        ("captions of", tuple(names)),
        lambda: say(captioner, subject.params, subject.pictures.values()),
    )
    benign = [vocabulary.decode(caption) for caption in captions]
    columns = settings_named([COMPLETE, ONE_WORD] if method.aims_at == CAPTION else [COMPLETE])
    words = choose_targets(
        captions,
        columns,
        design.targets,
        range(design.images),
        captioner.max_length,
        vocabulary,
        seed,
    )
    chosen = choose_sentences(
        benign, range(design.images), design.targets, vocabulary, seed, design.contents
    )
    sentences = target_sentences(chosen, vocabulary, captioner.max_length)
    planned = [
        at_hand(number, about, subject.pictures[names[request.image]], request.target)
        for number, (request, about) in enumerate(
            [*_words(words, names, captioner), *_sentences(sentences, subject, names)]
        )
    ]
    planned.sort(key=lambda p: width(p.load()[1]))
    planned += _without_words(sentences, names, benign, len(planned))

    def describe(what: Planned, request: Asked, result: Result) -> dict[str, Any]:
        columns = attacks.describe(what, request, result)
        if what.about["setting"] != COMPLETE:
            return columns
        adversarial = np.asarray(method.report(result).image)
        wanted = target_words(request.target, vocabulary)
        shown = [one.entry(what.about["image"], adversarial, wanted) for one in viewers]
        return {**columns, "transfer": shown}

    attacks = caption_attacks(captioner, params, method, planned)
    return attacks._replace(describe=describe)


def _words(
    requests: Sequence[Request], names: Sequence[str], captioner: Any
) -> list[tuple[Request, dict[str, Any]]]:
    """Return complete captions and single words, with their columns."""
    return [
        (
            request,
            {
                "image": names[request.image],
                "setting": request.setting,
                "target": write_target(request.target, captioner.vocabulary),
            },
        )
        for request in requests
    ]


def _sentences(
    found: SentenceTargets, subject: Subject, names: Sequence[str]
) -> list[tuple[Request, dict[str, Any]]]:
    """Return the sentences that can be said, with their columns."""
    likely = log_probabilities_of(
        subject.captioner,
        subject.params,
        list(subject.pictures.values())[: 1 + max((s.image for s in found.sentences), default=0)],
        [sentence.image for sentence in found.sentences],
        found.targets,
    )
    return [
        (
            Request(sentence.image, sentence.form, target),
            {
                "image": names[sentence.image],
                "setting": sentence.form,
                "target": sentence.text,
                "source": sentence.source,
                "content": sentence.content,
                "log_probability": float(p),
            },
        )
        for sentence, target, p in zip(found.sentences, found.targets, likely, strict=True)
    ]


def _without_words(
    found: SentenceTargets, names: Sequence[str], benign: Sequence[str], first: int
) -> list[Planned]:
    """Return the sentences that cannot be said, whose attack is known to fail."""

    def nothing() -> Any:
        raise PlanError("a sentence that cannot be said has no target")

    return [
        Planned(
            number,
            {
                "image": names[sentence.image],
                "setting": sentence.form,
                "target": sentence.text,
                "source": sentence.source,
                "content": sentence.content,
            },
            nothing,
            {
                "cannot_say": list(missing),
                "benign": benign[sentence.image],
                "success": False,
                "success_8bit": False,
            },
        )
        for number, (sentence, missing) in enumerate(found.unsayable, start=first)
    ]


UNDERSTANDING = Family(
    name="understanding",
    methods=METHODS,
    design=UnderstandingDesign,
    job=understanding_job,
    measures={},
    own=lambda paper, cells, rows, victims: understanding_tables(list(rows)),
    shown=shown_captions,
)
