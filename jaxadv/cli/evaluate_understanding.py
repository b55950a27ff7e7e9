"""`jaxadv evaluate understanding`: section 6 of the exact-caption paper, for any captioners."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jaxadv.cli.engine import PICTURES, SHARD, check_pictures, evaluate_cells
from jaxadv.cli.methods import chosen
from jaxadv.cli.options import AUTO, batch_size

if TYPE_CHECKING:
    from jaxadv.experiments.cells import Cell

COMMAND = "evaluate understanding"


def understanding(
    context: typer.Context,
    victim: Annotated[
        list[str], typer.Option(help="A captioner's name or folder; repeat for several.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for records, tables and pictures.")],
    method: Annotated[
        list[str] | None,
        typer.Option(help="Any of jaxadv attack caption's that take a caption; repeatable."),
    ] = None,
    images: Annotated[int, typer.Option(min=1, help="Pictures attacked.")] = 24,
    targets: Annotated[
        int, typer.Option(min=1, help="Targets a picture, of each kind and sentence form.")
    ] = 2,
    content: Annotated[
        list[str] | None,
        typer.Option(help="A clause to aim at in all its forms, too, one a picture; repeatable."),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(help="scenes, or folders or prepared sets: what all victims held out."),
    ] = None,
    batch: Annotated[str, typer.Option(help=AUTO)] = "50",
    shard: Annotated[str | None, typer.Option(help=SHARD)] = None,
    pictures: Annotated[str, typer.Option(help=PICTURES)] = "png",
    seed: Annotated[int, typer.Option(help="Of the choice of targets.")] = 0,
) -> None:
    """Success by the place of a word, by sentence form, and on other captioners.

    Prints and writes four tables: words at their places (Figure 3 of the exact-caption paper),
    active, passive and attributive sentences (Figure 4) with what a victim has no words for, how
    likely they were, and transfer among the victims. The same command on the same folder continues
    from there; `jaxadv table understanding` reads its records.
    """
    from jaxadv.captions.methods import METHODS
    from jaxadv.errors import InputError
    from jaxadv.experiments.cells import Cell
    from jaxadv.experiments.understanding import UnderstandingDesign

    size = batch_size(batch)
    check_pictures(pictures)
    for name in victim:
        if victim.count(name) > 1:
            raise InputError(f"victim {name!r}: given twice; a matrix needs different names")
    methods = chosen(context, METHODS, method or [METHODS[0].name])
    cells = []
    for name in victim:
        others = tuple(other for other in victim if other != name)
        design = UnderstandingDesign(
            tuple(data or ["scenes"]), images, targets, tuple(content or ()), others
        )
        cells += [Cell("understanding", name, seed, run, design) for run in methods]
    evaluate_cells(cells, out, command=COMMAND, batch=size, shard=shard, pictures=pictures)
    _draw(cells, out)


def _draw(cells: Sequence["Cell"], out: Path) -> None:
    """Draw the curves, the matrices, and an example of each form whose picture was kept."""
    from jaxadv import loading
    from jaxadv.data.images import read_image
    from jaxadv.experiments.pictures import held_out
    from jaxadv.experiments.record_tables import own_records
    from jaxadv.experiments.understanding_tables import (
        likelihood_panel,
        location_panels,
        said_sentences,
        transfer_matrices,
    )
    from jaxadv.reports.captions import draw as draw_examples
    from jaxadv.reports.curves import draw as draw_curves
    from jaxadv.reports.files import save
    from jaxadv.reports.understanding import draw_matrices, examples_of, panel_of

    rows = [row for row in own_records("understanding", out)[2] if row["failed"] is None]
    if panels := location_panels(rows):
        save(draw_curves(panels), out / "location.png")
    if matrices := transfer_matrices(rows):
        save(draw_matrices(matrices), out / "transfer.png")
    if said_sentences(rows):
        save(draw_curves([likelihood_panel(rows)]), out / "likelihood.png")
    by_digest = {cell.digest: cell for cell in cells}
    drawn = []
    for row in examples_of(rows):
        cell, kept = by_digest[row["cell"]], out / "pictures" / f"{row['cell']}-{row['id']}.png"
        if kept.exists():
            victim = loading.load(cell.victim)
            benign = {p.id: p for p in held_out(victim, cell.design.data, cell.design.images)}
            drawn.append(panel_of(row, benign[row["image"]].load(), read_image(kept)))
    if drawn:
        save(draw_examples(drawn), out / "examples.png")
