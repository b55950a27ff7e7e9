"""Printing and progress, the same for every command."""

import math
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

_WIDE = None if sys.stdout.isatty() else 120  # tables in a log or a pipe are not cut to 80
console = Console(width=_WIDE)
SECONDS_A_LINE = 2  # of a log, which keeps every line
errors = Console(stderr=True)


def fail(line: str) -> None:
    """Print one line about what went wrong."""
    errors.print(f"[red]error:[/red] {escape(line)}", soft_wrap=True, highlight=False, markup=True)


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


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Show a bar with the elapsed and the remaining time."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors) as bar:
        yield bar


def watch(job: Iterable[SomeNews], title: str) -> Iterator[SomeNews]:
    """Hand on a job's news, showing how far it is; a log gets a line, but not several a second."""
    said = -math.inf
    with progress_bar() as bar:
        task = bar.add_task(f"{title}: starting", total=None)
        for news in job:
            bar.update(
                task, completed=news.done, total=news.total, description=f"{title}: {news.message}"
            )
            now = time.monotonic()
            if not errors.is_terminal and (now - said > SECONDS_A_LINE or news.done == news.total):
                said = now
                errors.print(f"{title} {news.done}/{news.total}: {news.message}", highlight=False)
            yield news


def print_table(title: str, columns: list[str], rows: list[list[Any]]) -> None:
    """Print a table; numbers with four significant digits."""
    table = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right", no_wrap=i == 0)
    for row in rows:
        table.add_row(*(f"{x:.4g}" if isinstance(x, float) else str(x) for x in row))
    console.print(table)
