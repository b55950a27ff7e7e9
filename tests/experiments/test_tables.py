"""A sweep's tables: plain averages of its records, beside the paper's numbers, in four formats."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from jaxadv.errors import InputError
from jaxadv.experiments import store
from jaxadv.experiments.curves import panels_of
from jaxadv.experiments.paper_tables import TableError, paper_table, paper_tables
from jaxadv.experiments.plan import plan
from jaxadv.experiments.record_tables import table_of, tabulate
from jaxadv.experiments.retrieval_records import tabulate_retrieval
from jaxadv.experiments.table_formats import FORMATS, as_csv, as_latex, as_markdown
from jaxadv.experiments.tables import Table, papers_own

SAT, SCST = "scenes-show-attend-tell", "scenes-scst"
CAPTIONS = {"victim": [SAT, SCST], "method": ["gem", "ssvm"], "seed": [0, 1]}
LABELS = {"victim": "scenes-tagger", "method": ["tkmia", "kfool"], "delta": 2, "k": [3, 5]}
SETTINGS = ("0 latent", "2 latent", "1 obser")


def of_caption(cell, number, rng):
    """A record such as `caption_jobs` writes."""
    return {
        "cell": cell.digest,
        "id": number,
        "image": f"scene-{number}",
        "setting": SETTINGS[number % 3],
        "target": "a _ circle",
        "failed": None,
        "said": "a red circle",
        "success": bool(rng.random() < 0.6),
        "success_8bit": bool(rng.random() < 0.5),
        "precision": rng.random(),
        "recall": rng.random(),
        "norm": 5 * rng.random(),
        "steps": 50,
    }


def of_labels(cell, number, rng):
    """A record such as `label_jobs` writes."""
    names = ("precision", "ndcg", "top_k_accuracy", "average_precision")
    deltas = [*names, "top_k_accuracy_released", "average_precision_released"]
    return {
        "cell": cell.digest,
        "id": number,
        "image": f"scene-{number}",
        "setting": cell.design.types[0] if cell.design.types else "2 labels",
        "k": (3, 5)[number % 2],
        "specified": ["red circle", "blue star"][: 1 + number % 2],
        "failed": None,
        **{f"delta_{name}": rng.normal() for name in deltas},
        "excluded": int(rng.integers(3)),
        "success": bool(rng.random() < 0.7),
        "success_8bit": True,
        "norm": rng.random(),
        "steps": int(rng.integers(300)),
    }


def made(tables, attempts=24, seed=0):
    """Cells and records of a plan, some of which failed."""
    rng = np.random.default_rng(seed)
    cells = plan(tables)
    rows = []
    for cell in cells:
        for number in range(attempts):
            row = (of_caption if cell.task == "captions" else of_labels)(cell, number, rng)
            if number == 7:
                row = {k: row[k] for k in ("cell", "id", "image", "setting", "failed")}
                row |= {"failed": "broken", **({"k": 5} if cell.task == "labels" else {})}
            rows.append(row)
    return {cell.digest: {**cell.columns, "weights": "w"} for cell in cells}, rows


def named(table):
    """The rows as dictionaries."""
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def ours(table, **wanted):
    found = [row for row in named(table) if row["victim"] != "paper"]
    return [row for row in found if wanted.items() <= row.items()]


def test_captions_are_plain_averages():
    """Over all attempts of both seeds; what failed is counted and not averaged."""
    cells, rows = made({"captions": [CAPTIONS]})
    table = tabulate(paper_table("exact-caption-1"), cells, rows)
    assert len(ours(table)) == 2 * len(SETTINGS)
    for method in ("gem", "ssvm"):
        for setting in SETTINGS:
            some = [
                row
                for row in rows
                if cells[row["cell"]]["method"] == method
                and cells[row["cell"]]["victim"] == SAT
                and row["setting"] == setting
            ]
            (row,) = ours(table, method=method, setting=setting)
            good = [one for one in some if one["failed"] is None]
            assert row["victim"] == SAT
            assert (row["n"], row["failed"]) == (len(good), len(some) - len(good))
            for measure, column in (
                ("SR", "success"),
                ("Prec", "precision"),
                ("Rec", "recall"),
                ("‖ε‖₂", "norm"),
                ("SR 8-bit", "success_8bit"),
            ):
                assert row[measure] == pytest.approx(np.mean([one[column] for one in good]))
    assert "attacks that failed, counted and not averaged: 4" in table.notes


def test_the_order_of_records_does_not_matter():
    """Attacks end in any order."""
    cells, rows = made({"captions": [CAPTIONS]})
    paper = paper_table("exact-caption-1")
    one, two = tabulate(paper, cells, rows), tabulate(paper, cells, rows[::-1])
    assert one.columns == two.columns and one.notes == two.notes
    for a, b in zip(one.rows, two.rows, strict=True):
        assert a == pytest.approx(b)


def test_labels_are_averaged_as_the_paper_does():
    """Changes over all pictures, APer over the successful ones, the released code's forms."""
    cells, rows = made({"labels": [LABELS]}, 40)
    table = tabulate(paper_table("tkmia-3"), cells, rows)
    for k in (3, 5):
        for method in ("tkmia", "kfool"):
            (row,) = ours(table, k=k, setting="2 labels", method=method)
            some = [r for r in rows if cells[r["cell"]]["method"] == method and r["k"] == k]
            good = [r for r in some if r["failed"] is None]
            fooled = [r["norm"] for r in good if r["success"]]
            expected = {
                "ΔTkAcc": np.mean([r["delta_top_k_accuracy_released"] for r in good]),
                "ΔP@k": np.mean([r["delta_precision"] for r in good]),
                "ΔmAP@k": np.mean([r["delta_average_precision_released"] for r in good]),
                "ΔNDCG@k": np.mean([r["delta_ndcg"] for r in good]),
                "Δl": np.mean([r["excluded"] for r in good]),
                "APer": np.mean(fooled),
                "SR": len(fooled) / len(good),
            }
            assert {m: row[m] for m in expected} == pytest.approx(expected)
            assert row["n"] == len(good) and row["failed"] == len(some) - len(good)
    count = tabulate(paper_table("tkmia-12"), cells, rows)
    assert ours(count, method="tkmia", k=3)[0]["n"] == 20


def test_how_many_labels_were_specified():
    """The appendix's tables of counts."""
    labels = {**LABELS, "selection": "global", "types": ["red"], "method": "tkmia"}
    cells, rows = made({"labels": [labels]})
    table = tabulate(paper_table("tkmia-10"), cells, rows)
    assert [(r["setting"], r["k"], r["n"], r["|S|"]) for r in ours(table)] == [
        ("red", 3, 12, 1.0),
        ("red", 5, 11, 2.0),
    ]
    assert "SR" not in table.columns


def test_the_paper_stands_below_and_its_other_rows_at_the_end():
    """In the paper's order; nothing of the paper is lost or repeated."""
    cells, rows = made({"captions": [CAPTIONS]})
    paper = paper_table("exact-caption-1")
    table = named(tabulate(paper, cells, rows))
    for one, two in zip(table[0:12:2], table[1:12:2], strict=True):
        assert (one["method"], one["setting"]) == (two["method"], two["setting"])
        assert (one["victim"], two["victim"]) == (SAT, "paper")
    theirs = [row for row in table if row["victim"] == "paper"]
    assert len(theirs) == len(paper.rows)
    found = {(r["method"], r["setting"]): r["SR"] for r in theirs}
    assert found == {(r.keys["method"], r.keys["setting"]): r.values["SR"] for r in paper.rows}
    assert all(row["n"] is None and row["SR 8-bit"] is None for row in theirs)


def test_victims_like_the_papers_or_those_asked_for():
    """Each of the three tables finds its own."""
    cells, rows = made({"captions": [CAPTIONS]})
    seen = {
        name: {row["victim"] for row in ours(tabulate(paper_table(name), cells, rows))}
        for name in ("exact-caption-1", "exact-caption-3", "exact-caption-4")
    }
    assert list(seen.values()) == [{SAT}, {SCST}, {SAT, SCST}]
    table = tabulate(paper_table("exact-caption-1"), cells, rows, [SCST])
    assert {row["victim"] for row in ours(table)} == {SCST}
    with pytest.raises(TableError, match=f"victim 'other': must be among {SAT}, {SCST}"):
        tabulate(paper_table("exact-caption-1"), cells, rows, ["other"])


def test_settings_are_never_mixed():
    """A second value of a setting becomes a column; the paper's own value goes before others."""
    several = {"victim": SAT, "method": "gem", "iterations": [100, 200], "settings": "0 latent"}
    cells, rows = made({"captions": [several]})
    table = tabulate(paper_table("exact-caption-1"), cells, rows)
    assert [row["iterations"] for row in ours(table, setting="0 latent")] == [100, 200]
    assert not any(" here with " in note for note in table.notes)
    cells, rows = made({"captions": [{**several, "iterations": 100, "learning_rate": 0.005}]})
    notes = tabulate(paper_table("exact-caption-1"), cells, rows).notes
    assert (
        "gem here with learning_rate 0.005 (the paper: 0.001), iterations 100 (the paper: 50)"
        in notes
    )
    cells, rows = made({"labels": [{**LABELS, "method": "tkmia", "learning_rate": 0.1}]})
    notes = tabulate(paper_table("tkmia-3"), cells, rows).notes
    assert "tkmia here with learning_rate 0.1 (the paper searches)" in notes
    grid = {"victim": SAT, "method": ["gem", "ssvm"], "tradeoff": [0.01, 0.1, 10]}
    cells, rows = made({"captions": [grid]})
    one = tabulate(paper_table("exact-caption-1"), cells, rows)
    assert "tradeoff" not in one.columns and not any(" here with " in note for note in one.notes)
    assert sum(row["n"] for row in ours(one)) == 2 * 23
    two = ours(tabulate(paper_table("exact-caption-2"), cells, rows))
    assert [row["tradeoff"] for row in two] == ["0.01", "0.1", "10"] * 2


def test_grids_that_differ_in_what_they_attack_are_named():
    """The records do not say which pictures a cell was to attack; seeds alone are no such thing."""
    grid = {"victim": SAT, "method": "gem", "seed": [0, 1]}
    cells, rows = made({"captions": [grid, {**grid, "images": 7}]})
    note = "rows here put grids together that differ in their pictures or targets alone"
    assert note in tabulate(paper_table("exact-caption-1"), cells, rows).notes
    cells, rows = made({"captions": [grid]})
    assert note not in tabulate(paper_table("exact-caption-1"), cells, rows).notes


def test_the_papers_steps_and_threshold_are_chosen():
    """One folder with several serves several tables."""
    cells, rows = made({"labels": [{**LABELS, "iterations": [100, 300], "delta": [2, 3]}]})
    for name, steps in (("tkmia-3", 300), ("tkmia-18", 100)):
        table = tabulate(paper_table(name), cells, rows)
        wanted = {d for d, c in cells.items() if c["iterations"] == steps and c["delta"] == 2}
        expected = np.mean(
            [
                row["excluded"]
                for row in rows
                if row["cell"] in wanted
                and cells[row["cell"]]["method"] == "tkmia"
                and row["failed"] is None
                and row["k"] == 3
            ]
        )
        (row,) = ours(table, method="tkmia", k=3)
        assert row["Δl"] == pytest.approx(expected)


def test_show_and_fool_is_two_methods():
    """By its loss, as in Table 5."""
    fool = {"victim": "scenes-show-tell", "method": "show-and-fool", "loss": ["margin", "logits"]}
    cells, rows = made({"captions": [{**fool, "margin": 10_000, "tries": 1}]})
    table = tabulate(paper_table("exact-caption-5"), cells, rows)
    assert [row["method"] for row in ours(table)] == [
        "show-and-fool logits",
        "show-and-fool margin",
    ]
    assert not any(" here with " in note for note in table.notes)


def test_the_spread_over_seeds():
    """The deviation of the seeds' averages beside the average over all; none for one seed."""
    cells, rows = made({"captions": [CAPTIONS]})
    table = tabulate(paper_table("exact-caption-1"), cells, rows)
    seed = {digest: cell["seed"] for digest, cell in cells.items()}
    kept = [r for r in rows if cells[r["cell"]]["victim"] == SAT and r["failed"] is None]
    for row in ours(table):
        own = [
            r
            for r in kept
            if (cells[r["cell"]]["method"], r["setting"]) == (row["method"], row["setting"])
        ]
        means = [np.mean([r["norm"] for r in own if seed[r["cell"]] == s]) for s in (0, 1)]
        assert row["‖ε‖₂ ±"] == pytest.approx(np.std(means, ddof=1))
    columns = list(table.columns)
    assert columns.index("SR ±") == columns.index("SR") + 1
    assert table.notes[-1] == "±: standard deviation of the seeds' averages"
    alone = [row for row in rows if seed[row["cell"]] == 0]
    assert not any("±" in c for c in tabulate(paper_table("exact-caption-1"), cells, alone).columns)


def test_other_data_are_named():
    """Scenes are not COCO; photographs may be."""
    cells, rows = made({"captions": [CAPTIONS]})
    table = tabulate(paper_table("exact-caption-1"), cells, rows)
    assert "MS COCO 2014" in table.notes[0] and "scenes: other data" in table.notes[1]
    photographs = [{**row, "image": "COCO_val2014_1"} for row in rows]
    table = tabulate(paper_table("exact-caption-1"), cells, photographs)
    assert "photographs: comparable where these are the paper's" in table.notes[1]


def test_records_of_nothing_that_the_table_shows():
    """Listed requests are left out, and said so; another task is an error."""
    cells, rows = made({"captions": [CAPTIONS]})
    rows[0]["setting"] = "listed"
    table = tabulate(paper_table("exact-caption-1"), cells, rows)
    assert f"records of none of this table's rows: {1 + len(rows) // 2}" in table.notes
    with pytest.raises(TableError, match="is of labels, of which this sweep has no attack"):
        tabulate(paper_table("tkmia-1"), cells, rows)
    assert (
        "here: no record of this table yet"
        in tabulate(paper_table("exact-caption-1"), cells, []).notes
    )


def found_by_retrieval():
    """What `jaxadv evaluate retrieval` writes, in small."""
    cell = {"victim": "mine", "I2T": 0.9, "I2I": 0.8, "D": 0.0, "modality": "image"}
    hit = {**cell, "attack": "CMLA", "iterations": 100, "I2T": 0.4, "D": 0.02}
    text = {"victim": "mine", "modality": "text", "T2I": 0.7, "D": 0.0}
    cells = [{**cell, "attack": "none", "iterations": 0}, hit, {**text, "attack": "none"}]
    cells[2]["iterations"] = 0
    cells.append({**hit, "attack": "CMLA without the intra-modal term"})
    return {"victims": {"mine": 32}, "samples": {"mine": 9}, "queries": 20, "cells": cells}


def test_retrieval_beside_its_paper():
    """Benign queries in Table 1, attacked ones in Table 2; none of the ablation."""
    one = tabulate_retrieval(paper_table("cmla-1"), found_by_retrieval())
    assert [(r["direction"], r["bits"], r["MAP"]) for r in ours(one)] == [
        ("I2T", 32, 0.9),
        ("T2I", 32, 0.7),
    ]
    two = tabulate_retrieval(paper_table("cmla-2"), found_by_retrieval())
    assert [(r["iterations"], r["MAP"], r["D"], r["n"]) for r in ours(two)] == [
        (100, 0.4, 0.02, 20)
    ]
    assert len(two.rows) == 1 + 48
    of_samples = tabulate_retrieval(paper_table("cmla-supplement-2"), found_by_retrieval())
    assert {r["samples"] for r in ours(of_samples)} == {9}
    with pytest.raises(TableError, match="not of jaxadv evaluate retrieval"):
        tabulate_retrieval(paper_table("cmla-1"), {"victim": "x", "rows": []})


def test_an_adversarially_trained_victim_beside_the_right_protocol():
    """The paper's: attacked on the victim before. Attacked again stands apart; so do others'."""
    found = found_by_retrieval()
    found["from"] = {"mine": "before"}
    moved = {"source": "before", "victim": "mine", "modality": "image", "precision": 0.6}
    found["transfers"] = [moved, {**moved, "source": "another", "precision": 0.1}]
    for name in ("cmla-3", "cmla-supplement-2"):
        rows = ours(tabulate_retrieval(paper_table(name), found))
        attacked = {row["protocol"]: row["MAP"] for row in rows if row["protocol"] != "benign"}
        assert attacked == {"attacked again": 0.4, "identical attacks": 0.6}
    paper = papers_own(paper_table("cmla-3"))
    assert {row[paper.columns.index("protocol")] for row in paper.rows} == {"identical attacks"}
    for wrong in (
        [3],
        [{**moved, "victim": "nobody"}],
        [{**moved, "precision": "x"}],
        {},
        [{**moved, "victim": []}],
        [{**moved, "modality": {}}],
    ):
        with pytest.raises(TableError, match="not of jaxadv evaluate retrieval"):
            tabulate_retrieval(paper_table("cmla-3"), {**found, "transfers": wrong})


def test_of_a_folder(tmp_path):
    """A sweep's, while it runs; for CMLA a folder with table.json."""
    cells = plan({"captions": [{"victim": SAT, "method": "gem"}]})
    store.write_plan(tmp_path, [(cell, "w", "a") for cell in cells])
    writer = store.Writer(tmp_path)
    writer.append(of_caption(cells[0], 0, np.random.default_rng(0)))
    assert ours(table_of(paper_table("exact-caption-1"), tmp_path))[0]["n"] == 1
    writer.append(of_caption(cells[0], 3, np.random.default_rng(0)))
    assert ours(table_of(paper_table("exact-caption-1"), tmp_path))[0]["n"] == 2
    writer.close()
    with pytest.raises(TableError, match="is of retrieval, of which this sweep has no attack"):
        table_of(paper_table("cmla-1"), tmp_path)
    (tmp_path / "table.json").write_text(json.dumps(found_by_retrieval()))
    assert ours(table_of(paper_table("cmla-1"), tmp_path))[0]["MAP"] == 0.9
    for contents in ("{", "[]", '{"victims": [], "cells": 3, "queries": "1"}', "[" * 100_000):
        (tmp_path / "table.json").write_text(contents)
        with pytest.raises(InputError, match=r"table\.json"):
            table_of(paper_table("cmla-1"), tmp_path)


def test_what_is_left_out_is_a_note(tmp_path):
    """A damaged record, and those of cells that an edited sweep file no longer has."""
    cells = plan({"captions": [{"victim": SAT, "method": "gem", "iterations": [10, 50]}]})
    store.write_plan(tmp_path, [(cell, "w", "a") for cell in cells], "mine.toml")
    writer = store.Writer(tmp_path)
    for cell in cells:
        for number in (0, 3, 6):
            writer.append(of_caption(cell, number, np.random.default_rng(0)))
    writer.close()
    store.write_plan(tmp_path, [(cells[1], "w", "a")], "mine.toml")
    (path,) = (tmp_path / "records").iterdir()
    path.write_bytes(path.read_bytes().replace(b'"scene-3"', b'"scene-4"'))
    table = table_of(paper_table("exact-caption-1"), tmp_path)
    assert [row["n"] for row in ours(table)] == [2]
    assert f"{path}: 2 lines are damaged and left out (2, 5)" in table.notes
    assert any("2 records of 1 cells that the sweep file no longer has" in n for n in table.notes)


def test_a_stored_sweep_of_an_earlier_version():
    """Its plan has nulls for the methods' own values."""
    folder = Path(__file__).parent / "stored" / "sweep"
    table = table_of(paper_table("exact-caption-1"), folder)
    assert [(row["method"], row["n"]) for row in ours(table)] == [("gem", 2), ("ssvm", 2)]
    assert any("gem here with learning_rate 0.02 (the paper: 0.001)" in n for n in table.notes)
    assert sum(row["n"] for row in ours(table_of(paper_table("tkmia-3"), folder))) == 8


def test_of_a_sweep_of_a_retrieval_attack_without_an_intra_modal_weight(tmp_path):
    """It has no row in CMLA's tables, and a line of its own in the plot of the frontiers."""
    grids = [{"intra": [0.0, 1.0]}, {"method": "reliable", "budget": 500, "keep": [0.5, 0.6]}]
    cells = plan({"retrieval": [{"victim": "scenes-ssah", **grid} for grid in grids]})
    store.write_plan(tmp_path, [(cell, "w", "a") for cell in cells])
    writer = store.Writer(tmp_path)
    for cell in cells:
        found = {"data": "scenes", "bits": 32, "samples": 0, "distortion": 0.01, "from": None}
        own = cell.columns.get("keep", 0.7)
        found |= {"ap_cross_benign": 0.9, "ap_own_benign": 0.8, "ap_cross": 0.4, "ap_own": own}
        row = {"cell": cell.digest, "id": 0, "failed": None, "seconds": 1.0}
        writer.append({**row, **found})
    writer.close()
    rows = ours(table_of(paper_table("cmla-figure-5"), tmp_path))
    assert {row["attack"] for row in rows} == {"CMLA", "no intra-modal"}
    (panel,) = panels_of(paper_table("cmla-figure-5"), tmp_path)
    assert {line.name: line.y for line in panel.lines} == {
        "scenes-ssah, I2T/I2I, benign": (pytest.approx(0.8),),
        "scenes-ssah, I2T/I2I, 500 steps, β 0, 1": pytest.approx((0.7, 0.7)),
        "scenes-ssah, I2T/I2I, reliable, 500 steps, keep 0.5, 0.6": pytest.approx((0.5, 0.6)),
    }


def test_of_a_sweep_of_retrieval(tmp_path):
    """Benign queries once, however many cells they are in; failed ones not at all."""
    cells = plan(
        {"retrieval": [{"victim": "scenes-ssah", "iterations": [100, 200], "intra": [1.0, 0.0]}]}
    )
    store.write_plan(tmp_path, [(cell, "w", "a") for cell in cells])
    writer = store.Writer(tmp_path)
    for cell in cells:
        found = {"data": "scenes", "bits": 32, "samples": 0, "distortion": 0.01}
        for number, precision in enumerate((0.2, 0.4)):
            scored = {"ap_cross_benign": 0.9, "ap_cross": precision / cell.columns["iterations"]}
            scored |= {"ap_own_benign": 0.8, "ap_own": 0.7 * (cell.columns["intra"] > 0)}
            other = {"victim": "hard", "bits": 32, "samples": 9, "from": "scenes-ssah"}
            scored |= {"transfer": [{**other, "ap_cross": precision}], "from": None}
            row = {"cell": cell.digest, "id": number, "failed": None, "seconds": 1.0}
            writer.append({**row, **found, **scored})
        writer.append({"cell": cell.digest, "id": 2, "failed": "a reason", "seconds": 1.0})
    writer.close()
    (benign,) = ours(table_of(paper_table("cmla-1"), tmp_path))
    assert (benign["direction"], benign["bits"], benign["MAP"]) == ("I2T", 32, pytest.approx(0.9))
    steps = {r["iterations"]: r for r in ours(table_of(paper_table("cmla-2"), tmp_path))}
    assert {n: r["MAP"] for n, r in steps.items()} == pytest.approx({100: 0.003, 200: 0.0015})
    assert all(r["n"] == 2 and r["failed"] == 1 for r in steps.values())
    assert all(r["D"] == pytest.approx(0.01) for r in steps.values())
    with pytest.raises(TableError, match="victim 'nobody': must be among scenes-ssah"):
        table_of(paper_table("cmla-1"), tmp_path, ["nobody"])
    hard = ours(table_of(paper_table("cmla-3"), tmp_path))
    assert [(r["protocol"], r["victim"], r["MAP"]) for r in hard if r["victim"] == "hard"] == [
        ("identical attacks", "hard", pytest.approx(0.3))
    ] * 2  # after 100 and after 200 steps
    own = ours(table_of(paper_table("cmla-figure-5"), tmp_path))
    assert {(r["direction"], r["attack"]): r["MAP"] for r in own} == {
        ("I2I", "CMLA"): pytest.approx(0.7),
        ("I2I", "no intra-modal"): 0.0,
    }
    (panel,) = panels_of(paper_table("cmla-figure-5"), tmp_path)
    assert {line.name: (line.x, line.y) for line in panel.lines} == {
        "scenes-ssah, I2T/I2I, benign": (pytest.approx((0.9,)), pytest.approx((0.8,))),
        "scenes-ssah, I2T/I2I, 100 steps, β 0, 1": (
            pytest.approx((0.003,) * 2),
            pytest.approx((0, 0.7)),
        ),
        "scenes-ssah, I2T/I2I, 200 steps, β 0, 1": (
            pytest.approx((0.0015,) * 2),
            pytest.approx((0, 0.7)),
        ),
    }
    with pytest.raises(TableError, match="frontier is a curve of retrieval only"):
        panels_of(paper_table("exact-caption-1"), tmp_path, curve="frontier")


def test_settings_tell_rows_of_retrieval_apart_and_seeds_do_not(tmp_path):
    grid = {"victim": "scenes-ssah", "bound": [4.0, 8.0], "seed": [0, 1]}
    cells = plan({"retrieval": [{**grid, "iterations": 100}]})
    store.write_plan(tmp_path, [(cell, "w", "a") for cell in cells])
    writer = store.Writer(tmp_path)
    for cell in cells:
        precision = cell.columns["bound"] / 10 + cell.seed / 100
        found = {"data": "scenes", "bits": 32, "samples": 0, "distortion": 0.01, "seconds": 1.0}
        scored = {"ap_cross_benign": 0.9, "ap_cross": precision, "failed": None}
        scored |= {"ap_own_benign": 0.8, "ap_own": 0.7}
        writer.append({"cell": cell.digest, "id": 0, **found, **scored})
    writer.close()
    rows = ours(table_of(paper_table("cmla-2"), tmp_path))
    assert {r["bound"]: r["MAP ±"] for r in rows} == pytest.approx(
        {4.0: 0.0071, 8.0: 0.0071}, abs=1e-4
    )
    assert {r["bound"]: (r["n"], r["MAP"]) for r in rows} == {
        4.0: (2, pytest.approx(0.405)),
        8.0: (2, pytest.approx(0.805)),
    }


ODD = Table(
    "50 % of |S| & more_",
    ("a_b", "|S|", "Δ ‖ε‖₂", "n"),
    (("x|y\\z", 0.123456789, None, 3), ("p & q, {r}", 2.0, -1.5, None)),
    ("a # note", "~ and ^ \\"),
)


def test_csv_comes_back_in_full():
    """Every digit; what is missing is empty."""
    columns, *rows = csv.reader(io.StringIO(as_csv(ODD)))
    assert tuple(columns) == ODD.columns
    back = [[float(x) if x else None for x in row[1:]] for row in rows]
    assert back == [list(row[1:]) for row in ODD.rows]
    assert [row[0] for row in rows] == [row[0] for row in ODD.rows]


def test_markdown_comes_back_to_four_decimals():
    """Bars and backslashes inside cells are escaped."""
    lines = [line for line in as_markdown(ODD).splitlines() if line.startswith("| ")]

    def cells(line):
        parts, escaped = [""], False
        for letter in line.strip()[1:-1]:
            if letter == "|" and not escaped:
                parts.append("")
                continue
            if letter == "\\" and not escaped:
                escaped = True
                continue
            parts[-1] += letter
            escaped = False
        return [part.strip() for part in parts]

    columns, rule, *rows = map(cells, lines)
    assert tuple(columns) == ODD.columns
    assert rule == ["---", "---:", "---:", "---:"]
    assert rows == [["x|y\\z", "0.1235", "", "3"], ["p & q, {r}", "2.0000", "-1.5000", ""]]


def test_latex_escapes_what_it_must():
    """Nothing that LaTeX would take for a command or a letter that it lacks."""
    text = as_latex(ODD)
    assert r"p \& q, \{r\} & 2.0000 & -1.5000 &  \\" in text
    assert r"x$|$y\textbackslash{}z & 0.1235 &  & 3 \\" in text
    assert r"\caption{50 \% of $|$S$|$ \& more\_}" in text
    assert r"\textasciitilde{} and \textasciicircum{}" in text
    assert r"a \# note" in text
    assert r"\begin{tabular}{lrrr}" in text


@pytest.mark.parametrize("name", paper_tables())
def test_every_paper_in_every_format(name):
    """The paper's own numbers; LaTeX of plain ASCII, with as many cells in each row."""
    table = papers_own(paper_table(name))
    assert "victim" not in table.columns and len(table.rows) == len(paper_table(name).rows)
    for write in FORMATS.values():
        assert write(table)
    latex = as_latex(table)
    assert latex.isascii()
    body = [line for line in latex.splitlines() if line.endswith(r"\\")]
    assert {line.count(" & ") for line in body} == {len(table.columns) - 1}
    assert len(body) == 1 + len(table.rows)
