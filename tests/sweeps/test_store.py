"""The store: what is recorded is whole, whatever cuts it off, and every attack counts once."""

import json
import os

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxadv.sweeps import store
from jaxadv.sweeps.plan import plan

CELLS = plan({"captions": [{"victim": "v", "method": ["gem", "ssvm"]}]})
GEM, SSVM = (cell.digest for cell in CELLS)


def row(cell, number, **more):
    return {"cell": cell, "id": number, "failed": None, "norm": 0.5 * number, **more}


def written(folder, rows):
    store.write_plan(folder, [(cell, "weights", "attacks") for cell in CELLS])
    writer = store.Writer(folder)
    for one in rows:
        writer.append(one)
    writer.close()
    return folder


def test_records_come_back_with_their_cells(tmp_path):
    """Every column, and what the cell is."""
    folder = written(tmp_path / "a", [row(GEM, 0), row(SSVM, 1, said="a cat")])
    one, two = store.read(folder)
    assert (one["method"], one["norm"], one["weights"]) == ("gem", 0.0, "weights")
    assert (two["method"], two["said"], two["victim"]) == ("ssvm", "a cat", "v")
    assert store.count(folder) == store.Counts(2, 0, {GEM: 1, SSVM: 1})


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, 10_000))
def test_cut_off_anywhere_only_whole_records_count(tmp_path_factory, cut):
    """A kill in the middle of a line loses that line; the next run writes a file of its own."""
    folder = written(tmp_path_factory.mktemp("cut"), [row(GEM, i, said="ü" * i) for i in range(9)])
    (path,) = (folder / "records").iterdir()
    whole = path.read_bytes()
    cut %= len(whole) + 1
    path.write_bytes(whole[:cut])
    kept = [one["id"] for one in store.read(folder)]
    assert kept == list(range(whole[:cut].count(b"\n")))
    writer = store.Writer(folder)
    for number in set(range(9)) - set(kept):
        writer.append(row(GEM, number, said="ü" * number))
    writer.close()
    again = sorted(store.read(folder), key=lambda one: one["id"])
    assert [one["said"] for one in again] == ["ü" * i for i in range(9)]


def test_the_same_attack_counts_once(tmp_path):
    """The record that was there first."""
    folder = written(tmp_path, [row(GEM, 3, said="first")])
    written(folder, [row(GEM, 3, said="second"), row(GEM, 4)])
    assert [one.get("said") for one in store.read(folder)] == ["first", None]
    table = pq.read_table(store.write_parquet(folder))
    assert table["said"].to_pylist() == ["first", None]


def test_parquet_is_in_order_and_typed(tmp_path):
    """Cell by cell in the plan's order; what a record lacks is null."""
    rows = [
        row(SSVM, 1),
        row(GEM, 5, labels=["a", "b"]),
        row(GEM, 2, failed="broken"),
        row(SSVM, 0),
    ]
    table = pq.read_table(store.write_parquet(written(tmp_path, rows)))
    assert list(zip(table["method"].to_pylist(), table["id"].to_pylist(), strict=True)) == [
        ("gem", 2),
        ("gem", 5),
        ("ssvm", 0),
        ("ssvm", 1),
    ]
    assert table["labels"].to_pylist() == [None, ["a", "b"], None, None]
    assert table["failed"].to_pylist() == ["broken", None, None, None]
    assert str(table.schema.field("norm").type) == "double"


def test_merge_and_move(tmp_path):
    """Folders that were filled apart, one of them moved, are one sweep."""
    one = written(tmp_path / "one", [row(GEM, 0), row(GEM, 1)])
    two = written(tmp_path / "two", [row(GEM, 1), row(SSVM, 0)])
    os.rename(two, tmp_path / "moved")
    store.merge([one, tmp_path / "moved"], tmp_path / "out")
    assert store.count(tmp_path / "out").by_cell == {GEM: 2, SSVM: 1}
    with pytest.raises(store.StoreError, match="exists; merge into a new folder"):
        store.merge([one], tmp_path / "out")
    with pytest.raises(store.StoreError, match="holds no sweep"):
        store.merge([tmp_path / "nothing"], tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_other_weights_are_refused(tmp_path):
    """Records of a victim that was trained anew would not be comparable."""
    folder = written(tmp_path, [row(GEM, 0)])
    with pytest.raises(store.StoreError, match="'v' with other weights; use a new folder"):
        store.write_plan(folder, [(CELLS[0], "others", "attacks")])


def test_records_of_other_weights_are_not_merged(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for folder, weights in ((one, "weights"), (two, "others")):
        store.write_plan(folder, [(CELLS[0], weights, "attacks")])
    with pytest.raises(store.StoreError, match="'v' with other weights or attacks than"):
        store.merge([one, two], tmp_path / "out")


def test_damage_is_named(tmp_path):
    """A line in the middle that is no record is no kill's doing."""
    folder = written(tmp_path, [row(GEM, 0), row(GEM, 1)])
    (path,) = (folder / "records").iterdir()
    first = path.read_bytes().index(b"\n") + 1
    path.write_bytes(path.read_bytes().replace(b'"id": 1', b'"id": ]'))
    with pytest.raises(store.StoreError, match=f"damaged at byte {first}"):
        list(store.read(folder))
    (folder / "plan.json").write_text("{")
    with pytest.raises(store.StoreError, match=r"plan\.json: damaged"):
        store.count(folder)


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    """What was written before is whole."""
    folder = written(tmp_path, [row(GEM, 0)])
    writer = store.Writer(folder)
    writer.append(row(GEM, 1))
    real = os.write

    def full(file, data):
        real(file, bytes(data)[:5])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(store.StoreError, match=r"No space left on device.*same command goes on"):
        writer.append(row(GEM, 2))
    monkeypatch.undo()
    assert [one["id"] for one in store.read(folder)] == [0, 1]


def test_numbers_that_json_has_not_are_never_written(tmp_path):
    """NaN would make a line that other readers refuse."""
    with pytest.raises(ValueError, match="JSON"):
        written(tmp_path, [row(GEM, 0, precision=float("nan"))])
    assert json.loads((tmp_path / "plan.json").read_text())
