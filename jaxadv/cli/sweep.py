"""`jaxadv sweep`: thousands of attacks in one command."""

import math
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from jaxadv.cli.console import console, note, print_table
from jaxadv.cli.engine import (
    PICTURES,
    SHARD,
    attack_cells,
    check_pictures,
    end,
    finish,
    record,
    slots_that_fit,
)
from jaxadv.cli.options import AUTO, batch_size


class _RunByDefault(TyperGroup):
    """What is no subcommand is the file of a sweep to run."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Read `sweep FILE` as `sweep run FILE`, and a bare `--ray` as `--ray auto`."""
        words = args if args[0] in self.commands else ["run", *args]
        if "--ray" in words:
            after = words.index("--ray") + 1
            if after == len(words) or words[after].startswith("-"):
                words.insert(after, "auto")
        return super().resolve_command(ctx, words)


app = typer.Typer(
    cls=_RunByDefault,
    no_args_is_help=True,
    help="Make thousands of attacks: jaxadv sweep FILE.toml --out DIR.",
    epilog="The same command continues an interrupted sweep.",
)


@app.command("run")
def run(
    file: Annotated[Path, typer.Argument(help="A sweep file; one shipped by its name, too.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the records.")] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Say how many attacks it makes, then how long; of --out the rest."
        ),
    ] = False,
    counts_only: Annotated[
        bool, typer.Option("--counts-only", help="Say how many attacks it makes, and stop.")
    ] = False,
    batch: Annotated[str, typer.Option(help=AUTO)] = "50",
    pictures: Annotated[str, typer.Option(help=PICTURES)] = "none",
    shard: Annotated[str | None, typer.Option(help=SHARD)] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="[ADDRESS]",
            help="On a Ray cluster: host:port, auto for this machine's, local to start one.",
        ),
    ] = None,
    devices_per_worker: Annotated[
        int | None,
        typer.Option(
            min=1, help="GPUs, TPU chips or CPU cores of a worker of --ray; 1 if not given."
        ),
    ] = None,
    distributed: Annotated[
        bool, typer.Option("--distributed", help="Several processes of one job (SLURM, TPU pods).")
    ] = False,
    coordinator: Annotated[
        str | None, typer.Option(help="host:port of the first, where JAX cannot know.")
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, help="How many; see --coordinator.")
    ] = None,
    process: Annotated[
        int | None, typer.Option(min=0, help="Which this is, from 0; see --coordinator.")
    ] = None,
) -> None:
    """Make the attacks of a sweep file that are not recorded in --out yet."""
    import importlib.util

    from jaxadv.errors import InputError
    from jaxadv.experiments.devices import join_processes, leave_processes, parse_shard
    from jaxadv.experiments.files import find
    from jaxadv.experiments.plan import read_plan
    from jaxadv.experiments.sweep import prepare

    size = batch_size(batch)
    kept = check_pictures(pictures)
    joined = distributed or any(x is not None for x in (coordinator, processes, process))
    if joined and shard is not None:
        raise InputError("--shard: is not read with --distributed, where each has its share")
    if ray is not None and (joined or shard is not None):
        raise InputError("--ray: is not read with --shard or --distributed; its workers share all")
    if ray is None and devices_per_worker is not None:
        raise InputError("--devices-per-worker: is read with --ray alone")
    share = parse_shard(shard) if not joined else None
    dry = dry_run or counts_only
    if out is None and not dry:
        raise InputError("--out: give a folder for the records")
    found = find(file)
    cells = read_plan(found)
    if importlib.util.find_spec("pyarrow") is None:
        raise InputError("a sweep ends as Parquet: pip install 'jaxadv[sweeps]'")
    if out is not None and not dry:
        _sweeps_folder(out)
        if ray is not None:
            end(_on_ray(cells, out, ray, devices_per_worker or 1, size, kept, found), out)
            return
    if share is None:
        share = join_processes(coordinator, processes, process)
    note(f"{file.stem}: choosing targets for {len(cells)} cells ...")
    prepared = prepare(cells)
    if joined:
        leave_processes()
    if dry:
        _say_counts(prepared, share, out)
    if counts_only:
        return
    if dry or out is None:
        _say_times(prepared, share, out, size)
        return
    last = attack_cells(
        prepared,
        out,
        title=file.stem,
        size=size,
        share=share,
        pictures=kept,
        file=str(found.resolve()),
    )
    end(last, out)


def _on_ray(
    cells: Sequence[Any],
    out: Path,
    address: str,
    devices: int,
    size: int | None,
    pictures: Any,
    file: Path,
) -> Any:
    from jaxadv.experiments.on_ray import sweep_on_ray

    note(f"{file.stem}: a worker chooses targets for {len(cells)} cells ...")
    job = sweep_on_ray(
        cells,
        out,
        address=address,
        devices=devices,
        slots=size,
        pictures=pictures,
        file=str(file.resolve()),
    )
    last = record(job, file.stem, out)
    finish(out, whole=last.done == last.total)
    return last


def _sweeps_folder(out: Path) -> None:
    """Make the folder of a sweep; one of another command's results is refused."""
    from jaxadv.cli.inputs import writable
    from jaxadv.errors import InputError

    writable(out)
    for name in ("table.json", "record.json"):
        if (out / name).exists():
            raise InputError(
                f"--out {out}: holds the results of another command ({name}); give another folder"
            )


def _made(out: Path | None) -> Container[Any]:
    """Return which attacks of a folder are recorded; none of one that is not there yet."""
    from jaxadv.experiments import store

    return store.recorded(out) if out is not None and store.is_folder(out) else ()


def _say_counts(prepared: Sequence[Any], share: Any, out: Path | None) -> None:
    from jaxadv.experiments.sweep import to_make

    made = _made(out)
    counts = [len(to_make(one, share, made)) for one in prepared]
    victims = len({one.cell.victim for one in prepared})
    console.print(
        f"{sum(counts)} attacks to make, in {len(prepared)} cells on {victims} "
        f"victim{'s' if victims > 1 else ''}"
    )


def _say_times(prepared: Sequence[Any], share: Any, out: Path | None, size: int | None) -> None:
    from jaxadv.experiments.devices import over_local_devices
    from jaxadv.experiments.job import Job
    from jaxadv.experiments.sweep import estimate

    most = max(len(p.job.planned) for p in prepared) or 1
    sharding, slots = over_local_devices(min(size or slots_that_fit(prepared), most))
    note("compiling, and timing a few steps of each ...")
    rows: list[list[Any]] = []
    every = estimate(prepared, slots=slots, shard=share, sharding=sharding, made=_made(out))
    for found in every:
        about = [found.cell.victim, found.cell.columns["method"], found.attacks]
        rows.append([*about, found.compile_seconds, found.seconds / 60])
    total = ["all", "", *(sum(row[i] for row in rows) for i in (2, 3, 4))]
    columns = ["victim", "method", "attacks", "compiling, s", "at most, min"]
    programs = len({one.job.attack for one in prepared if isinstance(one.job, Job)})
    untimed = math.isnan(total[-1])
    shown = [[*row[:-1], "–" if math.isnan(row[-1]) else row[-1]] for row in (*rows, total)]
    print_table(f"{programs} compilations", columns, shown)
    if untimed:
        note("trainings are not timed")


@app.command("status")
def status(
    folder: Annotated[Path, typer.Argument(help="Of a sweep, which may be running.")],
) -> None:
    """Say how many attacks are recorded, why some failed, and what is left out."""
    from collections import Counter

    from jaxadv.experiments import store

    cells, counts = store.read_cells(folder), store.count(folder)
    rows = [
        [cells[digest]["victim"], cells[digest]["method"], cells[digest].get("seed", 0), number]
        for digest, number in counts.by_cell.items()
        if digest in cells
    ]
    title = f"{counts.recorded} attacks recorded, {counts.failed} failed"
    print_table(title, ["victim", "method", "seed", "recorded"], rows)
    reasons = Counter(row["failed"] for row in store.read(folder) if row["failed"] is not None)
    for reason, number in reasons.most_common(20):
        console.print(f"{number} failed: {reason}")
    for problem in counts.problems:
        console.print(problem)


@app.command("merge")
def merge(
    folders: Annotated[list[Path], typer.Argument(help="Folders of records.")],
    out: Annotated[Path, typer.Option(help="A new folder for all of them.")],
) -> None:
    """Put the records of several folders together."""
    from jaxadv.experiments import store

    for problem in store.merge(folders, out):
        note(problem)
    console.print(f"{store.count(out).recorded} attacks in {store.write_parquet(out)}")
