"""`jaxadv bench`: how fast it is here, as ratios of two sides timed in one run."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from jaxadv.cli.console import console, note, print_table
from jaxadv.cli.options import one_of, refuse_unread
from jaxadv.errors import InputError

_ALL = ("backbone", "side", "batch", "steps", "arithmetic")
READS = {
    **dict.fromkeys(
        ("labels", "captions", "hashing", "passes", "pytorch", "utilisation", "compilation"),
        _ALL,
    ),
    "hub": ("side", "batch", "steps", "arithmetic"),
    "memory": ("backbone", "side", "arithmetic"),
    "throughput": ("backbone", "side", "steps", "arithmetic", "picture"),
    "accelerator": ("backbone", "side", "steps", "arithmetic"),
    "stream": (),
}  # of each part


def bench(
    context: typer.Context,
    parts: Annotated[
        list[str] | None,
        typer.Argument(
            help="labels, captions, hub, hashing (an attack's step over its victim's bare "
            "value_and_grad), passes (a victim's pass over plain lax and over PyTorch), pytorch "
            "(images a second over one-image PyTorch loops), utilisation, memory, compilation, "
            "throughput (by batch), accelerator (what is aimed at on a GPU), stream; all by "
            "default."
        ),
    ] = None,
    backbone: Annotated[str, typer.Option(help="Of the victims.")] = "resnet101",
    side: Annotated[int, typer.Option(min=16, max=4096, help="Of the pictures, in pixels.")] = 224,
    batch: Annotated[int, typer.Option(min=1, help="Pictures at once.")] = 4,
    steps: Annotated[int, typer.Option(min=1, help="In one timed loop.")] = 5,
    arithmetic: Annotated[
        str, typer.Option(help="Of the victims: float32, tf32, bfloat16 or bfloat16-decoder.")
    ] = "float32",
    json: Annotated[Path | None, typer.Option(help="File for the figures.")] = None,
    picture: Annotated[Path | None, typer.Option(help="PNG of throughput by batch.")] = None,
) -> None:
    """Print how fast the victims' passes, the attacks' steps and the loops are, as ratios."""
    _check_parts(context, parts)
    _find_benchmarks()

    from json import dumps

    from benchmarks.figure import draw_throughput
    from benchmarks.report import PARTS, machine
    from benchmarks.setting import Setting
    from jaxadv.cli.inputs import writable_file
    from jaxadv.core.precision import checked
    from jaxadv.formats.files import write_text
    from jaxadv.reports.files import check_format, save
    from jaxadv.victims.architectures import BACKBONES

    one_of("--backbone", backbone, BACKBONES)
    arithmetic = checked(arithmetic)
    if json is not None:
        writable_file("--json", json)
    if picture is not None:
        check_format(writable_file("--picture", picture))
    setting = Setting(backbone, side, batch, steps, arithmetic=arithmetic)
    figures = []
    for part in parts or PARTS:
        note(f"{part}: compiling ...")
        figures += (found := list(PARTS[part](setting)))
        rows = [
            [f.what, f.of, f.over, f.ratio, _aim(f.aim, f.faster), _seconds(f.seconds)]
            for f in found
        ]
        columns = ["", "of", "over", "ratio", "aim", "ms"]
        known = {
            "backbone": backbone,
            "side": f"{side} pixels",
            "batch": f"batch {batch}",
            "arithmetic": arithmetic,
        }
        sizes = [text for name, text in known.items() if name in READS[part]]
        measured = ", ".join([*sizes, machine()])
        if part == "throughput" and picture is not None:
            save(draw_throughput(found, measured), picture)
            console.print(f"drawn to {picture}")
        if rows:
            print_table(f"{part}: {measured}", columns, rows)
    if json is not None:
        record = {
            "machine": machine(),
            "setting": setting._asdict(),
            "figures": [f._asdict() for f in figures],
        }
        write_text(json, dumps(record, indent=1) + "\n")
        console.print(f"written to {json}")


def _find_benchmarks() -> None:
    """Make `benchmarks` importable, which is in a checkout and not in what is installed of it.

    Raises:
      InputError: it is not in the package's checkout.
    """
    checkout = Path(__file__).parents[2]
    if not (checkout / "benchmarks" / "report.py").is_file():
        raise InputError(
            "bench: the benchmarks are not installed; run `python -m jaxadv bench` in a checkout "
            "of the project"
        )
    if str(checkout) not in sys.path:
        sys.path.append(str(checkout))


def _check_parts(context: typer.Context, parts: list[str] | None) -> None:
    """Check that the parts exist and that each option is read by one of them."""
    for part in parts or ():
        one_of("part", part, READS)
    chosen = " ".join(parts or READS)
    read = {name for part in parts or READS for name in READS[part]}
    refuse_unread(context, chosen, {**READS, chosen: tuple(read)})


def _aim(aim: float | None, faster: bool) -> str:
    return "" if aim is None else f"{'>=' if faster else '<='} {aim:.3g}"


def _seconds(seconds: tuple[float, float] | None) -> str:
    return "" if seconds is None else " / ".join(f"{1000 * s:.4g}" for s in seconds)
