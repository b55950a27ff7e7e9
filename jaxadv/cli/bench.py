"""`jaxadv bench`: how fast it is here, as ratios of two sides timed in one run."""

from pathlib import Path
from typing import Annotated

import typer

from jaxadv.cli.console import console, print_table


def bench(
    parts: Annotated[
        list[str] | None,
        typer.Argument(
            help="labels, captions, hashing (an attack's step over its victim's bare "
            "value_and_grad), passes (a victim's pass over plain lax and over PyTorch), pytorch "
            "(images a second over one-image PyTorch loops), utilisation, memory, compilation, "
            "throughput (by batch), accelerator (what is aimed at on a GPU), stream; all by "
            "default."
        ),
    ] = None,
    backbone: Annotated[str, typer.Option(help="Of the victims.")] = "resnet101",
    side: Annotated[int, typer.Option(min=16, help="Of the pictures, in pixels.")] = 224,
    batch: Annotated[int, typer.Option(min=1, help="Pictures at once.")] = 4,
    steps: Annotated[int, typer.Option(min=1, help="In one timed loop.")] = 5,
    arithmetic: Annotated[
        str, typer.Option(help="Of the victims: float32, tf32 or bfloat16.")
    ] = "float32",
    json: Annotated[Path | None, typer.Option(help="File for the figures.")] = None,
    picture: Annotated[Path | None, typer.Option(help="PNG of throughput by batch.")] = None,
) -> None:
    """Print how fast the victims' passes, the attacks' steps and the loops are, as ratios."""
    from json import dumps

    from jaxadv.bench.report import PARTS, machine
    from jaxadv.bench.setting import Setting
    from jaxadv.cli.inputs import writable
    from jaxadv.cli.outputs import write_text
    from jaxadv.errors import InputError
    from jaxadv.figures.bench import draw_throughput
    from jaxadv.figures.files import save
    from jaxadv.victims.architectures import BACKBONES
    from jaxadv.victims.precision import checked

    unknown = [part for part in parts or () if part not in PARTS]
    if unknown:
        raise InputError(f"{unknown[0]!r}: must be one of {', '.join(PARTS)}")
    if backbone not in BACKBONES:
        raise InputError(f"--backbone {backbone!r}: must be one of {', '.join(BACKBONES)}")
    arithmetic = checked(arithmetic)
    if picture is not None and parts and "throughput" not in parts:
        raise InputError("--picture: it is of the part throughput")
    for file in (json, picture):
        if file is not None:
            writable(file.parent)
    setting = Setting(backbone, side, batch, steps, arithmetic=arithmetic)
    figures = []
    for part in parts or PARTS:
        with console.status(f"{part} ..."):
            figures += (found := list(PARTS[part](setting)))
        rows = [
            [f.what, f.of, f.over, f.ratio, _aim(f.aim, f.faster), _seconds(f.seconds)]
            for f in found
        ]
        columns = ["", "of", "over", "ratio", "aim", "ms"]
        sizes = f"{backbone}, {side} pixels, batch {batch}, {arithmetic}"
        if rows:
            print_table(f"{part}: {sizes}, {machine()}", columns, rows)
        if part == "throughput" and picture is not None:
            save(draw_throughput(found, f"{sizes}, {machine()}"), picture)
            console.print(f"drawn to {picture}", highlight=False)
    if json is not None:
        record = {
            "machine": machine(),
            "setting": setting._asdict(),
            "figures": [f._asdict() for f in figures],
        }
        write_text(json, dumps(record, indent=1) + "\n")
        console.print(f"written to {json}", highlight=False)


def _aim(aim: float | None, faster: bool) -> str:
    return "" if aim is None else f"{'>=' if faster else '<='} {aim:.3g}"


def _seconds(seconds: tuple[float, float] | None) -> str:
    return "" if seconds is None else " / ".join(f"{1000 * s:.4g}" for s in seconds)
