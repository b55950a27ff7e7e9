"""Printing and progress, the same for every command.

What is printed may come from files and from people: it is never read as markup, nothing in it
steers the terminal, and what a terminal cannot show is replaced.
"""

import contextlib
import io
import logging
import math
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from rich.cells import cell_len
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from jaxadv.formats.errors import printable

SECONDS_A_LINE = 2  # of a log, which keeps every line
_LONGEST_LINE = 2000  # of what went wrong
_WIDTH_OF_A_LOG = 120
_NARROW = 20
_LARGEST_TABLE = 100_000  # in columns of text


class _Literal(Console):
    """A console that prints a string as it is, on a line that nothing cuts or wraps."""

    def __init__(self, **how: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, soft_wrap=True, **how)

    def render_str(self, text: str, **how: Any) -> Text:
        return super().render_str(printable(text), **how)


console = _Literal()
errors = _Literal(stderr=True)


def prepare_streams() -> None:
    """Have the standard streams replace what their encoding lacks, whatever the locale.

    A stream that was closed when Python started takes what is written, and drops it.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  # as long as the process
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def close_streams() -> None:
    """Write what is left; a reader that has gone (`| head`) is no fault."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def fail(line: str) -> None:
    """Print one line about what went wrong."""
    shown = printable(line)
    cut = shown if len(shown) <= _LONGEST_LINE else f"{shown[:_LONGEST_LINE]} ..."
    errors.print(Text.assemble(("error: ", "red"), cut))


def note(line: str) -> None:
    """Print one line that is no result: what is about to take long, or what to know."""
    errors.print(printable(line))


class News(Protocol):
    """How far a long job is, and what it last found."""

    @property
    def done(self) -> int:
        """Units done."""

    @property
    def total(self) -> int:
        """Units in all."""

    @property
    def message(self) -> str:
        """What was last found."""


SomeNews = TypeVar("SomeNews", bound=News)


class _Lines(logging.Handler):
    """Prints what the library logs on stderr, each line once: cells of a sweep read one set."""

    def __init__(self) -> None:
        super().__init__()
        self.printed: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record's line."""
        line = record.getMessage()
        if line not in self.printed:
            self.printed.add(line)
            note(line)


def print_log() -> None:
    """Print on stderr what the library logs."""
    logging.getLogger("jaxadv").handlers = [_Lines()]


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Show a bar with the elapsed and the remaining time."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors) as bar:
        yield bar


def watch(job: Iterable[SomeNews], title: str, begins: str = "compiling") -> Iterator[SomeNews]:
    """Hand on a job's news, showing how far it is; a log gets a line, but not several a second.

    Args:
      job: what is done.
      title: what it is called.
      begins: what it does before its first news.
    """
    said = -math.inf
    title = printable(title)
    if not errors.is_terminal:
        note(f"{title}: {begins} ...")
    with progress_bar() as bar:
        task = bar.add_task(f"{title}: {begins}", total=None)
        for news in job:
            message = f"{title}: {printable(news.message)}"
            bar.update(task, completed=news.done, total=news.total, description=message)
            now = time.monotonic()
            if not errors.is_terminal and (now - said > SECONDS_A_LINE or news.done == news.total):
                said = now
                errors.print(f"{title} {news.done}/{news.total}: {news.message}")
            yield news


def print_table(title: str, columns: list[str], rows: list[list[Any]]) -> None:
    """Print a table; numbers with four significant digits.

    Cells wrap at blanks to fit the terminal, or a log's 120 columns; no name in the first column
    and no path or address is broken.
    """
    cells = [[_cell(value) for value in row] for row in (columns, *rows)]
    table = Table()
    room = console.width if console.is_terminal else _WIDTH_OF_A_LOG
    for i, (heading, width) in enumerate(zip(cells[0], _widths(cells, room), strict=True)):
        table.add_column(heading, justify="left" if i == 0 else "right", width=width)
    for row in cells[1:]:
        table.add_row(*row)
    console.print(title)
    # its own console: one whose lines are never cut does not lay out tables
    Console(width=_LARGEST_TABLE, file=console.file, highlight=False).print(table)


def _cell(value: Any) -> Text:
    return Text(f"{value:.4g}" if isinstance(value, float) else printable(str(value)))


def _widths(cells: list[list[Text]], room: int) -> list[int]:
    """Share the room among columns: each gets its longest word at least, then what it needs."""
    longest = [max(cell_len(row[i].plain) for row in cells) for i in range(len(cells[0]))]
    widths = [
        max(cell_len(word) for row in cells for word in row[i].plain.split(" "))
        for i in range(len(longest))
    ]
    widths = [max(word, min(whole, _NARROW)) for word, whole in zip(widths, longest, strict=True)]
    widths[0] = longest[0]
    spare = room - sum(widths) - 3 * len(widths) - 1  # blanks and rules
    by_need = sorted(range(len(widths)), key=lambda i: longest[i] - widths[i])
    for done, i in enumerate(by_need):
        given = min(longest[i] - widths[i], max(spare, 0) // (len(widths) - done))
        widths[i] += given
        spare -= given
    return widths
