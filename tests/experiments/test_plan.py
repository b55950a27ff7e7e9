"""Sweep files: what they stand for, and one clear line for each thing that is wrong."""

import dataclasses
import json
import os
import time
from pathlib import Path

import pytest

from jaxadv.captions.methods import METHODS, SSVM
from jaxadv.core.method import kinds, option, steps
from jaxadv.errors import InputError
from jaxadv.experiments import caption_jobs
from jaxadv.experiments.cells import PlanError
from jaxadv.experiments.families import FAMILIES
from jaxadv.experiments.files import FOLDER, find, names
from jaxadv.experiments.plan import plan, read_plan


def grid(**keys):
    return {"captions": [{"victim": "scenes-scst", **keys}]}


def test_a_grid_is_every_combination():
    """Lists are axes, but for what a cell attacks."""
    cells = plan(
        grid(method=["gem", "ssvm"], tradeoff=[0.1, 1], seed=[0, 1, 2], settings=["0 latent"])
    )
    assert len(cells) == 12
    found = {(c.method.name, c.method.value("tradeoff"), c.seed) for c in cells}
    assert found == {(m, t, s) for m in ("gem", "ssvm") for t in (0.1, 1.0) for s in (0, 1, 2)}
    assert all(c.design.settings == ("0 latent",) for c in cells)


def test_what_grids_share_is_made_once():
    """Several tables are a list of grids."""
    one = {"victim": "scenes-scst", "tradeoff": [0.1, 1]}
    two = {"victim": "scenes-scst", "tradeoff": [1, 10]}
    assert len(plan({"captions": [one, two]})) == 3


def test_the_digest_tells_every_difference():
    """Anything that changes what is found, however it was written."""
    variants = [
        {},
        {"method": "ssvm"},
        {"iterations": 7},
        {"seed": 1},
        {"images": 3},
        {"targets": 2},
        {"data": "folder"},
        {"settings": "1 latent"},
    ]
    digests = {plan(grid(**keys))[0].digest for keys in variants}
    assert len(digests) == len(variants)
    assert plan(grid(iterations=7))[0].digest == plan(grid(iterations=[7]))[0].digest


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (
            {},
            r"no attack: write a table \[\[captions\]\] or \[\[understanding\]\]",
        ),
        ({"caption": []}, "unknown key 'caption': did you mean 'captions'"),
        ({"captions": {"victim": "x"}}, r"write \[\[captions\]\]"),
        (grid(iteration=5), "number 1: unknown key 'iteration': did you mean 'iterations'"),
        (grid(rounds=5, iterations=5), "rounds: is called iterations now, which is given, too"),
        (grid(iterations="many"), "iterations = 'many': must be a whole number"),
        (grid(iterations=2.5), "iterations = 2.5: must be a whole number"),
        (grid(tradeoff="big"), "tradeoff = 'big': must be finite and not negative"),
        (grid(tail=1), "tail = 1: must be true or false"),
        (grid(images=0), "images = 0: must be a whole number from 1"),
        ({"labels": [{"victim": "x", "k": [3, -1]}]}, "k = -1: must be a whole number from 1"),
        (grid(method=[]), "method = .*: give at least one value"),
        (grid(posterior="exact"), "posterior = 'exact': must be one of factorised, joint"),
        ({"captions": [{"method": "gem"}]}, "no victim"),
        ({"labels": [{"victim": "x", "k": "3"}]}, "k = '3': must be a whole number"),
        ({"labels": [{"victim": "x", "settings": "a"}]}, "unknown key 'settings'"),
        (grid(images="40"), "images = '40': must be a whole number"),
        ({"labels": [{"victim": "x", "k": 3.5}]}, "k = 3.5: must be a whole number"),
        ({"labels": [{"victim": "x", "k": [[3]]}]}, "k: a list, where one value is expected"),
        ({"captions": [{"victim": 3}]}, "victim = 3: must be text"),
        ({"captions": [{"victim": ""}]}, "victim = '': must be text"),
        ({"captions": [{"victim": "a\x1b[2J"}]}, r"victim = 'a\\x1b\[2J': must be text"),
        (grid(iterations={"a": 1}), "iterations: a table, where one value"),
        (grid(iterations=True), "iterations = True: must be a whole number"),
        *(
            (grid(iterations=n), "iterations = .*: must be a whole number from 1 to 1000000")
            for n in (0, -3, 3_000_000_000, 1e30, 10**400)
        ),
        *(
            (grid(seed=n), "seed = .*: must be a whole number from 0 to 4294967295")
            for n in (-1, 2**32, 2**64 + 1, 0.5)
        ),
        *(
            (grid(learning_rate=x), "learning_rate = .*: must be positive and finite")
            for x in (0, -1.0, float("inf"), float("nan"), 10**400)
        ),
        (grid(tries=0), "tries = 0: must be a whole number from 1"),
        (grid(method="gmm"), "method 'gmm': must be one of gem"),
        (grid(structured_loss=2), "structured_loss: is not read by gem"),
        (grid(method="show-and-fool", loss="logits", margin=3), "margin: is not read by show-and"),
        ({"labels": [{"victim": "x", "types": "red"}]}, 'types: is not read with selection = "ra'),
        (grid(requests="a.csv", images=3), "images: is not read with requests"),
        (grid(tradeoff=list(range(101)), seed=list(range(101))), "10,201 cells: .* at most 10,000"),
        (grid(images=10**6, targets=100), "100,000,000 attacks a cell: at most"),
        (grid(**{"x" * 10**5: 1}), "unknown key 'x{80}...':"),
    ],
)
def test_what_is_wrong_is_named(tables, message):
    """The key, the value and what is allowed."""
    with pytest.raises(PlanError, match=message):
        plan(tables)


def test_a_file_that_is_no_toml(tmp_path):
    """The file and the place in it."""
    path = tmp_path / "mine.toml"
    path.write_text("[[captions]\n")
    with pytest.raises(InputError, match=r"mine\.toml: .*line 1"):
        read_plan(path)
    with pytest.raises(PlanError, match=r"no such file; shipped are .*exact-caption-scenes"):
        read_plan(find(tmp_path / "other"))


@pytest.mark.parametrize("name", names())
def test_shipped_files_can_be_read(name):
    """By their name alone."""
    assert read_plan(find(FOLDER / name))
    assert read_plan(find(type(FOLDER)(name)))


STORED = Path(__file__).parent / "stored"


def test_digests_are_those_of_stored_sweeps():
    """Those of version 2, so that a sweep that was stored then can be resumed."""
    stored = json.loads((STORED / "digests.json").read_text())
    assert [cell.digest for cell in read_plan(STORED / "every_kind.toml")] == stored


def test_old_spellings_are_read_with_a_line_that_names_the_new(caplog):
    """For one version; it is the same cell."""
    assert plan(grid(rounds=7))[0].digest == plan(grid(iterations=7))[0].digest
    assert [record.getMessage() for record in caplog.records] == [
        "rounds: is called iterations now"
    ]


def test_cells_whose_targets_are_drawn_otherwise_are_new_ones(monkeypatch):
    """Those that list their own stay."""
    before = [plan(grid())[0].digest, plan(grid(requests="a.csv"))[0].digest]
    monkeypatch.setattr(caption_jobs, "DRAWING", caption_jobs.DRAWING + 1)
    after = [plan(grid())[0].digest, plan(grid(requests="a.csv"))[0].digest]
    assert [a == b for a, b in zip(before, after, strict=True)] == [False, True]


def test_a_new_option_changes_no_digest_of_those_that_do_not_use_it(monkeypatch):
    """Nor of those that use it at its default."""

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Newer(SSVM.options):
        patience: int = option(5, "steps without progress", check=steps)

    stored = {cell.method.name: cell.digest for cell in plan(grid(method=["gem", "ssvm"]))}
    newer = tuple(m._replace(options=Newer) if m.name == "ssvm" else m for m in METHODS)
    monkeypatch.setitem(FAMILIES, "captions", FAMILIES["captions"]._replace(methods=newer))
    cells = plan(grid(method=["gem", "ssvm"], patience=[5, 6]))
    assert len(cells) == 3
    for cell in cells:
        at_default = cell.method.name == "gem" or cell.method.value("patience") == 5
        assert (cell.digest == stored[cell.method.name]) == at_default


def test_what_a_method_does_not_read_makes_no_second_cell():
    """Here SSVM alone reads the axis."""
    cells = plan(grid(method=["gem", "ssvm"], structured_loss=[1, 2, 3]))
    assert [cell.method.name for cell in cells] == ["gem", "ssvm", "ssvm", "ssvm"]


def test_a_cell_says_what_it_uses():
    """The method's own values for what is not given, nothing that it does not read."""
    (cell,) = plan(grid())
    assert cell.columns["learning_rate"] == 1e-3 and cell.columns["iterations"] == 50
    assert None not in cell.columns.values() and "structured_loss" not in cell.columns


def test_a_grid_of_a_million_cells_is_refused_at_once():
    axis = list(range(1000))
    began = time.perf_counter()
    with pytest.raises(PlanError, match="1,000,000 cells"):
        plan(grid(iterations=axis, seed=axis))
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"\xef\xbb\xbf[[captions]]\nvictim = 3\n", "victim = 3"),
        ("[[captions]]\nvictim = 'x'\n".encode("utf-16"), "UTF-16"),
        (b"victim = '\xe9'\n", "not text in UTF-8"),
        (b"a = " + b"[" * 50_000, "TOML"),
        (b"[[captions]]\nvictim = 'x'\niterations = " + b"9" * 5000, "too many digits"),
        (b"[[captions]]\nvictim = 'x'\nlearning_rate = inf", "learning_rate = inf"),
        (b"x" * (2 << 20), "bytes, more than"),
    ],
)
def test_a_hostile_file_is_one_line(tmp_path, contents, message):
    path = tmp_path / "mine.toml"
    path.write_bytes(contents)
    with pytest.raises(InputError, match=message) as told:
        read_plan(path)
    assert str(told.value).startswith(str(path)) and len(str(told.value)) < 1000


def test_no_regular_file(tmp_path):
    """A folder, a pipe, a name that is too long."""
    os.mkfifo(tmp_path / "pipe")
    for path, message in (
        (tmp_path, "a folder, where a file is expected"),
        (tmp_path / "pipe", "a named pipe"),
        (tmp_path / ("x" * 300), "no such file"),
    ):
        with pytest.raises(InputError, match=message):
            read_plan(find(path))


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_an_option_is_of_one_type_in_all_methods_of_a_family(family):
    """A grid's key is read once for all of them."""
    found: dict = {}
    for method in family.methods:
        for name, kind in kinds(method).items():
            assert found.setdefault(name, kind) == kind, name
