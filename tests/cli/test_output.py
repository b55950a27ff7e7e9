"""What is printed: as it is, on any terminal, one line for what goes wrong."""

import errno
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.commands import call

from jaxadv.cli import compiler, console, main
from jaxadv.cli.inputs import results_folder, victim_folder, writable_file
from jaxadv.cli.outputs import advise, unique_names
from jaxadv.errors import InputError
from jaxadv.formats.files import user_cache

OUTSIDE = (
    "photo[final].png", "[/x]", "[red]a[/red]", ":cat:", "a\\[b", "λ ‖ε‖₂ 🐶 é", "two  words",
    "https://a/" + "b" * 300,
)  # fmt: skip
STEERING = {"\x1b[2J": "\\x1b[2J", "a\nerror: b": "a\\nerror: b", "\u202eb": "\\u202eb",
            "\udc80": "\\udc80", "\r": "\\r", "\x9b1m": "\\x9b1m"}  # fmt: skip


class News:
    done = total = 1

    def __init__(self, message):
        self.message = message


PRINTERS = {
    "print": lambda text: console.console.print(text),
    "fail": console.fail,
    "note": console.note,
    "cell": lambda text: console.print_table("t", ["a", "b"], [["x", text]]),
    "first cell": lambda text: console.print_table("t", ["a", "b"], [[text, "x"]]),
    "title": lambda text: console.print_table(text, ["a"], [["x"]]),
    "column": lambda text: console.print_table("t", [text], [["x"]]),
    "progress": lambda text: list(console.watch([News(text)], "t")),
    "what": lambda text: list(console.watch([News("x")], text)),
}


@pytest.mark.parametrize("printer", PRINTERS)
def test_text_from_outside_is_printed_as_it_is(printer, capsys):
    for text in OUTSIDE:
        PRINTERS[printer](text)
        assert text in "".join(capsys.readouterr())
    for text, shown in STEERING.items():
        PRINTERS[printer](text)
        out = "".join(capsys.readouterr())
        assert shown in out and text not in out


def test_a_table_keeps_words_whole_and_wraps_the_rest(capsys):
    url, long = "https://host/" + "x" * 150, "some words " * 30
    console.print_table("t", ["name", "of", "where"], [["a b c", long, url], ["d", 0.123456, None]])
    out = capsys.readouterr().out
    assert url in out and "a b c" in out and "0.1235" in out and long not in out
    assert max(map(len, out.splitlines())) < 120 + 163


@pytest.fixture
def terminal(monkeypatch):
    """Set both streams to an encoding; what was written, as bytes."""

    def encode(encoding):
        streams = [io.BytesIO(), io.BytesIO()]
        for name, stream in zip(("stdout", "stderr"), streams, strict=True):
            monkeypatch.setattr(sys, name, io.TextIOWrapper(stream, encoding=encoding))
        return streams

    return encode


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "latin-1", "utf-8", "cp932"])
@pytest.mark.parametrize(
    ("words", "code", "shown"),
    [
        (["attack", "caption", "--help"], 0, b"[0.1]"),
        (["data", "list"], 0, b"mirflickr25k"),
        (["caption", "--victim", "λ[/x]\udc80", "p.png"], 2, b"[/x]"),
        (["λ"], 2, b"No such command"),
    ],
)
def test_any_terminal(terminal, monkeypatch, encoding, words, code, shown):
    out, err = terminal(encoding)
    monkeypatch.setattr(sys, "argv", ["jaxadv", *words])
    with pytest.raises(SystemExit) as end:
        main.run()
    assert end.value.code == code
    assert shown in (out if code == 0 else err).getvalue()


def test_streams_that_are_closed(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "argv", ["jaxadv", "--version"])
    with pytest.raises(SystemExit) as end:
        main.run()
    assert end.value.code == 0
    sys.stdout.close()


@pytest.mark.parametrize(
    ("problem", "code", "line"),
    [
        (KeyboardInterrupt(), 130, "stopped\n"),
        (InputError("a\x1b[2J"), 2, "error: a\\x1b[2J\n"),
        (BrokenPipeError(), 1, ""),
        (OSError(errno.ENOSPC, "No space left on device", "f"), 2, "error: f: No space left"),
        (MemoryError(), 2, "error: out of memory"),
        (RuntimeError("Unable to initialize backend 'nonsense': x"), 2, "error: JAX_PLATFORMS="),
        (RuntimeError("RESOURCE_EXHAUSTED: x"), 2, "error: the device is out of memory"),
        (RuntimeError("Could not determine home directory."), 2, "error: there is no home"),
    ],
)
def test_what_goes_wrong_is_one_line(monkeypatch, problem, code, line):
    def fails(context):
        raise problem

    monkeypatch.setattr(main.build().commands["doctor"], "callback", lambda: fails(None))
    found, _, err = call("doctor")
    assert found == code and err.startswith(line) and err.count("\n") == bool(line)


def test_a_fault_of_our_own_is_not_hidden(monkeypatch):
    monkeypatch.setattr(main.build().commands["doctor"], "callback", lambda: {}["a"])
    with pytest.raises(KeyError):
        call("doctor")


def test_it_is_a_module_too():
    ran = subprocess.run(
        [sys.executable, "-m", "jaxadv", "--version"], capture_output=True, text=True, check=True
    )
    assert ran.stdout.startswith("jaxadv ")


def test_without_a_home_nothing_is_kept(monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert user_cache("compiled") is None
    compiler.enable_compilation_cache()
    code, out, _ = call("doctor")
    assert code == 0 and "no home folder" in out


def test_results_of_others_are_not_half_overwritten(tmp_path):
    folder = tmp_path / "out"
    assert results_folder(folder, "attack caption", "v") == folder
    (folder / "mine.json").write_text('{"what": "ever"}')
    (folder / "broken.json").write_text("{")
    (folder / "a.json").write_text(json.dumps({"command": "attack caption", "victim": "v"}))
    results_folder(folder, "attack caption", "v")
    for command, victim in (("attack labels", "v"), ("attack caption", "w")):
        with pytest.raises(InputError, match="holds results of attack caption on 'v'; give anoth"):
            results_folder(folder, command, victim)
    (folder / "a.json").write_text(json.dumps({"victims": {"v": 16, "w": 32}}))
    results_folder(folder, "evaluate retrieval", "w", "v")


def test_a_victim_is_replaced_only_by_force(tmp_path):
    assert victim_folder(tmp_path, "new", force=False) == tmp_path / "new"
    (tmp_path / "old").mkdir()
    with pytest.raises(InputError, match="there, and no victim"):
        victim_folder(tmp_path, "old", force=True)
    (tmp_path / "old" / "record.json").touch()
    with pytest.raises(InputError, match="is there; give --force to replace it, or another name"):
        victim_folder(tmp_path, "old", force=False)
    assert victim_folder(tmp_path, "old", force=True) == tmp_path / "old"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "x" * 300, "é" * 150, "a\x1bb", "a\nb"])
def test_names_that_no_victim_can_have(name, tmp_path):
    with pytest.raises(InputError, match="--name") as caught:
        victim_folder(tmp_path, name, force=False)
    assert "\x1b" not in str(caught.value) and list(tmp_path.iterdir()) == []


def test_a_file_where_a_folder_is_expected(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write there"):
        results_folder(tmp_path / "file", "attack caption", "v")
    with pytest.raises(InputError, match="a folder, where a file is expected"):
        writable_file("--json", tmp_path)


def test_names_of_files_fit_any_file_system():
    long = Path("é" * 120 + ".png")
    names = unique_names([long, long, Path("A.png"), Path("b/a.jpg"), Path("a-2.png")])
    assert len({name.casefold() for name in names}) == 5
    assert all(len(f"{name}.adversarial.png".encode()) < 255 for name in names)


def test_advice_names_only_what_was_not_tried(capsys):
    advise([True], {"more": True})
    advise([False], {"more": False})
    assert capsys.readouterr().out == ""
    advise([True, False], {"a": True, "b": False, "c": True})
    assert capsys.readouterr().out == "not fooled? try a, or c\n"
