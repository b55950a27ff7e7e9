"""What `jaxadv sweep` and every `jaxadv evaluate` do with their cells: attack, record, resume."""

import importlib.util
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from jaxadv.cli.console import console, fail, note, print_table, watch
from jaxadv.cli.evaluations import write_table
from jaxadv.cli.options import one_of
from jaxadv.errors import InputError

if TYPE_CHECKING:
    from jaxadv.experiments.cells import Cell
    from jaxadv.experiments.family import Measure
    from jaxadv.experiments.job import Done, Job
    from jaxadv.experiments.ledger import Pictures, Progress
    from jaxadv.experiments.sweep import Prepared, Shard

PICTURES = "Pictures to keep, before and after: none, png (8-bit) or float."
SHARD = "Make a share only: i/n, i from 0; a job array's own."


def attack_cells(
    prepared: Sequence["Prepared"],
    out: Path,
    *,
    title: str,
    size: int | None,
    share: "Shard",
    pictures: "Pictures" = "none",
    file: str = "",
    command: str = "sweep",
) -> "Progress":
    """Make the attacks that a folder does not hold yet, over the local devices.

    Args:
      prepared: the cells.
      out: the folder of the records.
      title: of the progress.
      size: attacks at once; None for as many as fit the devices.
      share: which share of them is made here.
      pictures: which adversarial pictures are kept (`PICTURES`).
      file: what the cells are from (`store.write_plan`).
      command: whose folder it is.
    """
    from jaxadv.experiments.devices import over_local_devices
    from jaxadv.experiments.sweep import complete, sweep

    most = max(len(p.job.planned) for p in prepared) or 1
    sharding, slots = over_local_devices(min(size or slots_that_fit(prepared), most))
    job = sweep(
        prepared,
        out,
        slots=slots,
        shard=share,
        sharding=sharding,
        pictures=pictures,
        file=file,
        command=command,
    )
    last = record(job, title, out)
    finish(out, whole=complete(prepared, out))
    return last


def record(job: "Iterator[Progress]", title: str, out: Path) -> "Progress":
    """Show how far attacks are that are being recorded; of Ctrl-C, how to resume."""
    last: Progress | None = None
    try:
        for news in watch(job, title):
            last = news
    except KeyboardInterrupt:
        made = "nothing" if last is None else f"{last.done} of {last.total} attacks"
        note(
            f"{made} recorded in {out}/; the same command resumes from there: "
            f"{shlex.join(['jaxadv', *sys.argv[1:]])}"
        )
        raise
    assert last is not None  # the first news comes before the first attack
    return last


def finish(out: Path, *, whole: bool) -> None:
    """Print where the records are; where they are all there, write them as Parquet."""
    from jaxadv.experiments import store

    for problem in store.count(out).problems:
        note(problem)
    if not whole:
        console.print(f"recorded in {out}/; other shares are under way or to be made")
    elif importlib.util.find_spec("pyarrow") is not None:
        console.print(f"written to {store.write_parquet(out)}")
    else:
        console.print(f"recorded in {out}/")


def slots_that_fit(prepared: Sequence["Prepared"]) -> int:
    """Find how many attacks of every cell fit the local devices at once, and print it."""
    import jax

    from jaxadv.experiments.sweep import fit_slots

    fit = fit_slots(prepared)
    console.print(str(fit))
    return len(jax.local_devices()) * fit.batch


def evaluate_cells(
    cells: Sequence["Cell"],
    out: Path,
    *,
    command: str,
    batch: int | None,
    shard: str | None,
    pictures: str,
    measures: "Mapping[str, Measure] | None" = None,
) -> None:
    """Attack the cells of an evaluation, and print and write its tables.

    Args:
      cells: of one family.
      out: the folder of the records.
      command: whose folder it is.
      batch: attacks at once; None for as many as fit the devices.
      shard: which share of them is made here, as `--shard` has it.
      pictures: which adversarial pictures are kept (`PICTURES`).
      measures: the table's columns of numbers; the family's by default.
    """
    from jaxadv.cli.inputs import results_folder
    from jaxadv.experiments.devices import parse_shard
    from jaxadv.experiments.record_tables import own_tables
    from jaxadv.experiments.sweep import prepare

    kept = check_pictures(pictures)
    share = parse_shard(shard)
    results_folder(out, command, *(cell.victim for cell in cells))
    prepared = prepare(cells)
    notes = list(dict.fromkeys(line for one in prepared for line in _notes(one)))
    for line in notes:
        console.print(line)
    last = attack_cells(
        prepared,
        out,
        title=command,
        size=batch,
        share=share,
        pictures=kept,
        file=command,
        command=command,
    )
    tables = own_tables(cells[0].task, out, measures)
    for table in tables:
        if not table.rows:
            continue
        print_table(table.title, list(table.columns), [list(map(_shown, r)) for r in table.rows])
        for line in table.notes:
            note(line)
    victims = list(dict.fromkeys(cell.victim for cell in cells))
    entries = [
        {"title": t.title, "rows": [dict(zip(t.columns, row, strict=True)) for row in t.rows]}
        for t in tables
    ]
    write_table(out, {"command": command, "victims": victims, "about": notes, "tables": entries})
    end(last, out)


def end(last: "Progress", out: Path) -> None:
    """End a command, with code 1 where attacks failed."""
    if last.failed:
        console.print(f"{last.failed} attacks failed: jaxadv sweep status {out}")
        raise typer.Exit(1)


class News(NamedTuple):
    """How many attacks of a job are through, and the last of them."""

    done: int
    total: int
    message: str
    last: "Done"


def attack_job(job: "Job", title: str, batch: int) -> list["Done"]:
    """Make a job's attacks, which are recorded nowhere; return those with an outcome, in order.

    For the others it prints why they have none.

    Raises:
      InputError: none has an outcome.
    """
    found = [news.last for news in watch(_news(job, batch), title)]
    for done in found:
        if done.failed is not None:
            fail(f"{done.planned.about['image']}: {done.failed}")
    able = [done for done in found if done.failed is None]
    if not able:
        raise InputError("no attack could be made")
    return sorted(able, key=lambda done: done.planned.id)


def _news(job: "Job", batch: int) -> Iterator[News]:
    import jax

    from jaxadv.experiments.job import carry_out

    total = len(job.planned)
    fooled = 0
    every = carry_out(job, lambda _: True, slots=min(batch, total), key=jax.random.key(0))
    for number, done in enumerate(every, start=1):
        assert not isinstance(done, str)  # only experiments tell news
        fooled += bool(done.columns.get("success_8bit"))
        yield News(number, total, f"{fooled / number:.0%} fooled", done)


def check_pictures(pictures: str) -> "Pictures":
    """Return the option that says which pictures are kept.

    Raises:
      InputError: it is none of the words.
    """
    kept: Pictures = one_of("--pictures", pictures, ("none", "png", "float"))
    return kept


def _notes(one: "Prepared") -> tuple[str, ...]:
    return getattr(one.job, "notes", ())


def _shown(value: Any) -> Any:
    return "–" if value is None else value
