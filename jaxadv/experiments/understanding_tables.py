"""What `experiments.understanding` found, as tables and curves."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxadv.captions.captioner import Captioner
from jaxadv.experiments.captions import wanted
from jaxadv.experiments.curves import LOCATIONS, Line, Panel, by_location
from jaxadv.experiments.sentences import Unsayable
from jaxadv.experiments.tables import Table, Value
from jaxadv.experiments.transfer import Transfer
from jaxadv.experiments.understanding import Attempt, Outcome, Study

GROUPS = 5  # of targets by their likelihood, as many in each
WORDS_NAMED = 8  # of those that a victim lacks, commonest first


class Matrix(NamedTuple):
    """A value for each pair of captioners.

    Attributes:
      title: of what.
      rows: on whom the pictures were made.
      columns: who captions them.
      values: f64[len(rows), len(columns)].
    """

    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: np.ndarray


def tables_of(studies: Sequence[Study], transfers: Sequence[Transfer]) -> dict[str, Table]:
    """Return every table by the name of its file."""
    return {
        "location": location_table(studies),
        "forms": form_table(studies),
        "likelihood": likelihood_table(studies),
        "transfer": transfer_table(transfers),
    }


def location_panels(studies: Sequence[Study]) -> list[Panel]:
    """Figure 3 of the paper: a panel for each study and kind of target."""
    rows = (
        (f"{study.method}, {study.victim}", _record(made, study.subject.captioner))
        for study in studies
        for made in study.words
    )
    return by_location(rows)


def location_table(studies: Sequence[Study]) -> Table:
    """Count the words of Figure 3, and the share of them that was said, at each place."""
    rows: list[tuple[Value, ...]] = []
    for panel in location_panels(studies):
        who, _, setting = panel.title.rpartition(": ")
        bars = panel.bars
        if bars is None:
            continue
        counts = zip(bars.x, bars.said, bars.missed, strict=True)
        found = {int(place): (said, said + missed) for place, said, missed in counts}
        places = [found.get(place) for place in range(1, LOCATIONS + 1)]
        rows.append((who, setting, "SR", *(None if p is None else p[0] / p[1] for p in places)))
        rows.append((who, setting, "words", *(None if p is None else p[1] for p in places)))
    columns = ("method, victim", "targets", "", *map(str, range(1, LOCATIONS + 1)))
    notes = ("0 latent: complete captions; 1 obser: one observed word, at places 2 to 7",)
    return Table("Success by the place of a word (Figure 3)", columns, tuple(rows), notes)


def form_table(studies: Sequence[Study]) -> Table:
    """Compare each sentence form with the active form of the same contents."""
    columns = (
        "method", "victim", "of", "form", "n", "cannot say", "SR", "SR active", "Prec",
        "Prec active", "Rec", "Rec active", "‖ε‖₂", "‖ε‖₂ active", "says active",
    )  # fmt: skip
    rows = tuple(
        _form_row(study, *group) for study in studies for group in _groups_and_unsayable(study)
    )
    notes = (
        "active: the active form of the same contents on the same pictures",
        "says active: the share of the attempts that end in the active form instead",
        "of captions: predicted on other pictures; of paper: its Figure 4; given: --content",
        *_wanting(studies),
    )
    return Table("Sentence forms (Figure 4)", columns, rows, notes)


def likelihood_table(studies: Sequence[Study]) -> Table:
    """Say how likely each form was on the pictures as they were, and whether that decides."""
    columns = ("method", "victim", "form", "n", "ln P", "ln P said", "ln P missed", "order")
    rows: list[tuple[Value, ...]] = []
    for study in studies:
        forms = list(dict.fromkeys(attempt.sentence.form for attempt in study.attempts))
        for form in (*forms, "all"):
            some = [a for a in study.attempts if form in ("all", a.sentence.form)]
            if some:
                rows.append((study.method, study.victim, form, *_likelihood(some)))
    notes = (
        "ln P: of the target on the benign picture, its end included; then of those that the "
        "attack reached, and of those that it did not",
        "order: how often a target that was reached was likelier than one that was not (0.5: no "
        "relation)",
    )
    return Table("Likelihood on the benign picture", columns, tuple(rows), notes)


def likelihood_panel(studies: Sequence[Study]) -> Panel:
    """Success against `ln P` on the benign picture, by fifths of all sentences."""
    lines = []
    for study in studies:
        in_order = sorted(study.attempts, key=lambda attempt: attempt.log_probability)
        groups = [g for g in np.array_split(np.arange(len(in_order)), GROUPS) if len(g)]
        x = tuple(float(np.mean([in_order[i].log_probability for i in g])) for g in groups)
        y = tuple(
            float(np.mean([in_order[i].outcome.columns["success"] for i in g])) for g in groups
        )
        lines.append(Line(f"{study.method}, {study.victim}", x, y))
    return Panel("", "ln P of the sentence on the benign picture", "success rate", tuple(lines))


def transfer_table(transfers: Sequence[Transfer]) -> Table:
    """List every pair of captioners."""
    columns = (
        "method", "made on", "shown to", "n", "cannot say", "SR", "Prec", "Prec benign",
    )  # fmt: skip
    rows = tuple(
        (t.method, t.source, t.victim, t.attempts, t.unsayable, t.success, t.precision, t.benign)
        for t in transfers
    )
    notes = (
        "SR, Prec: of what the captioner says of pictures made on the other, or on itself",
        "Prec benign: likewise of the pictures before the attack, by chance",
        "cannot say: targets with a word that the captioner does not know; they count as missed",
    )
    return Table("Transfer of complete captions", columns, rows, notes)


def transfer_matrices(transfers: Sequence[Transfer]) -> list[Matrix]:
    """Return success and precision of each method as matrices; the diagonal is the attack's own."""
    found = []
    for method in dict.fromkeys(t.method for t in transfers):
        some = [t for t in transfers if t.method == method]
        rows = tuple(dict.fromkeys(t.source for t in some))
        columns = tuple(dict.fromkeys(t.victim for t in some))
        for name in ("success", "precision", "benign"):
            values = np.full((len(rows), len(columns)), np.nan)
            for t in some:
                values[rows.index(t.source), columns.index(t.victim)] = getattr(t, name)
            title = "precision, benign pictures" if name == "benign" else name
            found.append(Matrix(f"{method}: {title}", rows, columns, values))
    return found


def entries_of(study: Study) -> list[dict[str, Any]]:
    """Say every outcome in JSON, then every sentence that could not be said."""
    captioner = study.subject.captioner
    about = {"method": study.method, "victim": study.victim}
    words = [{**about, **_record(made, captioner)} for made in study.words]
    said = [
        {
            **about,
            "source": attempt.sentence.source,
            "content": attempt.sentence.content,
            "log_probability": attempt.log_probability,
            **_record(attempt.outcome, captioner),
        }
        for attempt in study.attempts
    ]
    rest = [
        {
            **about,
            "source": sentence.source,
            "content": sentence.content,
            "image": sentence.image,
            "setting": sentence.form,
            "target": sentence.text,
            "cannot_say": list(missing),
        }
        for sentence, missing in study.unsayable
    ]
    return [*words, *said, *rest]


def _record(made: Outcome, victim: Captioner) -> dict[str, Any]:
    request = made.request
    about = {"image": request.image, "setting": request.setting}
    return {**about, "target": wanted(request.target, victim), **made.columns}


def order(reached: Sequence[float], missed: Sequence[float]) -> float | None:
    """Return how often one value reached is above one missed, ties half; None without both.

    >>> order([3.0, 1.0], [2.0, 0.0])
    0.75
    """
    if not reached or not missed:
        return None
    gaps = np.subtract.outer(reached, missed)
    return float(np.mean((gaps > 0) + 0.5 * (gaps == 0)))


def _groups_and_unsayable(study: Study) -> list[tuple[str, str, list[Attempt], int]]:
    """Attempts of each source and form, and how many more cannot be said."""
    without = Counter((u.sentence.source, u.sentence.form) for u in study.unsayable)
    tried: dict[tuple[str, str], list[Attempt]] = {}
    for attempt in study.attempts:
        key = (attempt.sentence.source, attempt.sentence.form)
        tried.setdefault(key, []).append(attempt)
    keys = dict.fromkeys([*tried, *without])
    return [(*key, tried.get(key, []), without[key]) for key in keys]


def _form_row(
    study: Study, source: str, form: str, some: Sequence[Attempt], without: int
) -> tuple[Value, ...]:
    head = (study.method, study.victim, source, form, len(some), without)
    if not some:
        return (*head, *[None] * 9)
    actives = {
        (a.sentence.image, a.sentence.content): a
        for a in study.attempts
        if a.sentence.form == "active"
    }
    beside = [actives[a.sentence.image, a.sentence.content] for a in some]

    def both(name: str) -> tuple[float, float]:
        own = [float(a.outcome.columns[name]) for a in some]
        active = [float(a.outcome.columns[name]) for a in beside]
        return float(np.mean(own)), float(np.mean(active))

    instead = [
        a.outcome.columns["said"] == b.sentence.text for a, b in zip(some, beside, strict=True)
    ]
    measures = (*both("success"), *both("precision"), *both("recall"), *both("norm"))
    return (*head, *measures, None if form == "active" else float(np.mean(instead)))


def _likelihood(some: Sequence[Attempt]) -> tuple[Value, ...]:
    reached = [a.log_probability for a in some if a.outcome.columns["success"]]
    missed = [a.log_probability for a in some if not a.outcome.columns["success"]]

    def mean(values: Sequence[float]) -> float | None:
        return float(np.mean(values)) if values else None

    every = [*reached, *missed]
    return (len(some), mean(every), mean(reached), mean(missed), order(reached, missed))


def _wanting(studies: Sequence[Study]) -> tuple[str, ...]:
    """Say of each victim which sentences it cannot say, and for want of which words."""
    lines: dict[str, None] = {}  # in order, once for all methods
    for study in studies:
        groups: dict[tuple[str, str], list[Unsayable]] = {}
        for one in study.unsayable:
            groups.setdefault((one.sentence.form, one.sentence.source), []).append(one)
        for (form, source), some in groups.items():
            words = Counter(word for one in some for word in one.missing).most_common(WORDS_NAMED)
            named = ", ".join(f"{word!r} ({count})" for word, count in words)
            reason = f"for want of {named}" if named else "they are too long"
            told = f"{study.victim} cannot say {len(some)} {form} sentences of {source}: {reason}"
            lines[told] = None
    return tuple(lines)
