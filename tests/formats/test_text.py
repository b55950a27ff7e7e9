"""Texts as people save them: every reader beside every fault that it can meet."""

import json
import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from jaxadv.formats.errors import FormatError
from jaxadv.formats.text import (
    MOST_FIELD,
    MOST_PROBLEMS,
    numbered_lines,
    parse_json,
    read_csv,
    read_json,
    read_lines,
    read_text,
    read_toml,
    read_yaml,
)

GOOD = {
    read_text: ("é 1\n", "é 1\n"),
    read_lines: ("é 1\r\n\r\n  b\u2028c \rd", ["é 1", "b\u2028c", "d"]),
    numbered_lines: ("a\n\n b\n", [(1, "a"), (3, "b")]),
    read_json: ('{"é": [1, 2.5, null]}', {"é": [1, 2.5, None]}),
    read_toml: ('a = "é"\n[b]\nc = 1\n', {"a": "é", "b": {"c": 1}}),
    read_yaml: ("a: [yes, no, 1, é]\nb: ~\n", {"a": ["yes", "no", "1", "é"], "b": "~"}),
    read_csv: ('a, b\né,"1, 2"\n', [(2, {"a": "é", "b": "1, 2"})]),
}
HUGE = "9" * 5000
DEEP = 100_000


def answer(read, path):
    found = read(path)
    return [tuple(row) for row in found.rows] if read is read_csv else found


def refused(read, tmp_path, contents):
    path = tmp_path / "file"
    path.write_bytes(contents if isinstance(contents, bytes) else contents.encode())
    start = time.process_time()
    with pytest.raises(FormatError) as caught:
        read(path)
    said = str(caught.value)
    assert str(path) in said and "\n" not in said and len(said) < len(str(path)) + 300
    assert time.process_time() - start < 10
    return said.replace(str(path), "")


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("read", GOOD)
def test_a_byte_order_mark_is_no_text(read, mark, tmp_path):
    text, wanted = GOOD[read]
    (tmp_path / "x").write_bytes(mark + text.encode())
    assert answer(read, tmp_path / "x") == wanted


@pytest.mark.parametrize("read", GOOD)
@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ("é".encode("utf-16"), "text in UTF-16; save it as UTF-8"),
        (b"\xfe\xff\0a", "text in UTF-16; save it as UTF-8"),
        (b"a\nb\ncaf\xe9 1\n", "not text in UTF-8 (byte 0xe9 in line 3); save it as UTF-8"),
        (b"\xef\xbb", "not text in UTF-8 (byte 0xef in line 1)"),
        (b"\xed\xa0\x80", "not text in UTF-8"),  # half a character
    ],
)
def test_other_encodings_are_named(read, contents, message, tmp_path):
    assert message in refused(read, tmp_path, contents)


@pytest.mark.parametrize(
    ("read", "contents", "message"),
    [
        (read_json, "", "not JSON, or truncated"),
        (read_json, '{\n"a": 1\n', "line 3"),
        (read_json, '{"a": 1, "b": {"c": 1, "c": 2}}', "an object has the name 'c' twice"),
        (read_json, "[" * DEEP, "JSON nested too deep"),
        (read_json, '{"a":' * DEEP, "JSON nested too deep"),
        (read_json, HUGE, "a number of too many digits"),
        (read_json, f'{{"{"a" * 1000}": 1, "{"a" * 1000}": 2}}', "twice"),
        (read_toml, "a = ", "not TOML"),
        (read_toml, "a = 1\na = 2\n", "not TOML"),
        (read_toml, f"a = {'[' * DEEP}", "TOML nested too deep"),
        (read_toml, f"a = {HUGE}", "a number of too many digits"),
        (read_toml, ".".join("a" * DEEP) + " = 1", "a key of more than 100 parts"),
        (read_toml, " " * (1 << 20) + "a = 1", "1,048,581 bytes, more than the 1,048,576"),
        (read_yaml, "a: [b", "not YAML (expected"),
        (read_yaml, "a: 1\na: 2\n", "the name 'a' twice"),
        (read_yaml, "? [a]\n: 1\n", "a name that is no text"),
        (read_yaml, "a: &x [1]\nb: *x\n", "aliases are not read"),
        (read_yaml, 'a: "\\uD800\\UFFFFFFFF"\n', "not YAML"),
        (read_yaml, "[" * DEEP, "YAML nested too deep"),
        (read_yaml, " " * (1 << 18) + "a", "262,145 bytes, more than the 262,144"),
        (read_csv, "", "the first line is empty; it must name the columns"),
        (read_csv, "\na,b\n", "the first line is empty"),
        (read_csv, "a, a\n1,2\n", "the column 'a' twice"),
        (read_csv, "," * 10**6, "the column '' twice"),
        (read_csv, 'a,b\n1,"2\n3,4\n', "line 2: not CSV: a quote that does not end"),
        (read_csv, 'a,b\n1,"2"x\n', "line 2: not CSV"),
        (read_csv, f"a,b\n1,{'x' * (MOST_FIELD + 1)}\n", "line 2: not CSV"),
        (read_csv, "a,b\n" + "1\n" * (MOST_PROBLEMS + 1), "more than 10,000 such rows"),
    ],
)
def test_what_cannot_be_used_is_one_line(read, contents, message, tmp_path):
    assert message in refused(read, tmp_path, contents)


def test_aliases_do_not_fill_the_memory(tmp_path):
    lines = ["a0: &a0 [x, x]", *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 60))]
    assert "aliases" in refused(read_yaml, tmp_path, "\n".join(lines))


def test_tags_of_yaml_run_nothing(tmp_path):
    path = tmp_path / "x"
    path.write_text(f"a: !!python/object/apply:os.mkdir ['{tmp_path / 'made'}']\n")
    assert read_yaml(path) == {"a": [str(tmp_path / "made")]}
    assert not (tmp_path / "made").exists()


def test_a_row_of_another_width_costs_itself(tmp_path):
    (tmp_path / "x").write_text('a,b\n1,2\n3\n\n"x\ny",4\n5,6,7\n')
    table = read_csv(tmp_path / "x")
    assert [tuple(row) for row in table.rows] == [
        (2, {"a": "1", "b": "2"}),
        (5, {"a": "x\ny", "b": "4"}),
    ]
    assert [line.split("x, ")[1] for line in table.problems] == [
        "line 3: 1 fields, where the first line has 2 columns; left out",
        "line 7: 3 fields, where the first line has 2 columns; left out",
    ]


def test_a_field_as_long_as_is_read(tmp_path):
    (tmp_path / "x").write_text(f"a\n{'x' * (MOST_FIELD - 1)}\n")
    assert len(read_csv(tmp_path / "x").rows[0].fields["a"]) == MOST_FIELD - 1


KNOWN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inside: st.lists(inside) | st.dictionaries(st.text(), inside),
)


@given(KNOWN)
def test_json_is_read_as_the_standard_library_writes_it(value):
    assert parse_json(json.dumps(value), "x") == value


@given(st.text())
def test_any_text_is_json_or_one_line(text):
    try:
        parse_json(text, "x")
    except FormatError as problem:
        assert str(problem).startswith("x: ") and "\n" not in str(problem)


NAMES = st.text(st.characters(categories=["L", "N"]), min_size=1)


@given(st.dictionaries(NAMES, st.lists(NAMES)))
def test_yaml_holds_words(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("yaml") / "x"
    path.write_text(yaml.safe_dump(value, allow_unicode=True), encoding="utf-8")
    assert read_yaml(path) == value


@pytest.mark.parametrize("read", [read_json, read_toml, read_yaml, read_csv, read_lines])
@given(contents=st.binary())
def test_any_file_is_read_or_refused_in_one_line(read, contents, tmp_path_factory):
    path = tmp_path_factory.mktemp("any") / "x"
    path.write_bytes(contents)
    try:
        read(path)
    except FormatError as problem:
        assert str(path) in str(problem) and "\n" not in str(problem)
