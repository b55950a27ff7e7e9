"""Text, JSON, JSON lines, TOML, YAML and CSV, as people save them.

Every reader takes UTF-8 with or without a byte-order mark, opens regular files only, and answers a
file that it cannot use with one line. Values are returned as they are; `formats.values` checks
them.
"""

import csv
import io
import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from jaxadv.formats.errors import FormatError, quoted
from jaxadv.formats.files import read_bytes

MOST_SETTINGS = 1 << 20  # bytes of a TOML file: people write them by hand
MOST_DOTS = 100  # of a key in TOML: tomllib takes time with their square
MOST_YAML = 1 << 18  # PyYAML reads some 100 kB a second
MOST_FIELD = 1 << 20  # characters of one field of a table
MOST_ROWS = 1 << 20  # of a table: each takes some 400 bytes of memory
MOST_PROBLEMS = 10_000  # rows of a table that do not fit it


def read_text(path: Path, most: int | None = None) -> str:
    """Read a text in UTF-8, without its byte-order mark.

    Raises:
      FormatError: it cannot be read, is larger than `most` bytes, or is in another encoding.
    """
    return decode(read_bytes(path, most), path)


def decode(contents: bytes, path: Path) -> str:
    """Decode UTF-8, without a byte-order mark; `path` is named where it is another encoding.

    Raises:
      FormatError: it is not UTF-8.
    """
    if contents[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise FormatError(f"{path}: text in UTF-16; save it as UTF-8")
    try:
        return contents.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = contents.count(b"\n", 0, problem.start) + 1
        byte = contents[problem.start]
        raise FormatError(
            f"{path}: not text in UTF-8 (byte 0x{byte:02x} in line {line}); save it as UTF-8"
        ) from None


def read_lines(path: Path) -> list[str]:
    """Read the lines that are not empty, stripped of blanks around them.

    Only line feeds end a line (with or without a carriage return): U+2028 and the like are part of
    a text.

    Raises:
      FormatError: as `read_text`.
    """
    return [line for _, line in numbered_lines(path)]


def numbered_lines(path: Path) -> list[tuple[int, str]]:
    """Read lines as `read_lines` does, each with its number in the file.

    Raises:
      FormatError: as `read_text`.
    """
    lines = re.split(r"\r\n|\r|\n", read_text(path))
    return [
        (number, stripped) for number, line in enumerate(lines, 1) if (stripped := line.strip())
    ]


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
      FormatError: it cannot be read, or is not JSON; the line of the fault is named.
    """
    return parse_json(read_text(path), str(path))


def parse_json(text: str, source: str) -> Any:
    """Parse JSON; `source` is named in a refusal.

    Raises:
      FormatError: not JSON, an object with a name twice, nested too deep, or a number of thousands
        of digits.
    """
    try:
        return json.loads(text, object_pairs_hook=_without_duplicates)
    except json.JSONDecodeError as problem:
        reason = f"not JSON, or truncated ({problem.msg}, line {problem.lineno})"
    except RecursionError:
        reason = "not read: JSON nested too deep"
    except _DuplicateName as problem:
        reason = f"an object has the name {quoted(problem.name)} twice"
    except ValueError:  # int() takes no more than 4,300 digits
        reason = "a number of too many digits"
    raise FormatError(f"{source}: {reason}") from None


class _DuplicateName(ValueError):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _DuplicateName(_twice(name for name, _ in pairs)[0])
    return found


def _twice(names: Iterable[str]) -> list[str]:
    return [name for name, times in Counter(names).items() if times > 1]


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file of at most 1 MiB.

    Raises:
      FormatError: it cannot be read, is too large, or is not TOML.
    """
    text = read_text(path, MOST_SETTINGS)
    if any(part.count(".") > MOST_DOTS for part in re.split(r"[\n=,\[\]]", text)):
        raise FormatError(f"{path}: a key of more than {MOST_DOTS} parts")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        reason = f"not TOML ({problem})"
    except RecursionError:
        reason = "not read: TOML nested too deep"
    except ValueError:
        reason = "a number of too many digits"
    raise FormatError(f"{path}: {reason}") from None


class _Words(yaml.BaseLoader):
    """Reads every scalar as a text (`yes` and `on` stay words); no aliases, no name twice."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not read")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        names = [self.construct_object(key, deep=True) for key, _ in node.value]
        for name in names:
            if not isinstance(name, str):
                raise yaml.YAMLError("a name that is no text")
        if twice := _twice(names):
            raise yaml.YAMLError(f"the name {quoted(twice[0])} twice")
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """Read a YAML file of at most 256 KiB; every scalar is a text, numbers and `yes` included.

    Raises:
      FormatError: it cannot be read, is too large, not YAML, or has aliases or a name twice.
    """
    text = read_text(path, MOST_YAML)
    try:
        return yaml.load(text, Loader=_Words)
    except yaml.MarkedYAMLError as problem:
        where = f", line {problem.problem_mark.line + 1}" if problem.problem_mark else ""
        reason = f"not YAML ({problem.problem}{where})"
    except yaml.YAMLError as problem:
        reason = f"not YAML that is read here ({' '.join(str(problem).split())[:120]})"
    except RecursionError:
        reason = "not read: YAML nested too deep"
    except (ValueError, OverflowError):  # PyYAML's, of a broken escape
        reason = "not YAML (a character that does not exist)"
    raise FormatError(f"{path}: {reason}") from None


class Row(NamedTuple):
    """A row of a table: its line in the file, and its fields by column."""

    line: int
    fields: dict[str, str]


class Table(NamedTuple):
    """A CSV table: its columns, its rows, and a line for each row that cannot be used."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    problems: tuple[str, ...]


def read_csv(path: Path) -> Table:
    """Read a CSV table with a line of column names.

    A row with more or fewer fields than columns is left out and named in `problems`.

    Raises:
      FormatError: it cannot be read, has no columns or a column twice, a quote that never ends,
        more than a million rows, or more than 10,000 that cannot be used.
    """
    text = read_text(path)
    rows = _fields(text, path)
    _, heading = next(rows, (0, []))
    if not heading:
        raise FormatError(f"{path}: the first line is empty; it must name the columns")
    columns = tuple(name.strip() for name in heading)
    if twice := _twice(columns):
        raise FormatError(f"{path}: the column {quoted(twice[0])} twice")
    found: list[Row] = []
    problems: list[str] = []
    for line, fields in rows:
        if not fields:
            continue
        if len(fields) != len(columns):
            problems.append(
                f"{path}, line {line}: {len(fields)} fields, where the first line has "
                f"{len(columns)} columns; left out"
            )
            if len(problems) > MOST_PROBLEMS:
                raise FormatError(f"{path}: more than {MOST_PROBLEMS:,} such rows: {problems[0]}")
            continue
        if len(found) == MOST_ROWS:
            raise FormatError(f"{path}: more than the {MOST_ROWS:,} rows that are read")
        found.append(Row(line, dict(zip(columns, fields, strict=True))))
    return Table(columns, tuple(found), tuple(problems))


def _fields(text: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    before = csv.field_size_limit(MOST_FIELD)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        first = 1
        for fields in reader:
            yield first, fields
            first = reader.line_num + 1
    except csv.Error:
        raise FormatError(
            f"{path}, line {first}: not CSV: a quote that does not end, text behind one that does, "
            f"or a field of more than {MOST_FIELD:,} characters"
        ) from None
    finally:
        csv.field_size_limit(before)
