"""Success by the place of a word: Figure 3 of the exact-caption paper."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jaxadv.captions.target import GAP, OPEN
from jaxadv.experiments.panels import Bars, Line, Panel

LOCATIONS = 7  # captions differ in length


def by_location(rows: Iterable[tuple[str, Mapping[str, Any]]]) -> list[Panel]:
    """Count the wanted words said at each place: Figure 3 of the exact-caption paper.

    Args:
      rows: records that have an outcome, each with the name of what made it.

    Returns:
      a panel for each name with targets of one observed word, and for each with complete ones.
    """
    counts: dict[tuple[str, str], list[list[int]]] = {}
    for name, row in rows:
        if row["setting"] not in ("1 obser", "0 latent"):
            continue
        found = counts.setdefault((name, row["setting"]), [[0, 0] for _ in range(LOCATIONS)])
        said = row["said"].split()
        kept = row["setting"] == "1 obser"  # the first word, which section 5.1 did not choose
        for place, word in enumerate(row["target"].split()[:LOCATIONS]):
            if word not in (GAP, OPEN) and not (kept and place == 0):
                found[place][said[place : place + 1] == [word]] += 1
    return [_located(*key, found) for key, found in sorted(counts.items())]


def _located(name: str, setting: str, counts: Sequence[Sequence[int]]) -> Panel:
    seen = [(place, *both) for place, both in enumerate(counts, start=1) if sum(both)]
    places = tuple(float(place) for place, _, _ in seen)
    rate = Line("success rate", places, tuple(said / (said + no) for _, no, said in seen))
    bars = Bars(places, tuple(said for *_, said in seen), tuple(no for _, no, _ in seen))
    return Panel(f"{name}: {setting}", "location of the word", "success rate", (rate,), bars)
