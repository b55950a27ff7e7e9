"""`jaxadv evaluate retrieval`: the tables and figures of the CMLA paper."""

from pathlib import Path
from typing import Annotated

import typer

from jaxadv.cli.console import console, note, print_table, watch
from jaxadv.cli.evaluations import whole_numbers
from jaxadv.cli.methods import chosen
from jaxadv.cli.options import AUTO, batch_size, is_given, refuse_unread
from jaxadv.cli.outputs import write_json

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
) -> None:
    """Attack held-out queries: the columns of the paper's Tables 1-3, curves, transfer.

    Queries to which nothing in the database is relevant are counted, and count as 0 in MAP.
    """
    from jaxadv.checks import MOST_STEPS
    from jaxadv.cli.inputs import results_folder
    from jaxadv.errors import InputError
    from jaxadv.experiments.retrieval import (
        Cell,
        Plan,
        Subject,
        Transfer,
        check_plan,
        evaluate,
        largest_plan,
        without_relevant,
    )
    from jaxadv.experiments.retrieval_pools import adversarial_samples, begun_from, retrieval_pools
    from jaxadv.experiments.retrieval_tables import (
        attacked,
        curves,
        entry,
        matrices,
        regular,
        write_curves,
    )
    from jaxadv.hashing.methods import METHODS
    from jaxadv.reports.files import save
    from jaxadv.reports.retrieval import draw_curves
    from jaxadv.victims import zoo

    size = batch_size(batch)
    if modality not in ("image", "text", "both"):
        raise InputError(f"modality {modality!r}: must be image, text or both")
    refuse_unread(command, modality, _READ)
    sources = data or ["scenes"]
    if sources != ["scenes"] and is_given(command, "database"):
        raise InputError("--database: is not read with --data, of which all others are asked")
    if victims is not None:
        note("--victims A,B: is called --victim A --victim B now")
        victim = [*(victim or ()), *(name.strip() for name in victims.split(",") if name.strip())]
    loaded = [zoo.load(name) for name in victim or ()]
    if not loaded:
        raise InputError("--victim: name at least one")
    subjects = [Subject(v.name, v.hasher, v.params) for v in loaded]
    given = {"image": (image_bound, image_rate), "text": (text_bound, text_rate)}
    plan = Plan(
        [
            run
            for name in (("image", "text") if modality == "both" else (modality,))
            for run in chosen(
                command,
                METHODS,
                ["cmla"],
                modality=name,
                bound=given[name][0],
                learning_rate=given[name][1],
            )
        ],
        whole_numbers("--iterations", iterations, MOST_STEPS, _RISING),
        ablation,
        context,
        size or Plan.batch,
    )
    check_plan(plan, subjects)
    if len({frozenset(v.record.get("held_out") or ()) for v in loaded}) > 1:
        raise InputError("victims whose held-out pictures differ: evaluate them one by one")
    results_folder(out, COMMAND, *(v.name for v in loaded))
    asking, asked = retrieval_pools(loaded[0], sources, queries, database)
    if size is None:
        plan, fit = largest_plan(plan, subjects, asking, asked)
        console.print(str(fit))
    cells: list[Cell] = []
    transfers: list[Transfer] = []
    for news in watch(evaluate(subjects, asking, asked, plan), "CMLA"):
        cells += news.cells
        transfers += news.transfers
    lonely = without_relevant(asking.labels, asked.labels)
    bits = {s.name: s.hasher.bits for s in subjects}
    write_json(
        out / "table.json",
        {
            "command": COMMAND,
            "victims": bits,
            "samples": {v.name: adversarial_samples(v) for v in loaded},
            "from": {v.name: begun_from(v) for v in loaded},
            "data": ", ".join(sources),
            "queries": len(asking.ids),
            "database": len(asked.ids),
            "without_relevant": lonely,
            "settings": [run.used for run in plan.attacks],
            "context": min(context, len(asked.ids)),
            "cells": [entry(cell) for cell in cells],
            "transfers": [t._asdict() for t in transfers],
        },
    )
    lines = curves(cells)
    write_curves(lines, out)
    save(draw_curves(lines), out / "curves.png")
    console.print(
        f"{len(asking.ids)} queries of a database of {len(asked.ids)}; nothing is relevant to "
        f"{lonely} of them, which count as 0 in MAP",
    )
    for table in (regular(cells, bits), *attacked(cells), *matrices(transfers, cells)):
        print_table(*table)
    console.print(f"written to {out}/")
