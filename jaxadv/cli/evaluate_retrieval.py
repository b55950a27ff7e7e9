"""`jaxadv evaluate retrieval`: the tables and figures of the CMLA paper."""

from pathlib import Path
from typing import Annotated

import typer

from jaxadv.cli.console import note
from jaxadv.cli.engine import PICTURES, SHARD, evaluate_cells
from jaxadv.cli.evaluations import whole_numbers
from jaxadv.cli.methods import chosen
from jaxadv.cli.options import AUTO, batch_size, is_given, one_of, refuse_unread
from jaxadv.formats.errors import quoted

COMMAND = "evaluate retrieval"
_RISING = "rising numbers, such as 100,200,500"
_OF_PICTURES, _OF_TEXTS = ("image_bound", "image_rate"), ("text_bound", "text_rate")
_READ = {"image": _OF_PICTURES, "text": _OF_TEXTS, "both": (*_OF_PICTURES, *_OF_TEXTS)}


def retrieval(
    command: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder for the tables and the curves.")],
    victim: Annotated[
        list[str] | None,
        typer.Option(help="A hasher's name or folder; jaxadv victims; repeat for several."),
    ] = None,
    victims: Annotated[str | None, typer.Option(hidden=True)] = None,
    method: Annotated[
        list[str] | None, typer.Option(help="cmla, reliable or substitution; repeatable.")
    ] = None,
    iterations: Annotated[str, typer.Option(help="Steps of the attacks.")] = "100,200,500",
    modality: Annotated[str, typer.Option(help="What is attacked: image, text or both.")] = "both",
    queries: Annotated[int, typer.Option(min=1, help="Held-out pairs that ask, at most.")] = 300,
    database: Annotated[
        int, typer.Option(min=1, help="Held-out scenes that are asked; of --data all the others.")
    ] = 5000,
    data: Annotated[
        list[str] | None,
        typer.Option(help="scenes, or what the victims were trained on by --data; repeatable."),
    ] = None,
    context: Annotated[
        int, typer.Option(min=1, help="Items of the database whose codes an attack sees, at most.")
    ] = 10_000,
    image_bound: Annotated[
        float | None, typer.Option(help="ε of pixels in 0..255 (paper: 8).")
    ] = None,
    text_bound: Annotated[
        float | None, typer.Option(help="ε of a text's weights in 0..1 (paper: 0.01).")
    ] = None,
    image_rate: Annotated[
        float | None, typer.Option(help="Adam's learning rate for pictures (paper: 0.5).")
    ] = None,
    text_rate: Annotated[
        float | None, typer.Option(help="Adam's learning rate for texts (paper: 0.002).")
    ] = None,
    ablation: Annotated[
        bool, typer.Option(help="Attack without the intra-modal term as well (Figure 5).")
    ] = True,
    batch: Annotated[str, typer.Option(help=AUTO)] = "50",
    shard: Annotated[str | None, typer.Option(help=SHARD)] = None,
    pictures: Annotated[str, typer.Option(help=PICTURES)] = "none",
) -> None:
    """Attack held-out queries: the columns of the paper's Tables 1-3, curves, transfer.

    Queries to which nothing in the database is relevant are counted, and count as 0 in MAP. The
    same command on the same folder resumes from there; `jaxadv table` reads its records.
    """
    from dataclasses import replace

    from jaxadv.checks import MOST_STEPS
    from jaxadv.errors import InputError
    from jaxadv.experiments.cells import Cell
    from jaxadv.experiments.retrieval_jobs import RetrievalDesign
    from jaxadv.hashing.methods import METHODS

    size = batch_size(batch)
    one_of("--modality", modality, ("image", "text", "both"))
    refuse_unread(command, modality, _READ)
    sources = tuple(data or ["scenes"])
    if sources != ("scenes",) and is_given(command, "database"):
        raise InputError("--database: is not read with --data, of which all others are asked")
    if victims is not None:
        note("--victims A,B: is called --victim A --victim B now")
        victim = [*(victim or ()), *(name.strip() for name in victims.split(",") if name.strip())]
    names = list(dict.fromkeys(victim or ()))
    if not names:
        raise InputError("--victim: name at least one")
    given = {"image": (image_bound, image_rate), "text": (text_bound, text_rate)}
    counts = whole_numbers("--iterations", iterations, MOST_STEPS, _RISING)
    if counts != sorted(counts):
        raise InputError(f"--iterations {quoted(iterations)}: give {_RISING}")
    runs = [
        run
        for name in (("image", "text") if modality == "both" else (modality,))
        for run in chosen(
            command,
            METHODS,
            method or [METHODS[0].name],
            modality=name,
            bound=given[name][0],
            learning_rate=given[name][1],
        )
    ]
    design = RetrievalDesign(sources, queries, database, context)
    cells = []
    for name in names:
        others = replace(design, transfer=tuple(other for other in names if other != name))
        for run in runs:
            if not run.reads("iterations"):
                cells.append(Cell("retrieval", name, 0, run, others))
                continue
            cells += [Cell("retrieval", name, 0, run.but(iterations=n), others) for n in counts]
            if ablation and run.reads("intra"):
                last = run.but(iterations=counts[-1], intra=0.0)
                cells.append(Cell("retrieval", name, 0, last, design))
    evaluate_cells(cells, out, command=COMMAND, batch=size, shard=shard, pictures=pictures)
    _draw_curves(out)


def _draw_curves(out: Path) -> None:
    """Draw and write Figure 3, where every query has been attacked."""
    from jaxadv.experiments.panels import points_of
    from jaxadv.experiments.record_tables import own_records
    from jaxadv.experiments.retrieval_curves import retrieved
    from jaxadv.experiments.retrieval_records import as_evaluated
    from jaxadv.experiments.table_formats import as_csv
    from jaxadv.formats.files import write_text
    from jaxadv.reports.curves import draw
    from jaxadv.reports.files import save

    found = as_evaluated(*own_records("retrieval", out), ())
    panels = {name: retrieved(found, name) for name in ("precision-recall", "precision-at")}
    for name, panel in panels.items():
        write_text(out / f"{name.replace('-', '_')}.csv", as_csv(points_of(panel)) + "\n")
    save(draw(list(panels.values())), out / "curves.png")
