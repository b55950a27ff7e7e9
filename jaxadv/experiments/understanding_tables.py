"""What a study of captioners found, as tables and curves: by place, by sentence form, transfer."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from jaxadv.experiments.caption_curves import LOCATIONS, by_location
from jaxadv.experiments.panels import Line, Panel
from jaxadv.experiments.tables import Table, Value

Row = Mapping[str, Any]
K = TypeVar("K")

COMPLETE, ONE_WORD = "0 latent", "1 obser"
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


def understanding_tables(rows: Sequence[Row]) -> list[Table]:
    """Make the four tables of the records of a study."""
    rows = [row for row in rows if row["failed"] is None]
    return [location_table(rows), form_table(rows), likelihood_table(rows), transfer_table(rows)]


def location_panels(rows: Iterable[Row]) -> list[Panel]:
    """Figure 3 of the paper: a panel for each method, victim and kind of target."""
    return by_location((_name(row), row) for row in rows if row["failed"] is None)


def location_table(rows: Sequence[Row]) -> Table:
    """Count the words of Figure 3, and the share of them that was said, at each place."""
    lines: list[tuple[Value, ...]] = []
    for panel in location_panels(rows):
        who, _, setting = panel.title.rpartition(": ")
        bars = panel.bars
        if bars is None:
            continue
        counts = zip(bars.x, bars.said, bars.missed, strict=True)
        found = {int(place): (said, said + missed) for place, said, missed in counts}
        places = [found.get(place) for place in range(1, LOCATIONS + 1)]
        lines.append((who, setting, "SR", *(None if p is None else p[0] / p[1] for p in places)))
        lines.append((who, setting, "words", *(None if p is None else p[1] for p in places)))
    columns = ("method, victim", "targets", "", *map(str, range(1, LOCATIONS + 1)))
    notes = ("0 latent: complete captions; 1 obser: one observed word, at places 2 to 7",)
    return Table("Success by the place of a word (Figure 3)", columns, tuple(lines), notes)


def form_table(rows: Sequence[Row]) -> Table:
    """Compare each sentence form with the active form of the same contents."""
    columns = (
        "method", "victim", "of", "form", "n", "cannot say", "SR", "SR active", "Prec",
        "Prec active", "Rec", "Rec active", "‖ε‖₂", "‖ε‖₂ active", "says active",
    )  # fmt: skip
    lines = []
    for some in _grouped(rows, _who).values():
        actives = {
            (row["image"], row["content"]): row
            for row in said_sentences(some)
            if row["setting"] == "active"
        }
        sentences = [row for row in some if row.get("source") is not None]
        for key, of in _grouped(sentences, lambda row: (row["source"], row["setting"])).items():
            lines.append((*_who(some[0]), *key, *_form(of, actives)))
    notes = (
        "active: the active form of the same contents on the same pictures",
        "says active: the share of the attempts that end in the active form instead",
        "of captions: predicted on other pictures; of paper: its Figure 4; given: --content",
        *_wanting(rows),
    )
    return Table("Sentence forms (Figure 4)", columns, tuple(lines), notes)


def likelihood_table(rows: Sequence[Row]) -> Table:
    """Say how likely each form was on the pictures as they were, and whether that decides."""
    columns = ("method", "victim", "form", "n", "ln P", "ln P said", "ln P missed", "order")
    lines: list[tuple[Value, ...]] = []
    for who, some in _grouped(said_sentences(rows), _who).items():
        forms = _grouped(some, lambda row: row["setting"])
        for form, of in {**forms, "all": some}.items():
            lines.append((*who, form, *_likelihood(of)))
    notes = (
        "ln P: of the target on the benign picture, its end included; then of those that the "
        "attack reached, and of those that it did not",
        "order: how often a target that was reached was likelier than one that was not (0.5: no "
        "relation)",
    )
    return Table("Likelihood on the benign picture", columns, tuple(lines), notes)


def likelihood_panel(rows: Sequence[Row]) -> Panel:
    """Success against `ln P` on the benign picture, by fifths of all sentences."""
    lines = []
    for name, some in _grouped(said_sentences(rows), _name).items():
        in_order = sorted(some, key=lambda row: row["log_probability"])
        groups = [g for g in np.array_split(np.arange(len(in_order)), GROUPS) if len(g)]
        x, y = (
            tuple(float(np.mean([in_order[i][column] for i in g])) for g in groups)
            for column in ("log_probability", "success")
        )
        lines.append(Line(name, x, y))
    return Panel("", "ln P of the sentence on the benign picture", "success rate", tuple(lines))


def transfer_table(rows: Sequence[Row]) -> Table:
    """List every pair of captioners."""
    columns = (
        "method", "made on", "shown to", "n", "cannot say", "SR", "Prec", "Prec benign",
    )  # fmt: skip
    lines = tuple(
        (
            *pair,
            len(shown),
            sum(one["cannot_say"] for one in shown),
            *(_mean(shown, column) for column in ("success", "precision", "precision_benign")),
        )
        for pair, shown in _shown(rows).items()
    )
    notes = (
        "SR, Prec: of what the captioner says of pictures made on the other, or on itself",
        "Prec benign: likewise of the pictures before the attack, by chance",
        "cannot say: targets with a word that the captioner does not know; they count as missed",
    )
    return Table("Transfer of complete captions", columns, lines, notes)


def transfer_matrices(rows: Sequence[Row]) -> list[Matrix]:
    """Return success and precision of each method as matrices; the diagonal is the attack's own."""
    pairs = _shown(rows)
    found = []
    for method in dict.fromkeys(method for method, _, _ in pairs):
        here = {pair[1:]: shown for pair, shown in pairs.items() if pair[0] == method}
        made_on, shown_to = (tuple(dict.fromkeys(names)) for names in zip(*here, strict=True))
        for title, column in (
            ("success", "success"),
            ("precision", "precision"),
            ("precision, benign pictures", "precision_benign"),
        ):
            values = np.full((len(made_on), len(shown_to)), np.nan)
            for (source, victim), shown in here.items():
                values[made_on.index(source), shown_to.index(victim)] = _mean(shown, column)
            found.append(Matrix(f"{method}: {title}", made_on, shown_to, values))
    return found


def said_sentences(rows: Iterable[Row]) -> list[Row]:
    """Return the records of sentences that the victim has words for."""
    return [row for row in rows if row.get("log_probability") is not None]


def order(reached: Sequence[float], missed: Sequence[float]) -> float | None:
    """Return how often one value reached is above one missed, ties half; None without both.

    >>> order([3.0, 1.0], [2.0, 0.0])
    0.75
    """
    if not reached or not missed:
        return None
    gaps = np.subtract.outer(reached, missed)
    return float(np.mean((gaps > 0) + 0.5 * (gaps == 0)))


def _who(row: Row) -> tuple[str, str]:
    return row["method"], row["victim"]


def _name(row: Row) -> str:
    return ", ".join(_who(row))


def _grouped(rows: Iterable[Row], key: Callable[[Row], K]) -> dict[K, list[Row]]:
    found: dict[K, list[Row]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return found


def _shown(rows: Iterable[Row]) -> dict[tuple[str, str, str], list[Row]]:
    """Return what captioners said of adversarial pictures, by method, source and captioner."""
    found: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        for one in row.get("transfer") or ():
            found.setdefault((*_who(row), one["victim"]), []).append(one)
    return found


def _mean(rows: Sequence[Row], column: str) -> float:
    return float(np.mean([row[column] for row in rows]))


def _form(some: Sequence[Row], actives: Mapping[tuple[str, int], Row]) -> tuple[Value, ...]:
    """Return a form's numbers, and those of the active form of the same contents."""
    tried = said_sentences(some)
    head = (len(tried), len(some) - len(tried))
    if not tried:
        return (*head, *[None] * 9)
    active = [actives[row["image"], row["content"]] for row in tried]
    both = [
        _mean(of, column)
        for column in ("success", "precision", "recall", "norm")
        for of in (tried, active)
    ]
    instead = np.mean([a["said"] == b["target"] for a, b in zip(tried, active, strict=True)])
    return (*head, *both, None if tried[0]["setting"] == "active" else float(instead))


def _likelihood(some: Sequence[Row]) -> tuple[Value, ...]:
    reached, missed = (
        [row["log_probability"] for row in some if row["success"] is success]
        for success in (True, False)
    )

    def mean(values: Sequence[float]) -> float | None:
        return float(np.mean(values)) if values else None

    every = [*reached, *missed]
    return (len(some), mean(every), mean(reached), mean(missed), order(reached, missed))


def _wanting(rows: Iterable[Row]) -> tuple[str, ...]:
    """Say of each victim which sentences it cannot say, and for want of which words."""
    unsaid = [row for row in rows if row.get("cannot_say") is not None]
    lines: dict[str, None] = {}  # in order, once for all methods
    for (_, victim), some in _grouped(unsaid, _who).items():
        for (form, source), of in _grouped(some, lambda r: (r["setting"], r["source"])).items():
            words = Counter(word for row in of for word in row["cannot_say"])
            named = ", ".join(f"{word!r} ({n})" for word, n in words.most_common(WORDS_NAMED))
            reason = f"for want of {named}" if named else "they are too long"
            told = f"{victim} cannot say {len(of)} {form} sentences of {source}: {reason}"
            lines[told] = None
    return tuple(lines)
