"""Sweep files: what they stand for, and one clear line for each thing that is wrong."""

import pytest

from jaxadv.sweeps.files import FOLDER, find, names
from jaxadv.sweeps.plan import PlanError, plan, read_plan


def grid(**keys):
    return {"captions": [{"victim": "scenes-scst", **keys}]}


def test_a_grid_is_every_combination():
    """Lists are axes, but for what a cell attacks."""
    cells = plan(
        grid(method=["gem", "ssvm"], tradeoff=[0.1, 1], seed=[0, 1, 2], settings=["0 latent"])
    )
    assert len(cells) == 12
    found = {(c.settings.method, c.settings.tradeoff, c.seed) for c in cells}
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
        {"rounds": 7},
        {"seed": 1},
        {"images": 3},
        {"targets": 2},
        {"data": "folder"},
        {"settings": "1 latent"},
    ]
    digests = {plan(grid(**keys))[0].digest for keys in variants}
    assert len(digests) == len(variants)
    assert plan(grid(rounds=7))[0].digest == plan(grid(rounds=[7]))[0].digest


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({}, r"no attack: write a table \[\[captions\]\] or \[\[labels\]\]"),
        ({"caption": []}, "unknown key 'caption': did you mean 'captions'"),
        ({"captions": {"victim": "x"}}, r"write \[\[captions\]\]"),
        (grid(round=5), "number 1: unknown key 'round': did you mean 'rounds'"),
        (grid(rounds="many"), "rounds = 'many': must be a whole number"),
        (grid(rounds=2.5), "rounds = 2.5: must be a whole number"),
        (grid(tradeoff="big"), "tradeoff = 'big': must be a number"),
        (grid(tail=1), "tail = 1: must be true or false"),
        (grid(images=0), "images = 0: must be at least 1"),
        ({"labels": [{"victim": "x", "k": [3, -1]}]}, "k = -1: must be at least 1"),
        (grid(method=[]), "method = .*: give at least one value"),
        (grid(posterior="exact"), "posterior = 'exact': must be one of factorised, joint"),
        ({"captions": [{"method": "gem"}]}, "no victim"),
        ({"labels": [{"victim": "x", "k": "3"}]}, "k = '3': must be a whole number"),
        ({"labels": [{"victim": "x", "settings": "a"}]}, "unknown key 'settings'"),
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
    with pytest.raises(PlanError, match=r"mine\.toml: .*line 1"):
        read_plan(path)
    with pytest.raises(PlanError, match=r"no such file; shipped are .*exact-caption-scenes"):
        read_plan(find(tmp_path / "other"))


@pytest.mark.parametrize("name", names())
def test_shipped_files_can_be_read(name):
    """By their name alone."""
    assert read_plan(find(FOLDER / name))
    assert read_plan(find(type(FOLDER)(name)))
