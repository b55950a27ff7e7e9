"""The store: what is recorded is whole, whatever cuts it off, and every attack counts once."""

import json
import os
import random
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxadv.errors import InputError
from jaxadv.experiments import store
from jaxadv.experiments.plan import plan, read_plan

STORED = Path(__file__).parent / "stored"
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
    """Records of a victim that was trained again would not be comparable."""
    folder = written(tmp_path, [row(GEM, 0)])
    with pytest.raises(store.StoreError, match="'v' with other weights; use a new folder"):
        store.write_plan(folder, [(CELLS[0], "others", "attacks")])


def test_records_of_other_weights_are_not_merged(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for folder, weights in ((one, "weights"), (two, "others")):
        store.write_plan(folder, [(CELLS[0], weights, "attacks")])
    with pytest.raises(store.StoreError, match="'v' with other weights or attacks than"):
        store.merge([one, two], tmp_path / "out")


def test_damage_is_named_and_left_out(tmp_path):
    """A line in the middle that is no record is no kill's doing; the others count."""
    folder = written(tmp_path / "a", [row(GEM, 0), row(GEM, 1), row(GEM, 2, failed="broken")])
    (path,) = (folder / "records").iterdir()
    path.write_bytes(path.read_bytes().replace(b'"id": 1', b'"id": 7'))
    problems = []
    assert [one["id"] for one in store.read(folder, problems)] == [0, 2]
    assert problems == [f"{path}: 1 line is damaged and left out (2)"]
    assert store.count(folder) == store.Counts(2, 1, {GEM: 2, SSVM: 0}, tuple(problems))
    assert (GEM, 7) not in store.recorded(folder) and (GEM, 1) not in store.recorded(folder)
    assert pq.read_table(store.write_parquet(folder))["id"].to_pylist() == [0, 2]
    assert list(store.merge([folder], tmp_path / "merged")) == problems
    assert store.count(tmp_path / "merged").problems == ()
    assert store.count(tmp_path / "merged").recorded == 2


@pytest.mark.parametrize("seed", range(40))
def test_no_flipped_bit_of_a_record_is_believed(tmp_path, seed):
    rng = random.Random(seed)
    folder = written(tmp_path, [row(GEM, i, said=f"{i} cats") for i in range(3)])
    (path,) = (folder / "records").iterdir()
    before = list(store.read(folder))
    contents = bytearray(path.read_bytes())
    contents[rng.randrange(len(contents))] ^= 1 << rng.randrange(8)
    path.write_bytes(contents)
    after = list(store.read(folder))
    assert all(one in before for one in after) and 1 <= len(after) < 3


FAULTS = {
    "no JSON": b"]",
    "deep": b"[" * 100_000,
    "no object": b"[1]",
    "no text": b"\xff\xfe",
    "no cell": b'{"id": 1, "failed": null}',
    "a number for a cell": b'{"cell": 3, "id": 1, "failed": null}',
    "true for a number": b'{"cell": "%s", "id": true, "failed": null}',
    "infinite": b'{"cell": "%s", "id": 1, "failed": null, "norm": 1e999}',
    "too long a number": b'{"cell": "%s", "id": 1, "failed": null, "steps": 9' + b"9" * 30 + b"}",
    "many digits": b'{"cell": "%s", "id": 1, "failed": null, "steps": 9' + b"9" * 5000 + b"}",
    "text for a number": b'{"cell": "%s", "id": 1, "failed": null, "norm": "0.5"}',
    "text for a list": b'{"cell": "%s", "id": 1, "failed": null, "specified": "cat"}',
    "numbers in a list": b'{"cell": "%s", "id": 1, "failed": null, "specified": [1]}',
    "a name twice": b'{"cell": "%s", "id": 1, "failed": null, "id": 2}',
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_line_of_an_earlier_version_is_checked(tmp_path, name):
    """It has no checksum; what is no record costs itself alone."""
    folder = written(tmp_path, [])
    (folder / "records").mkdir()
    good = json.dumps(row(GEM, 0)).encode()
    bad = FAULTS[name].replace(b"%s", GEM.encode())
    (folder / "records" / "1-1.jsonl").write_bytes(good + b"\n" + bad + b"\n" + good + b"\n")
    found = store.count(folder)
    assert found.recorded == 1 and "1 line is damaged and left out (2)" in found.problems[0]


def test_a_stored_sweep_of_an_earlier_version():
    """Its plan and its records, as they were written at commit 6206f73."""
    found = store.count(STORED / "sweep")
    assert (found.recorded, found.failed, found.problems) == (12, 0, ())
    assert len(found.by_cell) == len(read_plan(STORED / "sweep.toml"))
    rows = list(store.read(STORED / "sweep"))
    assert {row["method"] for row in rows} == {"gem", "ssvm", "tkmia", "kfool"}
    assert all(row["norm"] >= 0 for row in rows)


def test_it_is_gone_on_with_under_todays_digests(tmp_path):
    """Its attacks are not made again; but those on captions, whose targets are drawn otherwise."""
    folder = shutil.copytree(STORED / "sweep", tmp_path / "sweep")
    before = store.read_cells(folder)
    cells = read_plan(STORED / "sweep.toml")
    attacks = {
        cell.digest: next(
            old["attacks"] if cell.task == "labels" else "drawn otherwise"
            for old in before.values()
            if old["method"] == cell.method.name
        )
        for cell in cells
    }
    weights = {old["victim"]: old["weights"] for old in before.values()}
    store.write_plan(
        folder, [(cell, weights[cell.victim], attacks[cell.digest]) for cell in cells], "sweep.toml"
    )
    made = {digest for digest, _ in store.recorded(folder)}
    assert [cell.digest in made for cell in cells] == [cell.task == "labels" for cell in cells]
    rows = [row for row in store.read(folder) if row["task"] == "labels"]
    assert {row["cell"] for row in rows} <= {cell.digest for cell in cells}
    assert len(rows) == sum(row["task"] == "labels" for row in store.read(STORED / "sweep"))


@pytest.mark.parametrize(
    "contents", [b"{", b"[]", b'{"a": 3}', b'{"a": {"task": "captions"}}', b"\xff", b"[" * 10**5]
)
def test_a_damaged_plan_is_named(tmp_path, contents):
    (tmp_path / "plan.json").write_bytes(contents)
    with pytest.raises(InputError, match=r"plan\.json: "):
        store.count(tmp_path)


def test_a_plan_whose_bits_changed_is_not_believed(tmp_path):
    folder = written(tmp_path, [row(GEM, 0)])
    (path,) = folder.glob("plan*.json")
    path.write_text(path.read_text().replace("gem", "gen"))
    with pytest.raises(store.StoreError, match="damaged; the sweep's command writes it again"):
        store.count(folder)
    assert store.count(written(tmp_path, [])).recorded == 1


def test_many_writers_of_plans_lose_none(tmp_path):
    """Each its own cells, at the same time, one of them again and again."""
    cells = plan({"captions": [{"victim": "v", "iterations": list(range(1, 25))}]})

    def write(number):
        one = [(cells[number], "weights", "attacks")]
        store.write_plan(tmp_path, one, f"{number}.toml")
        store.write_plan(tmp_path, [(CELLS[0], "weights", "attacks")], "shared.toml")

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(write, range(24)))
    assert store.read_cells(tmp_path).keys() == {GEM, *(cell.digest for cell in cells)}


def test_after_a_sweep_file_is_edited_its_former_cells_do_not_count(tmp_path):
    """They are told of, and count again where it is edited back."""
    old, new = [(CELLS[0], "w", "a")], [(CELLS[1], "w", "a")]
    store.write_plan(tmp_path, old, "mine.toml")
    writer = store.Writer(tmp_path)
    writer.append(row(GEM, 0))
    writer.append(row(SSVM, 0))
    writer.append(row("f" * 12, 0))
    writer.close()
    store.write_plan(tmp_path, new, "mine.toml")
    problems = []
    assert [one["cell"] for one in store.read(tmp_path, problems)] == [SSVM]
    assert "1 records of 1 cells that the sweep file no longer has are left out" in problems[0]
    assert "1 records of cells that no plan has are left out" in problems[1]
    store.write_plan(tmp_path, old, "mine.toml")
    assert [one["cell"] for one in store.read(tmp_path)] == [GEM]
    store.write_plan(tmp_path, new, "other.toml")
    assert store.count(tmp_path).by_cell == {GEM: 1, SSVM: 1}


@pytest.mark.parametrize("made", ["file", "nothing", "empty", "long"])
def test_what_is_no_sweep_is_one_line(tmp_path, made):
    path = tmp_path / ("x" * 300 if made == "long" else "x")
    if made == "file":
        path.write_text("")
    if made == "empty":
        path.mkdir()
    for use in (store.count, store.read_cells, lambda path: store.merge([path], tmp_path / "new")):
        with pytest.raises(store.StoreError, match="holds no sweep"):
            use(path)


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
    with pytest.raises(store.StoreError, match=r"No space left on device.*same command resumes"):
        writer.append(row(GEM, 2))
    monkeypatch.undo()
    assert [one["id"] for one in store.read(folder)] == [0, 1]


def test_numbers_that_json_has_not_are_never_written(tmp_path):
    """NaN would make a line that other readers refuse."""
    with pytest.raises(ValueError, match="JSON"):
        written(tmp_path, [row(GEM, 0, precision=float("nan"))])
    assert store.count(tmp_path).recorded == 0
