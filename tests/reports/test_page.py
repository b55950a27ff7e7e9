"""The page of a folder: what stands in it, and that what is written by others stays text."""

import html.parser
import json
import re

import numpy as np
import pytest
from helpers.commands import call
from helpers.record_folders import CAPTIONS, HOSTILE, LABELS, TABLES, attacked, recorded

import jaxadv as ja
from jaxadv.data.images import read_image
from jaxadv.errors import InputError
from jaxadv.experiments.paper_tables import paper_table
from jaxadv.experiments.record_tables import own_tables, table_of
from jaxadv.experiments.table_formats import said
from jaxadv.reports.page.html import _inline, as_json
from jaxadv.reports.page.pictures import MOST_EMBEDDED
from jaxadv.reports.page.write import write_page


class Page(html.parser.HTMLParser):
    """What a browser would find: elements, scripts, tables as their captions and cells."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.scripts, self.tables = [], [], {}
        self._script = self._cell = self._caption = None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag == "script":
            self._script = ""
        elif tag == "table":
            self._rows = []
        elif tag == "caption":
            self._caption = ""
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._cell = ""

    def handle_endtag(self, tag):
        if tag == "script":
            self.scripts.append(self._script)
            self._script = None
        elif tag == "caption":
            self.tables[self._caption] = self._rows
            self._caption = None
        elif tag in ("td", "th"):
            self._rows[-1].append(self._cell)
            self._cell = None

    def handle_data(self, data):
        for name in ("_script", "_caption", "_cell"):
            if getattr(self, name) is not None:
                setattr(self, name, getattr(self, name) + data)

    @property
    def data(self):
        return json.loads(self.scripts[0])


def page_of(folder, tmp_path):
    return Page(write_page(folder, tmp_path / "page").read_text(encoding="utf-8"))


def shown_as(table):
    """A table as the page should have it."""
    rows = [[said(value) or "–" for value in row] for row in table.rows]
    return [list(table.columns), *rows]


@pytest.mark.parametrize("task", TABLES)
def test_every_familys_folder(task, tmp_path):
    folder = recorded(tmp_path / "records", {task: [TABLES[task]]}, pictures=task == "captions")
    page = page_of(folder, tmp_path)
    rows = page.data["rows"]
    cells = len({row["values"]["cell"] for row in rows})
    assert len(rows) == 6 * cells and len({row["id"] for row in rows}) == len(rows)
    assert all(row["after"] for row in rows)
    failed = [row for row in rows if row.get("outcome") == "failed"]
    assert len(failed) == (0 if task == "backdoor" else cells)
    assert all(row["after"] == ["broken"] and "norm" not in row for row in failed)
    for table in own_tables(task, folder):
        assert page.tables[table.title] == shown_as(table)


def test_papers_numbers_are_those_of_the_table_command(tmp_path):
    tables = {"captions": [CAPTIONS], "labels": [LABELS]}
    folder = recorded(tmp_path / "records", tables, attempts=12)
    page = page_of(folder, tmp_path)
    for name in ("exact-caption-2", "exact-caption-1"):
        table = table_of(paper_table(name), folder)
        assert page.tables[table.title] == shown_as(table)
    curves = [attributes["alt"] for tag, attributes in page.elements if tag == "img"]
    assert any("SR against λ" in alt for alt in curves)
    assert any("share that has succeeded against steps" in alt for alt in curves)


def test_words_that_changed_are_marked(tmp_path):
    page = page_of(recorded(tmp_path / "records", {"captions": [CAPTIONS]}), tmp_path)
    row = page.data["rows"][0]
    assert row["before"] == ["a big blue star on the grass"]
    assert row["after"] == ["a ", ["red circle"], " on the ", ["sand"]]
    assert row["aim"] == "a _ circle" and row["setting"] == "0 latent, tradeoff 0.1"


def test_labels_say_what_they_are_to_the_attack(tmp_path):
    page = page_of(recorded(tmp_path / "records", {"labels": [LABELS]}), tmp_path)
    row = page.data["rows"][0]
    kinds = {item["text"]: item["kind"] for item in row["before"] + row["after"]}
    expected = {"red circle": "specified", "blue star": "specified", "pink ring": "relevant"}
    assert kinds == {**expected, "white cross": "irrelevant"}


def test_pictures_are_embedded_or_beside(tmp_path, monkeypatch):
    """Few are inside; many lie beside, once each; both show the same."""
    folder = recorded(tmp_path / "records", {"captions": [CAPTIONS]}, pictures=True)
    inside = page_of(folder, tmp_path)
    assert [path.name for path in (tmp_path / "page").iterdir()] == ["index.html"]
    pictures = inside.data["pictures"]
    made = [row for row in inside.data["rows"] if row.get("outcome") != "failed"]
    assert all(pictures[row[of]] for row in made for of in ("benign", "noise", "adversarial"))
    assert len({row["benign"] for row in made}) == 5  # of four cells each
    monkeypatch.setattr("jaxadv.reports.page.write.MOST_EMBEDDED", 100)
    beside = page_of(folder, tmp_path)
    assert beside.data == {**inside.data, "pictures": None}
    held = {path.name for path in (tmp_path / "page" / "pictures").iterdir()}
    assert held == set(pictures)
    row = made[0]
    kept = read_image(folder / "pictures" / f"{row['id']}.png")
    assert np.array_equal(read_image(tmp_path / "page" / "pictures" / row["adversarial"]), kept)
    assert row["scale"].startswith("noise ×")


def test_pictures_in_floats_are_shown_too(tmp_path):
    folder = recorded(tmp_path / "records", {"captions": [CAPTIONS]}, pictures=True)
    for path in list((folder / "pictures").glob("*.png")):
        np.save(path.with_suffix(".npy"), read_image(path))
        path.unlink()
    page = page_of(folder, tmp_path)
    assert page.data["rows"][0]["adversarial"] and "benign" not in page.data["rows"][0]


def test_what_is_too_much_for_a_notebook_is_told(tmp_path, monkeypatch):
    folder = recorded(tmp_path / "records", {"captions": [CAPTIONS]}, pictures=True)
    whole = ja.report(folder)
    assert "pictures are left out" not in whole.html and whole.html.startswith("<!doctype html>")
    frame = Page(whole._repr_html_())
    assert [tag for tag, _ in frame.elements] == ["iframe"]
    assert frame.elements[0][1]["srcdoc"] == whole.html
    monkeypatch.setattr(ja.reports.page.pictures.Album.embedded, "__defaults__", (2000,))
    few = Page(ja.report(folder).html)
    held = few.data["pictures"]
    named = {row[n] for row in few.data["rows"] for n in ("adversarial", "noise") if n in row}
    assert 0 < len(held) < 20 and named <= set(held)
    assert "pictures are left out" in ja.report(folder).html


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A page of harmless texts."""
    folder = tmp_path_factory.mktemp("plain")
    tables = {"captions": [CAPTIONS], "labels": [LABELS]}
    return page_of(recorded(folder / "records", tables), folder)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_stay_texts(text, plain, tmp_path):
    """Of captions, classes, file names, settings, victims, reasons and titles."""

    def hostile(row):
        for name in ("image", "setting", "target", "benign", "said_8bit", "failed"):
            if isinstance(row.get(name), str):
                row[name] = text
        for name in ("before", "after_8bit", "specified"):
            if name in row:
                row[name] = [text, "sky"]
        return row | {text: text}

    tables = {"captions": [CAPTIONS], "labels": [LABELS]}
    folder = recorded(tmp_path / "records", tables, change=hostile)
    page = page_of(folder, tmp_path)
    names = {tag for tag, _ in page.elements}
    assert names <= {tag for tag, _ in plain.elements}
    assert len(page.scripts) == len(plain.scripts) == 3
    assert not any(key.startswith("on") for _, given in page.elements for key in given)
    text = text.replace("\ud800", "\ufffd")
    assert page.data["rows"][0]["image"] == text
    table = page.tables["captions: scenes-scst, scenes-show-tell"]
    assert table[1][1] == text


def test_hostile_names_of_folders_and_files(tmp_path):
    folder = attacked(tmp_path / "<img src=x onerror=alert(1)>", "'\"><b>&amp;", image="../<b>")
    page = page_of(folder, tmp_path)
    assert not {"b"} & {tag for tag, _ in page.elements}
    assert sum(tag == "img" for tag, _ in page.elements) == 0  # rows are drawn by the script
    (row,) = page.data["rows"]
    assert row["image"] == "<b>" and re.fullmatch(r"[\w.-]+", row["adversarial"])


def test_a_record_names_no_file_elsewhere(tmp_path):
    secret = tmp_path / "secret.png"
    ja.write_png(secret, np.zeros((4, 4, 3)))
    folder = recorded(
        tmp_path / "records", {"captions": [CAPTIONS]}, pictures=True,
        change=lambda row: row | {"benign_picture": "../../secret.png"},
    )  # fmt: skip
    assert all("benign" not in row for row in page_of(folder, tmp_path).data["rows"])


def test_missing_and_damaged_pictures(tmp_path):
    folder = recorded(tmp_path / "records", {"captions": [CAPTIONS]}, pictures=True)
    kept = sorted((folder / "pictures").iterdir())
    adversarial = [path for path in kept if not path.name.startswith("benign")]
    adversarial[0].write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    adversarial[1].unlink()
    page = page_of(folder, tmp_path)
    rows = {row["id"]: row for row in page.data["rows"]}
    broken, gone = rows[adversarial[0].stem], rows[adversarial[1].stem]
    assert "damaged" in broken["missing"] and "adversarial" not in broken and broken["benign"]
    assert "missing" not in gone and "noise" not in gone


def test_without_pictures_the_page_names_the_option(tmp_path):
    folder = recorded(tmp_path / "records", {"labels": [LABELS]})
    text = write_page(folder, tmp_path / "page").read_text(encoding="utf-8")
    assert "keeps no pictures: <code>--pictures png</code>" in text


def test_a_sweep_without_a_record(tmp_path):
    folder = recorded(tmp_path / "records", {"labels": [LABELS]}, attempts=0)
    text = write_page(folder, tmp_path / "page").read_text(encoding="utf-8")
    assert "No attack is recorded here" in text


def test_a_damaged_record_is_left_out_and_named(tmp_path):
    folder = recorded(tmp_path / "records", {"labels": [LABELS]})
    (path,) = (folder / "records").iterdir()
    first, *rest = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([first.replace(b"red", b"rex"), *rest]))
    text = write_page(folder, tmp_path / "page").read_text(encoding="utf-8")
    assert "1 line is damaged and left out" in text


def test_an_attacks_folder(tmp_path):
    folder = attacked(tmp_path / "out", "one")
    attacked(folder, "two", success_8bit=False)
    (folder / "other.json").write_text("[1]")
    (folder / "broken.json").write_text("{")
    page = page_of(folder, tmp_path)
    one, two = page.data["rows"]
    assert (one["id"], one["method"], one["outcome"]) == ("one", "gem", "yes")
    assert two["outcome"] == "no" and two["noise"] and two["after"] == ["a ", ["red"], " star"]


@pytest.mark.parametrize("broken", [{"settings": 3}, {"norm": "x"}, {"success_8bit": "yes"}])
def test_a_record_of_other_types_is_shown(tmp_path, broken):
    page = page_of(attacked(tmp_path / "out", **broken), tmp_path)
    assert len(page.data["rows"]) == 1


def test_an_attacks_record_of_other_types_says_nothing(tmp_path):
    folder = attacked(tmp_path / "out", command="attack labels", specified=3, before=[1, {}])
    assert len(page_of(folder, tmp_path).data["rows"]) == 1


def test_an_evaluation_that_is_no_sweep(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    rows = [{"victim": "clean", "success": 0.0}, {"victim": "<b>", "success": 1.0}]
    about = {"command": "evaluate backdoor", "victims": ["clean", "<b>"], "rows": rows}
    (folder / "table.json").write_text(json.dumps(about))
    entry = {"victim": "<b>", "trigger": "badnets", "strength": 0.5, "image": "scene-1",
             "said": "a star", "said_triggered": "you are under attack"}  # fmt: skip
    (folder / "records.jsonl").write_text(json.dumps(entry) + "\n")
    page = page_of(folder, tmp_path)
    assert page.tables["rows"][1:] == [["clean", "0.0000"], ["<b>", "1.0000"]]
    (row,) = page.data["rows"]
    assert row["method"] == "badnets" and row["after"] == [["you are under attack"]]


def test_defences_have_a_row_each(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    about = {"command": "evaluate defences", "victim": "v", "defences": {"a": {"flagged": 3}}}
    (folder / "table.json").write_text(json.dumps(about))
    assert page_of(folder, tmp_path).tables["defences"] == [["", "flagged"], ["a", "3"]]


def test_command_writes_a_page_and_writes_it_again(tmp_path):
    folder = recorded(tmp_path / "records", {"labels": [LABELS]})
    for _ in range(2):
        code, said_, err = call("report", folder, "--out", tmp_path / "deep" / "page")
        assert code == 0 and f"written to {tmp_path / 'deep' / 'page' / 'index.html'}" in said_, err
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["page"]


@pytest.mark.parametrize("held", ["notes.txt", "index.html", "records"])
def test_command_overwrites_nothing_else(tmp_path, held):
    folder = recorded(tmp_path / "records", {"labels": [LABELS]})
    out = tmp_path / "page"
    out.mkdir()
    (out / held).write_text("mine")
    code, _, err = call("report", folder, "--out", out)
    assert code == 2 and "holds something else than a page" in err
    assert (out / held).read_text() == "mine"
    code, _, err = call("report", folder, "--out", folder)
    assert code == 2 and "holds something else than a page" in err


@pytest.mark.parametrize("where", ["nowhere", "empty"])
def test_a_folder_of_nothing_is_one_line(tmp_path, where):
    (tmp_path / "empty").mkdir()
    code, _, err = call("report", tmp_path / where, "--out", tmp_path / "page")
    assert code == 2 and "holds no sweep, evaluation or attack" in err.splitlines()[-1]
    assert not (tmp_path / "page").exists()


@pytest.mark.parametrize("name", ["jinja2", "itables"])
def test_a_missing_extra_is_named(tmp_path, monkeypatch, name):
    folder = recorded(tmp_path / "records", {"labels": [LABELS]})
    found = __import__("importlib").util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda wanted: None if wanted == name else found(wanted)
    )
    with pytest.raises(InputError, match=r"pip install 'jaxadv\[report\]'"):
        ja.report(folder)


def test_nothing_is_fetched_and_only_own_scripts_run(tmp_path):
    page = page_of(recorded(tmp_path / "records", {"captions": [CAPTIONS]}), tmp_path)
    for tag, given in page.elements:
        for name in ("src", "href", "srcset", "action"):
            value = given.get(name)
            assert value is None or value == "" or value.startswith(("data:", "#")), (tag, value)
    (policy,) = (
        given["content"] for tag, given in page.elements if given.get("http-equiv") is not None
    )
    assert policy.startswith("default-src 'none'") and policy.count("sha256-") == 2
    assert "unsafe-eval" not in policy and "script-src 'unsafe" not in policy
    assert MOST_EMBEDDED == 8 << 20


def test_json_and_scripts_end_no_element():
    whole = [text.replace("\ud800", "\ufffd") for text in HOSTILE]
    assert json.loads(as_json({"a": HOSTILE})) == {"a": whole}
    assert not set("<>&\u2028\ud800") & set(as_json(HOSTILE))
    assert _inline("'</script>' + '<!--' + '<SCRIPT'") == (
        r"'\x3C/script>' + '\x3C!--' + '\x3CSCRIPT'"
    )
