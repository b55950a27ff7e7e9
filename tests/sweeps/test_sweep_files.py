"""The shipped sweep files: each says itself how many attacks it makes and how it is run."""

import re

import pytest

from jaxadv.sweeps.files import FOLDER, find, names
from jaxadv.sweeps.paper_tables import paper_tables
from jaxadv.sweeps.plan import CaptionDesign, read_plan

SHIPPED = [name for name in names() if name != "exact-caption-scenes"]


def comment(name):
    lines = find(FOLDER / name).read_text(encoding="utf-8").splitlines()
    return " ".join(line[1:].strip() for line in lines if line.startswith("#"))


@pytest.mark.parametrize("name", [name for name in names() if name.startswith("exact-caption")])
def test_the_number_of_attacks(name):
    """Pictures x targets x settings of all cells is what the comment says."""
    cells = read_plan(find(FOLDER / name))
    made = 0
    for cell in cells:
        assert isinstance(cell.design, CaptionDesign)
        made += cell.design.images * cell.design.targets * (len(cell.design.settings) or 7)
    (said,) = re.findall(r"= (?:at most )?([\d,]+) attacks", comment(name))
    assert made == int(said.replace(",", ""))


@pytest.mark.parametrize("name", SHIPPED)
def test_the_commands(name):
    """The sweep by its own name, and a table that there is."""
    text = comment(name)
    assert f"jaxadv sweep {name} --out" in text
    (table,) = re.findall(r"jaxadv table (\S+)", text)
    assert table in paper_tables()


def test_three_sizes():
    """Of everything that is of captions."""
    for what in ("exact-caption", "exact-caption-2", "exact-caption-5"):
        for size in ("scenes", "small", "paper"):
            assert f"{what}-{size}" in names()


def test_the_papers_sizes():
    """35,000 attacks a method and victim for Table 1, at the method's own settings."""
    for cell in read_plan(find(FOLDER / "exact-caption-paper")):
        assert cell.design.images * cell.design.targets == 5000 and not cell.design.settings
        assert cell.settings.tradeoff is cell.settings.rounds is cell.settings.learning_rate is None
