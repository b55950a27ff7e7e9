"""Files: regular ones only, of a bounded size, and written whole or not at all."""

import os
import socket
import threading

import pytest

from jaxadv.formats.errors import MOST_CHARACTERS, FormatError, listed, printable, quoted
from jaxadv.formats.files import check_file, read_bytes, replacing, write_text
from jaxadv.formats.text import (
    numbered_lines,
    read_csv,
    read_json,
    read_lines,
    read_text,
    read_toml,
    read_yaml,
)

READERS = [read_bytes, read_text, read_lines, numbered_lines, read_json, read_toml, read_yaml]
READERS += [read_csv]


def fifo(path):
    os.mkfifo(path)


def bound(path):
    here = os.getcwd()
    os.chdir(path.parent)  # a socket's path is short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


STRANGE = {
    "a named pipe, where a file is expected": fifo,
    "a folder, where a file is expected": lambda path: path.mkdir(),
    "a socket, where a file is expected": bound,
    "a device, where a file is expected": lambda path: path.symlink_to("/dev/zero"),
    "No such file or directory": lambda path: None,
    "Too many levels of symbolic links": lambda path: path.symlink_to(path),
}


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("message", STRANGE)
def test_what_is_no_file_is_not_opened(read, message, tmp_path):
    STRANGE[message](tmp_path / "x")
    with pytest.raises(FormatError, match=message) as caught:
        read(tmp_path / "x")
    assert str(tmp_path / "x") in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["x" * 1000, "a\0b"])
def test_names_that_no_file_can_have(name, tmp_path):
    with pytest.raises(FormatError, match="cannot be read"):
        check_file(tmp_path / name)


def test_a_size_that_is_not_read_is_said_and_not_called_damaged(tmp_path):
    (tmp_path / "x").write_bytes(bytes(11))
    assert read_bytes(tmp_path / "x", 11) == bytes(11)
    with pytest.raises(FormatError, match="11 bytes, more than the 10 that are read"):
        read_bytes(tmp_path / "x", 10)


def test_a_block_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "x"
    write_text(path, "old")
    with pytest.raises(KeyError), replacing(path) as scratch:
        scratch.write_text("half")
        raise KeyError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_writers_at_once_leave_one_whole_file(tmp_path):
    path, texts = tmp_path / "x", [str(number) * 100_000 for number in range(8)]
    threads = [threading.Thread(target=write_text, args=(path, text)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() in texts and list(tmp_path.iterdir()) == [path]


def test_a_written_file_has_the_rights_of_any_other(tmp_path):
    write_text(tmp_path / "x", "café")
    (tmp_path / "y").touch()
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "y").stat().st_mode
    assert (tmp_path / "x").read_bytes() == "café".encode()


def test_names_from_files_are_quoted_and_capped():
    assert quoted("a\x1b[2J\n") == "'a\\x1b[2J\\n'"
    assert len(quoted("é" * 10**6)) == MOST_CHARACTERS + len("'...'")
    assert listed(range(7)) == "'0', '1', '2', '3', '4' and 2 more"
    assert printable("naïve \u202e\x9b\ud800[red]") == "naïve \\u202e\\x9b\\ud800[red]"
