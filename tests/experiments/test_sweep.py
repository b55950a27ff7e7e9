"""Sweeps on shipped victims: complete, resumed, spread out, and honest about what failed."""

import shutil
from functools import cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow.parquet as pq
import pytest
from helpers.commands import call
from helpers.sweep_rows import assert_alike, rows

from jaxadv.core.stream import stream
from jaxadv.data import scenes
from jaxadv.data.images import read_image, round_8bit, write_png
from jaxadv.errors import InputError
from jaxadv.experiments import store
from jaxadv.experiments.devices import over_local_devices, parse_shard
from jaxadv.experiments.ledger import Ledger, Made, Progress
from jaxadv.experiments.plan import plan, read_plan
from jaxadv.experiments.running import Running
from jaxadv.experiments.sweep import Shard, complete, prepare, sweep
from jaxadv.victims import zoo

TABLES = {
    "captions": [
        {
            "victim": "scenes-scst",
            "learning_rate": 0.02,
            "iterations": 3,
            "images": 3,
            "targets": 1,
            "settings": ["0 latent", "2 latent"],
        }
    ],
    "labels": [
        {
            "victim": "scenes-tagger",
            "learning_rate": 0.5,
            "iterations": 6,
            "images": 12,
            "k": [2, 3],
            "specified": 1,
        }
    ],
}
SLOTS = 4


@cache
def prepared():
    return prepare(plan(TABLES))


def make(folder, **options):
    return list(sweep(prepared(), folder, **{"slots": SLOTS, **options}))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A sweep that nothing interrupted, with its pictures."""
    folder = tmp_path_factory.mktemp("sweep") / "whole"
    make(folder, pictures="png")
    return folder


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_a_stopped_sweep_leaves_no_file_open(tmp_path):
    """In a notebook, whose process lives on."""
    news = sweep(prepared(), tmp_path, slots=SLOTS)
    assert any(one.done for one in news)

    def held():
        files = (path.resolve() for path in Path("/proc/self/fd").iterdir())
        return [path for path in files if path.is_relative_to(tmp_path)]

    assert held()
    news.close()
    assert not held()


def test_numbers_of_steps_share_an_attack(tmp_path, monkeypatch):
    """Cells that differ in nothing else: one attack, looked at twice; a kill between loses none."""
    grid = {"victim": "scenes-tagger", "images": 9, "k": 2, "specified": 1, "learning_rate": 0.5}

    def made(folder, steps, **options):
        cells = prepare(plan({"labels": [{**grid, "iterations": steps}]}))
        list(sweep(cells, folder, slots=SLOTS, **options))
        return {(row["iterations"], row["id"]): row for row in store.read(folder)}

    alone = {**made(tmp_path / "2", 2), **made(tmp_path / "7", 7)}
    steps = []
    monkeypatch.setattr("jaxadv.experiments.job.stream", partial(counted, steps))
    both = made(tmp_path / "both", [7, 2], keep_every=0.0)
    assert steps == [(7, (2,))]
    assert both.keys() == alone.keys()
    for key, row in both.items():
        for name, wanted in alone[key].items():
            if isinstance(wanted, float) and name != "seconds":
                assert row[name] == pytest.approx(wanted, rel=1e-4), name
            elif name != "seconds":
                assert row[name] == wanted, name
    # what one of them lacks is made again, and nothing is recorded twice
    (path,) = (tmp_path / "both" / "records").iterdir()
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:5]))
    assert made(tmp_path / "both", [7, 2]).keys() == alone.keys()
    assert store.count(tmp_path / "both").recorded == len(alone)


def counted(calls, *arguments, iterations, looks, **options):
    calls.append((iterations, looks))
    return stream(*arguments, iterations=iterations, looks=looks, **options)


def test_every_attack_is_recorded(whole):
    """With what was asked, what came of it, and which weights it was made on."""
    found = rows(whole)
    assert found.keys() == {(p.cell.digest, a.id) for p in prepared() for a in p.job.planned}
    assert complete(prepared(), whole)
    captions = [row for row in found.values() if row["task"] == "captions"]
    assert len(captions) == 6 and {row["setting"] for row in captions} == {"0 latent", "2 latent"}
    assert all(row["steps"] == 3 and row["norm"] > 0 for row in captions)
    labels = [row for row in found.values() if row["task"] == "labels"]
    assert {row["k"] for row in labels} == {2, 3}
    assert any(row["success"] for row in labels)
    for row in labels:
        gone = set(row["specified"]) - set(row["after"])
        assert row["excluded"] == len(gone) and row["success"] == (len(gone) == 1)
    sha = zoo.load("scenes-scst").record["weights_sha256"]
    assert {row["weights"] for row in captions} == {sha}


def test_kept_pictures_are_those_of_the_records(whole):
    """Named by cell and number; on them the victim says what the record says."""
    victim = zoo.load("scenes-tagger")
    for (cell, number), row in rows(whole).items():
        picture = read_image(whole / "pictures" / f"{cell}-{number}.png")
        if row["task"] == "labels":
            scores = np.asarray(victim.classifier.scores(victim.params, jnp.asarray(picture)))
            said = [victim.classifier.classes[i] for i in np.argsort(-scores)[: row["k"]]]
            assert said == row["after_8bit"]


def test_what_is_recorded_is_not_made_again(whole, tmp_path):
    """The same command on a folder that is complete makes nothing."""
    folder = shutil.copytree(whole, tmp_path / "again")
    files = sorted((folder / "records").iterdir())
    last = make(folder)[-1]
    assert last.done == last.total == len(rows(whole))
    assert sorted((folder / "records").iterdir()) == files


@pytest.mark.parametrize("lines", [0.0, 3.5, 9.0, 13.0, 17.5, 27.5])
def test_cut_off_and_gone_on_with_gives_the_same_bits(whole, tmp_path, lines):
    """Wherever the records end, also within a line, the rest is made as it would have been.

    After 9 and 13 lines an attack used to find another slot than before, which rounds differently.
    """
    folder = shutil.copytree(whole, tmp_path / "cut")
    (path,) = (folder / "records").iterdir()
    written = path.read_bytes().splitlines(keepends=True)
    kept, half = divmod(lines, 1)
    path.write_bytes(b"".join(written[: int(kept)]) + written[int(kept)][: int(half * 100)])
    make(folder)
    assert rows(folder) == rows(whole)
    assert sum(1 for _ in store.read(folder)) == len(rows(whole))


@pytest.mark.slow
def test_cut_off_while_it_keeps_what_is_under_way(whole, tmp_path, monkeypatch):
    """Those attacks go on in their midst, to the same bits; nothing of it is left at the end."""
    keep, kept = Running.keep, []

    def keep_and_die(self, courses):
        keep(self, courses)
        kept.append(len(courses))
        if len(kept) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(Running, "keep", keep_and_die)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "sweep", keep_every=0.0)
    assert any((tmp_path / "sweep" / "running").iterdir())
    make(tmp_path / "sweep", keep_every=0.0)
    assert rows(tmp_path / "sweep") == rows(whole)
    assert sum(kept) > 0 and not (tmp_path / "sweep" / "running").exists()


@pytest.mark.slow
@pytest.mark.parametrize("slots", [1, 32])
def test_batch_does_not_matter(whole, tmp_path, slots):
    """Decisions are equal, numbers to rounding."""
    make(tmp_path, slots=slots)
    assert_alike(rows(tmp_path), rows(whole))


def test_shares_that_know_nothing_of_each_other_are_the_whole(whole, tmp_path):
    """As a job array makes them, put together afterwards."""
    for number in range(3):
        make(tmp_path / str(number), shard=Shard(number, 3))
        assert not complete(prepared(), tmp_path / str(number))
    store.merge([tmp_path / str(number) for number in range(3)], tmp_path / "all")
    assert complete(prepared(), tmp_path / "all")
    assert_alike(rows(tmp_path / "all"), rows(whole))


def test_over_devices(whole, tmp_path):
    """The slots lie on all local devices."""
    sharding, slots = over_local_devices(3)
    assert slots == 4 and len(sharding.device_set) == jax.local_device_count() == 2
    make(tmp_path, slots=slots, sharding=sharding)
    assert_alike(rows(tmp_path), rows(whole))


def test_parquet_has_it_all(whole):
    """In the plan's order."""
    table = pq.read_table(store.write_parquet(whole))
    keys = zip(table["cell"].to_pylist(), table["id"].to_pylist(), strict=True)
    cells = [p.cell.digest for p in prepared()]
    assert list(keys) == sorted(rows(whole), key=lambda key: (cells.index(key[0]), key[1]))


@pytest.mark.parametrize(
    ("text", "expected"), [("0/4", Shard(0, 4)), ("3/4", Shard(3, 4)), (None, Shard(0, 1))]
)
def test_shares_as_people_write_them(text, expected, monkeypatch):
    """Nothing stands for everything."""
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID", raising=False)
    assert parse_shard(text) == expected


def test_a_job_array_says_its_share(monkeypatch):
    """SLURM's variables, with any first number."""
    array = {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_COUNT": "5", "SLURM_ARRAY_TASK_MIN": "4"}
    for name, value in array.items():
        monkeypatch.setenv(name, value)
    assert parse_shard(None) == Shard(3, 5)
    monkeypatch.setenv("SLURM_ARRAY_TASK_MAX", "8")
    assert parse_shard(None) == Shard(3, 5)


@pytest.mark.parametrize(("task", "last"), [("4", "12"), ("12", "12")])
def test_a_job_array_with_gaps_is_refused(monkeypatch, task, last):
    array = {"ID": task, "COUNT": "5", "MIN": "4", "MAX": last}
    for name, value in array.items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", value)
    with pytest.raises(InputError, match=r"tasks 4 to 12 are not 5 in a row: .*--shard i/n"):
        parse_shard(None)


LISTED = """
[[captions]]
victim = "scenes-scst"
method = "ssvm"
iterations = 3
learning_rate = 0.02
tradeoff = [0.1, 1e38]
requests = "REQUESTS"
"""


def invoke(*arguments):
    """Exit code, and everything that was printed."""
    code, out, err = call(*arguments)
    return code, out + err


def test_what_fails_is_said_and_the_rest_goes_on(tmp_path):
    """A broken picture, a word that nobody knows, steps that are not finite: rows with reasons."""
    lines = ["image,target"]
    for number in range(2):
        write_png(tmp_path / f"{number}.png", scenes.example(3, number).picture)
        lines.append(f"{number}.png,a red circle")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    lines += ["broken.png,a red circle", "0.png,a red girafe"]
    (tmp_path / "requests.csv").write_text("\n".join(lines) + "\n")
    file = tmp_path / "mine.toml"
    file.write_text(LISTED.replace("REQUESTS", str(tmp_path / "requests.csv")))
    out = tmp_path / "out"
    command = ["sweep", str(file), "--out", str(out), "--batch", "4"]
    code, said = invoke(*command)
    assert code == 1 and "6 attacks failed" in said
    failed = {
        (row["tradeoff"], row["image"], row["target"]): row["failed"] for row in store.read(out)
    }
    assert len(failed) == 8
    for (tradeoff, image, target), reason in failed.items():
        if image == "broken.png":
            assert "broken.png" in reason
        elif "girafe" in target:
            assert "unknown word 'girafe'" in reason
        elif tradeoff > 1:
            assert "not finite" in reason
        else:
            assert reason is None
    code, said = invoke("sweep", "status", str(out))
    assert code == 0 and "8 attacks recorded, 6 failed" in said and "2 failed: unknown word" in said
    code, said = invoke(*command)  # nothing is left to do, and it still says so
    assert code == 1 and "6 attacks failed" in said


def test_a_row_that_is_short_costs_itself_alone(tmp_path):
    """It is an attack that fails, and says in which line of which file."""
    listed = tmp_path / "requests.csv"
    listed.write_bytes(
        b"\xef\xbb\xbfimage,target\n0.png,a red circle\nonly one\n,a red circle\n"
        b'"1.png","a red, blue circle"\n1.png,a,b\n'
    )
    write_png(tmp_path / "0.png", scenes.example(3, 0).picture)
    (one,) = prepare(plan({"captions": [{"victim": "scenes-scst", "requests": str(listed)}]}))
    assert [planned.id for planned in one.job.planned] == [0, 1, 2, 3, 4]
    assert one.job.planned[0].load()[0].shape == (64, 64, 3)
    for number, message in (
        (1, "line 4: names no picture"),
        (3, "line 3: 1 fields, where the first line has 2 columns"),
        (4, "line 6: 3 fields"),
    ):
        with pytest.raises(InputError, match=message):
            one.job.planned[number].load()


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"picture,target\n", "must name the columns image and target, not 'picture', 'target'"),
        (b"image,target\n", "no attack"),
        (b"", "the first line is empty; it must name the columns"),
        (b'image,target\n"a.png,b\n', "not CSV"),
        (b"image,target\na.png,caf\xe9\n", "not text in UTF-8"),
        (None, "cannot be read"),
    ],
)
def test_a_list_of_attacks_that_is_none_is_one_line(tmp_path, contents, message):
    listed = tmp_path / "requests.csv"
    if contents is not None:
        listed.write_bytes(contents)
    with pytest.raises(InputError, match=message):
        prepare(plan({"captions": [{"victim": "scenes-scst", "requests": str(listed)}]}))


@pytest.mark.parametrize(("how", "of"), [("float", "numpy.save"), ("png", "PIL.Image.Image.save")])
def test_a_full_disk_of_pictures_is_one_line(tmp_path, monkeypatch, how, of):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(of, full)
    with pytest.raises(store.StoreError, match=r"cannot be written .*the same command resumes"):
        kept(tmp_path, how, 3, np.zeros((8, 8, 3), np.float32))
    assert not list((tmp_path / "pictures").iterdir())


def test_what_is_attacked_is_kept_once(whole):
    """Its file is named in the records, and is what was attacked, rounded to 8 bits."""
    attacked = {row["image"]: row["benign_picture"] for row in store.read(whole)}
    kept = {path.name for path in (whole / "pictures").glob("benign-*")}
    assert kept == set(attacked.values()) and len(kept) == len(attacked)
    for one in prepared():
        for planned in one.job.planned:
            found = read_image(whole / "pictures" / attacked[planned.about["image"]])
            np.testing.assert_array_equal(found, round_8bit(planned.load()[0]))


def kept(folder, how, number, image):
    """Record an attack on a picture that it did not change."""
    made = Made({"cell": "cell", "id": number, "failed": None}, image, image)
    Ledger(folder, [made.key], how).record(made)


def test_a_kept_picture_is_not_written_again(tmp_path):
    image = np.full((4, 4, 3), 0.4, np.float32)
    kept(tmp_path, "png", 1, image)
    (first,) = (tmp_path / "pictures").glob("benign-*")
    before = first.stat().st_mtime_ns
    kept(tmp_path, "png", 2, image + np.float32(1e-4))
    assert [*(tmp_path / "pictures").glob("benign-*")] == [first]
    assert first.stat().st_mtime_ns == before
    kept(tmp_path, "float", 3, image)
    (exact,) = (tmp_path / "pictures").glob("benign-*.npy")
    np.testing.assert_array_equal(np.load(exact), image)


def test_of_a_text_no_png_is_kept(tmp_path):
    text = np.array([0.0, 1.0, 0.5], np.float32)
    kept(tmp_path, "png", 1, text)
    assert not (tmp_path / "pictures").exists()


def test_what_shares_its_settings_shares_its_compilation():
    """Seeds, and what is attacked, do not compile again."""
    cells = plan(
        {
            "labels": [
                {"victim": "scenes-tagger", "seed": [0, 1], "images": 3, "k": k} for k in (2, 3)
            ]
        }
    )
    assert len(cells) == 4 and len({one.job.attack for one in prepare(cells)}) == 1


@pytest.mark.slow
def test_three_of_a_thousand_fail_and_997_are_made(tmp_path):
    """One broken picture, one impossible target, one cell whose steps are not finite."""
    names = []
    for number in range(40):
        write_png(tmp_path / f"{number}.png", scenes.example(3, number).picture)
        names += [f"{number}.png,a red circle"] * 25
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    names[500:503] = ["broken.png,a red circle", "7.png,a red girafe"]
    (tmp_path / "many.csv").write_text("\n".join(["image,target", *names]) + "\n")
    (tmp_path / "one.csv").write_text("image,target\n0.png,a red circle\n")
    cells = [
        LISTED.replace("[0.1, 1e38]", tradeoff).replace("REQUESTS", str(tmp_path / requests))
        for tradeoff, requests in (("0.1", "many.csv"), ("1e38", "one.csv"))
    ]
    file, out = tmp_path / "mine.toml", tmp_path / "out"
    file.write_text("".join(cells))
    code, said = invoke("sweep", str(file), "--out", str(out))
    assert code == 1 and "3 attacks failed" in said
    reasons = [row["failed"] for row in store.read(out)]
    assert len(reasons) == 1000 and reasons.count(None) == 997
    for words in ("broken.png", "unknown word 'girafe'", "not finite"):
        assert sum(words in reason for reason in reasons if reason) == 1


def test_command_says_what_it_would_do(tmp_path):
    """Without writing anything."""
    file = tmp_path / "mine.toml"
    file.write_text(
        '[[labels]]\nvictim = "scenes-tagger"\nmethod = ["tkmia", "kfool"]\nimages = 5\n'
    )
    code, said = invoke("sweep", str(file), "--dry-run", "--batch", "4")
    assert code == 0 and "2 compilations" in said and "kfool" in said
    assert list(tmp_path.iterdir()) == [file]


def test_counts_alone_are_said_at_once(tmp_path, monkeypatch):
    """Nothing is compiled; what --out has recorded is not made again."""
    monkeypatch.setattr("jaxadv.experiments.sweep.estimate", None)
    file, out = tmp_path / "mine.toml", tmp_path / "out"
    file.write_text('[[labels]]\nvictim = "scenes-tagger"\nimages = 5\nk = [2, 3]\n')
    code, said = invoke("sweep", str(file), "--counts-only")
    (one,) = prepare(read_plan(file))
    count = len(one.job.planned)
    assert code == 0 and f"{count} attacks to make, in 1 cells on 1 victim" in said
    writer = store.Writer(out)
    writer.append({"cell": one.cell.digest, "id": 0, "failed": None})
    writer.close()
    code, said = invoke("sweep", str(file), "--counts-only", "--out", str(out))
    assert code == 0 and f"{count - 1} attacks to make" in said


def test_stopped_it_says_how_far_it_came_and_how_to_go_on(tmp_path, monkeypatch):
    def stopped(*arguments, **options):
        yield Progress(3, 7, 0, "tkmia")
        raise KeyboardInterrupt

    monkeypatch.setattr("jaxadv.experiments.sweep.sweep", stopped)
    file, out = tmp_path / "my sweep.toml", tmp_path / "out"
    file.write_text('[[labels]]\nvictim = "scenes-tagger"\nimages = 3\nk = 2\n')
    code, said = invoke("sweep", str(file), "--out", str(out))
    assert code == 130 and "3 of 7 attacks recorded in" in said
    assert f"the same command resumes from there: jaxadv sweep '{file}' --out {out}" in said


@pytest.mark.parametrize("name", ["table.json", "record.json"])
def test_a_folder_of_another_commands_results_is_refused(tmp_path, name):
    (tmp_path / name).write_text("{}")
    file = tmp_path / "mine.toml"
    file.write_text('[[labels]]\nvictim = "scenes-tagger"\nimages = 3\nk = 2\n')
    code, said = invoke("sweep", str(file), "--out", str(tmp_path))
    assert code == 2 and f"holds the results of another command ({name})" in said


def test_command_finds_the_batch_that_fits(tmp_path):
    """No more than there are attacks, of each cell the fewest."""
    file = tmp_path / "mine.toml"
    file.write_text('[[labels]]\nvictim = "scenes-tagger"\nmethod = "tkmia"\nimages = 5\nk = 2\n')
    code, said = invoke("sweep", str(file), "--dry-run", "--batch", "auto")
    assert code == 0 and "batch 5: " in said and "free on cpu:0" in said


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--shard", "4/4"], "--shard '4/4': write i/n"),
        (["--pictures", "jpeg"], "must be one of none, png, float"),
        (["--batch", "0"], "--batch '0': must be a whole number of at least 1"),
        ([], "--out: give a folder"),
        (["--shard", "\u00b2/4"], "write i/n"),
        (["--shard", "1" * 5000 + "/4"], "write i/n"),
        (["--shard", "0/2", "--distributed"], "--shard: is not read with --distributed"),
        (["--out", "o", "--processes", "2"], "give all three, or none"),
        (["--out", "o", "--process", "0"], "give all three, or none"),
        (["--out", "o", "--distributed", "--coordinator", "a:1"], "give all three, or none"),
    ],
)
def test_wrong_options_are_one_line(tmp_path, monkeypatch, more, message):
    """And exit code 2."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "mine.toml"
    file.write_text('[[labels]]\nvictim = "scenes-tagger"\nimages = 3\nk = 2\n')
    code, said = invoke("sweep", str(file), *more)
    assert code == 2 and message in said


def test_a_list_of_attacks_that_has_changed_is_refused(tmp_path):
    """Else what is recorded would stand for other attacks."""
    for name in ("a", "b"):
        write_png(tmp_path / f"{name}.png", np.full((64, 64, 3), 0.5, np.float32))
    file, listed = tmp_path / "mine.toml", tmp_path / "listed.csv"
    file.write_text(
        '[[captions]]\nvictim = "scenes-scst"\nmethod = "ssvm"\niterations = 1\n'
        f'requests = "{listed}"\n'
    )
    listed.write_text("image,target\na.png,a red circle\n")
    command = ("sweep", str(file), "--out", str(tmp_path / "out"), "--batch", "2")
    assert invoke(*command)[0] == 0
    listed.write_text("image,target\nb.png,a red circle\na.png,a red circle\n")
    code, said = invoke(*command)
    assert code == 2 and "other attacks on 'scenes-scst'" in said


def test_what_is_wrong_in_the_file_is_one_line(tmp_path):
    """Square brackets and all."""
    file = tmp_path / "mine.toml"
    file.write_text('[[labels]]\nvictim = "scenes-tagger"\nimages = 0\n')
    code, said = invoke("sweep", str(file), "--out", str(tmp_path / "out"))
    assert (
        code == 2 and "mine.toml: [[labels]] number 1: images = 0: must be a whole number" in said
    )


def test_an_unwritable_folder_is_one_line(tmp_path):
    """Before anything is made."""
    (tmp_path / "file").write_text("")
    file = tmp_path / "mine.toml"
    file.write_text('[[labels]]\nvictim = "scenes-tagger"\nimages = 3\nk = 2\n')
    code, said = invoke("sweep", str(file), "--out", str(tmp_path / "file" / "out"))
    assert code == 2 and "cannot write there" in said
