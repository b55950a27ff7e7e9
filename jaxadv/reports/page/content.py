"""What a page shows, before it is one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxadv.experiments.panels import Panel
from jaxadv.experiments.shown import Shown
from jaxadv.experiments.tables import Table

YES, NO, FAILED, UNKNOWN = "yes", "no", "failed", ""


class Attack(NamedTuple):
    """A row of the page.

    Attributes:
      id: of the row's link.
      victim: its name.
      method: its name.
      setting: what else tells it from others of the page.
      image: what was attacked.
      outcome: `YES` or `NO`, judged on the picture of 8 bits; `FAILED` where there is no outcome.
      norm: of the perturbation; None where it is not known.
      shown: what a person looks at.
      values: all that is recorded.
      benign: the file of the picture before.
      adversarial: the file of the picture after.
    """

    id: str
    victim: str
    method: str
    setting: str
    image: str
    outcome: str
    norm: float | None
    shown: Shown
    values: Mapping[str, Any]
    benign: Path | None = None
    adversarial: Path | None = None


class Curve(NamedTuple):
    """A figure of several plots, with its name."""

    name: str
    panels: tuple[Panel, ...]


class Content(NamedTuple):
    """What a page shows.

    Attributes:
      title: the folder's name.
      facts: what the folder is, by name.
      notes: what was left out.
      own: tables of what is here.
      compared: papers' tables, with what is here above the paper's rows.
      curves: to be drawn.
      figures: image files that the folder's command drew.
      attacks: the rows.
      keeping: the option that keeps pictures in such a folder; "" where there are none to keep.
    """

    title: str
    facts: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()
    own: tuple[Table, ...] = ()
    compared: tuple[Table, ...] = ()
    curves: tuple[Curve, ...] = ()
    figures: tuple[Path, ...] = ()
    attacks: tuple[Attack, ...] = ()
    keeping: str = ""
