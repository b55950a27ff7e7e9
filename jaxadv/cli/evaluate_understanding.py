"""`jaxadv evaluate understanding`: section 6 of the exact-caption paper, for any captioners."""

from pathlib import Path
from typing import Annotated, Any

import typer

from jaxadv.cli.console import console, watch
from jaxadv.cli.evaluations import write_results
from jaxadv.cli.methods import chosen
from jaxadv.cli.options import AUTO, batch_size
from jaxadv.formats.files import write_text

COMMAND = "evaluate understanding"
FIGURES = ("location.png", "transfer.png", "likelihood.png", "examples.png")


def understanding(
    context: typer.Context,
    victim: Annotated[
        list[str], typer.Option(help="A captioner's name or folder; repeat for several.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for tables, pictures and records.")],
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
    seed: Annotated[int, typer.Option(help="Of the choice of targets.")] = 0,
) -> None:
    """Success by the place of a word, by sentence form, and on other captioners.

    Prints and writes four tables: words at their places (Figure 3 of the exact-caption paper),
    active, passive and attributive sentences (Figure 4) with what a victim has no words for, how
    likely they were, and transfer among the victims.
    """
    from jaxadv.captions.methods import METHODS
    from jaxadv.cli.inputs import results_folder
    from jaxadv.experiments.subjects import compare_on
    from jaxadv.experiments.table_formats import as_csv, as_markdown, as_text
    from jaxadv.experiments.transfer import Transfer
    from jaxadv.experiments.understanding import Plan, Study, check, largest_plan, understand
    from jaxadv.experiments.understanding_tables import (
        entries_of,
        likelihood_panel,
        location_panels,
        tables_of,
        transfer_matrices,
    )
    from jaxadv.reports.captions import draw as draw_examples
    from jaxadv.reports.curves import draw as draw_curves
    from jaxadv.reports.files import save
    from jaxadv.reports.understanding import draw_matrices, examples_of
    from jaxadv.victims import zoo

    size = batch_size(batch)
    methods = chosen(context, METHODS, method or [METHODS[0].name])
    sources = data or ["scenes"]
    plan = Plan(methods, images, targets, size or Plan().batch, seed, content or (), sources)
    subjects = compare_on([zoo.load(name) for name in victim], sources, images)
    check(subjects, plan)
    results_folder(out, COMMAND, *(subject.name for subject in subjects))
    for name in FIGURES:
        (out / name).unlink(missing_ok=True)
    about = {
        "command": COMMAND,
        "victims": [subject.name for subject in subjects],
        "data": sources,
        "methods": [run.used for run in methods],
        "images": images,
        "targets": targets,
        "seed": seed,
    }
    if size is None:
        plan, fit = largest_plan(plan, subjects)
        console.print(str(fit))
    studies: list[Study] = []
    transfers: list[Transfer] = []
    records: list[dict[str, Any]] = []
    write_results(out, {**about, "tables": {}}, records)
    for news in watch(understand(subjects, plan), "understanding"):
        studies += news.studies
        transfers += news.transfers
        for study in news.studies:
            records += entries_of(study)
            write_results(out, {**about, "tables": {}}, records)
    tables = tables_of(studies, transfers)
    for name, table in tables.items():
        write_text(out / f"{name}.csv", as_csv(table) + "\n")
    write_text(out / "understanding.md", "\n\n".join(map(as_markdown, tables.values())) + "\n")
    tabled = {name: table._asdict() for name, table in tables.items()}
    write_results(out, {**about, "tables": tabled}, records)
    save(draw_curves(location_panels(studies)), out / "location.png")
    save(draw_matrices(transfer_matrices(transfers)), out / "transfer.png")
    if any(study.attempts for study in studies):
        save(draw_curves([likelihood_panel(studies)]), out / "likelihood.png")
        save(draw_examples(examples_of(studies)), out / "examples.png")
    for table in tables.values():
        for line in (*as_text(table).split("\n"), ""):
            console.print(line)
    console.print(f"written to {out}/")
