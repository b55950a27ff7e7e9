"""`jaxadv sweep`: thousands of attacks in one command."""

from collections import deque
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from jaxadv.cli.console import console, print_table, watch
from jaxadv.cli.options import AUTO, batch_size


class _RunByDefault(TyperGroup):
    """What is no subcommand is the file of a sweep to run."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Read `sweep FILE` as `sweep run FILE`."""
        return super().resolve_command(ctx, args if args[0] in self.commands else ["run", *args])


app = typer.Typer(
    cls=_RunByDefault,
    no_args_is_help=True,
    help="Make thousands of attacks: jaxadv sweep FILE.toml --out DIR.",
    epilog="An interrupted sweep goes on with the same command.",
)


@app.command("run")
def run(
    file: Annotated[Path, typer.Argument(help="A sweep file; one shipped by its name, too.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the records.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say how many attacks it makes, and how long.")
    ] = False,
    batch: Annotated[str, typer.Option(help=AUTO)] = "50",
    pictures: Annotated[
        str, typer.Option(help="Adversarial pictures to keep: none, png (8-bit) or float.")
    ] = "none",
    shard: Annotated[
        str | None, typer.Option(help="Make a share only: i/n, i from 0; a job array's own.")
    ] = None,
    distributed: Annotated[
        bool, typer.Option("--distributed", help="Several processes of one job (SLURM, TPU pods).")
    ] = False,
    coordinator: Annotated[
        str | None, typer.Option(help="host:port of the first, where JAX cannot know.")
    ] = None,
    processes: Annotated[int | None, typer.Option(help="How many; see --coordinator.")] = None,
    process: Annotated[int | None, typer.Option(help="Which this is, from 0.")] = None,
) -> None:
    """Make the attacks of a sweep file that are not recorded in --out yet."""
    import importlib.util

    import jax

    from jaxadv.cli.inputs import writable
    from jaxadv.errors import InputError
    from jaxadv.sweeps import store
    from jaxadv.sweeps.devices import (
        join_processes,
        leave_processes,
        over_local_devices,
        parse_shard,
    )
    from jaxadv.sweeps.files import find
    from jaxadv.sweeps.plan import read_plan
    from jaxadv.sweeps.sweep import complete, estimate, fit_slots, prepare, sweep

    size = batch_size(batch)
    cells = read_plan(find(file))
    if pictures not in ("none", "png", "float"):
        raise InputError(f"--pictures {pictures!r}: must be none, png or float")
    if importlib.util.find_spec("pyarrow") is None:
        raise InputError("a sweep ends as Parquet: pip install 'jaxadv[sweeps]'")
    share = parse_shard(shard)
    joined = distributed or coordinator is not None
    if joined:
        share = join_processes(coordinator, processes, process)
    prepared = prepare(cells)
    if joined:
        leave_processes()
    if size is None:
        fit = fit_slots(prepared)
        size = len(jax.local_devices()) * fit.batch
        console.print(str(fit), highlight=False)
    sharding, slots = over_local_devices(size)
    if dry_run:
        rows: list[list[Any]] = []
        for found in estimate(prepared, slots=slots, shard=share, sharding=sharding):
            about = [found.cell.victim, found.cell.settings.method, found.attacks]
            rows.append([*about, found.compile_seconds, found.seconds / 60])
        total = ["all", "", *(sum(row[i] for row in rows) for i in (2, 3, 4))]
        columns = ["victim", "method", "attacks", "compiling, s", "at most, min"]
        print_table(f"{len(rows)} compilations", columns, [*rows, total])
        return
    if out is None:
        raise InputError("--out: give a folder for the records")
    writable(out)
    job = sweep(
        prepared,
        out,
        slots=slots,
        shard=share,
        sharding=sharding,
        pictures=pictures,  # type: ignore[arg-type]  # checked above
    )
    last = deque(watch(job, file.stem), maxlen=1)[0]
    if complete(prepared, out):
        console.print(f"written to {store.write_parquet(out)}", highlight=False)
    else:
        console.print(f"recorded in {out}/; other shares are under way or to be made")
    if last.failed:
        console.print(f"{last.failed} attacks failed: jaxadv sweep status {out}", highlight=False)
        raise typer.Exit(1)


@app.command("status")
def status(
    folder: Annotated[Path, typer.Argument(help="Of a sweep, which may be running.")],
) -> None:
    """Say how many attacks are recorded, and why some failed."""
    from collections import Counter

    from jaxadv.sweeps import store

    cells, counts = store.read_cells(folder), store.count(folder)
    rows = [
        [cells[digest]["victim"], cells[digest]["method"], cells[digest]["seed"], number]
        for digest, number in counts.by_cell.items()
    ]
    title = f"{counts.recorded} attacks recorded, {counts.failed} failed"
    print_table(title, ["victim", "method", "seed", "recorded"], rows)
    reasons = Counter(row["failed"] for row in store.read(folder) if row["failed"] is not None)
    for reason, number in reasons.most_common(20):
        console.print(f"{number} failed: {reason}", highlight=False)


@app.command("merge")
def merge(
    folders: Annotated[list[Path], typer.Argument(help="Folders of records.")],
    out: Annotated[Path, typer.Option(help="A new folder for all of them.")],
) -> None:
    """Put the records of several folders together."""
    from jaxadv.sweeps import store

    store.merge(folders, out)
    console.print(f"{store.count(out).recorded} attacks in {store.write_parquet(out)}")
