"""Curves of backdoors: success, false triggers and benign BLEU-4 over the poisoning rate."""

from collections import defaultdict
from collections.abc import Callable, Sequence

from matplotlib.figure import Figure

from jaxadv.experiments.backdoor import Row
from jaxadv.reports.files import one_line

MEASURES: dict[str, Callable[[Row], float]] = {
    "attack success rate": lambda row: row.success,
    "false trigger rate": lambda row: row.false_triggers,
    "BLEU-4 on benign pictures": lambda row: row.quality.bleu_4,
    "PSNR of the poison, dB": lambda row: row.effect.psnr,
}
RATE = "poisoning rate"
PLACES: dict[str, Callable[[Row], float | None]] = {
    RATE: lambda row: row.rate,
    "strength": lambda row: row.strength,
}


def draw_curves(rows: Sequence[Row], kinds: Sequence[str], clean: Row | None) -> Figure:
    """Draw each measure over the poisoning rate, and over the trigger's strength.

    Args:
      rows: what was measured.
      kinds: of each row, the name of the curve that it belongs to.
      clean: the clean victim's; its BLEU-4 is drawn as a level.
    """
    found = {along: _curves(rows, kinds, along) for along in PLACES}
    lines = [a for a in PLACES if any(len(some) > 1 for some in found[a].values())] or [RATE]
    figure = Figure(figsize=(3.6 * len(MEASURES), 3.4 * len(lines)), layout="constrained")
    axes = figure.subplots(len(lines), len(MEASURES), squeeze=False)
    for line, along in zip(axes, lines, strict=True):
        for axis, (title, y) in zip(line, MEASURES.items(), strict=True):
            for kind, some in found[along].items():
                points = sorted((PLACES[along](row) or 0.0, y(row)) for row in some)
                axis.plot(*zip(*points, strict=True), "o-", label=one_line(kind))
            if clean is not None and title.startswith("BLEU"):
                axis.axhline(y(clean), color="grey", linestyle="--", label="clean victim")
                axis.legend(fontsize=7)
            axis.set_xlabel(along)
            axis.set_title(title, fontsize=10)
            axis.grid(alpha=0.3)
            if title.endswith("rate"):
                axis.set_ylim(-0.03, 1.03)
    return figure


def _curves(rows: Sequence[Row], kinds: Sequence[str], along: str) -> dict[str, list[Row]]:
    """Part rows into curves along a place: one for each kind and each value of the other place."""
    (other,) = (place for place in PLACES if place != along)
    curves = defaultdict(list)
    for row, kind in zip(rows, kinds, strict=True):
        if PLACES[along](row) is not None:
            fixed = PLACES[other](row)
            curves[kind if fixed is None else f"{kind}, {other} {fixed:g}"].append(row)
    return curves
