"""The shipped sweep files: each says itself how many attacks it makes and how it is run."""

import re

import pytest

from jaxadv.core.method import choose
from jaxadv.experiments.caption_jobs import CaptionDesign
from jaxadv.experiments.families import FAMILIES
from jaxadv.experiments.files import FOLDER, find, names
from jaxadv.experiments.label_jobs import LabelDesign
from jaxadv.experiments.paper_tables import paper_tables
from jaxadv.experiments.plan import read_plan
from jaxadv.experiments.retrieval_jobs import RetrievalDesign

OF_STEPS = [t.name for t in paper_tables().values() if "iterations" in t.settings]
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
    assert table in paper_tables() or table in FAMILIES


def test_three_sizes():
    """Of everything that a sweep can make."""
    captions = ("exact-caption", "exact-caption-2", "exact-caption-5")
    captions += ("exact-caption-zeta", "exact-caption-untargeted")
    others = ("tkmia-random", "tkmia-global", "cmla", "cmla-figure-5", "backdoor")
    for what in (*captions, *others):
        for size in ("scenes", "small", "paper"):
            assert f"{what}-{size}" in names()


@pytest.mark.parametrize("name", [name for name in names() if name.startswith("backdoor")])
def test_the_number_of_trainings(name):
    (said,) = re.findall(r"= (\d+) trainings", comment(name))
    assert len(read_plan(find(FOLDER / name))) == int(said)


def test_the_papers_sizes():
    """35,000 attacks a method and victim for Table 1, at the method's own settings."""
    for cell in read_plan(find(FOLDER / "exact-caption-paper")):
        assert cell.design.images * cell.design.targets == 5000 and not cell.design.settings
        assert cell.method == choose([cell.method.method], cell.method.name)


@pytest.mark.parametrize("name", ["cmla-1", "cmla-2", "cmla-supplement-1"])
def test_the_papers_retrieval_attacks(name):
    """Every method, length, set and number of steps of those tables is in the paper's file."""
    named = {"MIRFlickr-25K": "flickr25k", "NUS-WIDE": "nus-wide", None: "iapr-tc12"}
    made = set()
    for cell in read_plan(find(FOLDER / "cmla-paper")):
        assert isinstance(cell.design, RetrievalDesign) and cell.design.queries == 2000
        made.add((cell.victim, cell.method.value("modality"), cell.method.iterations))
    for row in paper_tables()[name].rows:
        method = row.keys["method"].replace("+", "-plus")
        victim = f"{named[row.keys.get('data')]}-{method}-{row.keys.get('bits', 32)}"
        modality = {"I2T": "image", "T2I": "text"}[row.keys["direction"]]
        assert (victim, modality, row.keys.get("iterations", 500)) in made


@pytest.mark.parametrize("name", OF_STEPS)
def test_the_papers_label_attacks(name):
    """Every row of every table of the TkMIA paper is made by the files of its size."""
    table = paper_tables()[name]
    (selection,) = table.where["selection"]
    made = set()
    for cell in read_plan(find(FOLDER / f"tkmia-{selection}-paper")):
        design, method = cell.design, cell.method
        assert isinstance(design, LabelDesign) and design.selection == selection
        as_there = (method.iterations, method.value("delta") or "all")
        if as_there != (table.settings["iterations"], table.settings["delta"]):
            continue
        if any(word in cell.victim for word in table.named):
            settings_there = design.types or [f"{number} labels" for number in design.specified]
            made |= {(s, k, method.name) for s in settings_there for k in design.k}
    wanted = {(r.keys["setting"], r.keys["k"], r.keys["method"]) for r in table.rows}
    assert wanted <= made
