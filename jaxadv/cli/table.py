"""`jaxadv table`: a sweep's records as a paper's table."""

from pathlib import Path
from typing import Annotated

import typer

from jaxadv.cli.console import console, errors


def table(
    name: Annotated[
        str | None, typer.Argument(help="Of the table; without one, all are listed.")
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Argument(
            help="Of a sweep's records (CMLA: of jaxadv evaluate retrieval); without one, the "
            "paper's own numbers."
        ),
    ] = None,
    format: Annotated[str, typer.Option(help="text, markdown, latex or csv.")] = "text",
    out: Annotated[Path | None, typer.Option(help="File to write instead of printing.")] = None,
    victim: Annotated[
        list[str] | None,
        typer.Option(help="Victims, instead of those named like the paper's; repeatable."),
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="PNG file for the table's curve.")] = None,
    curve: Annotated[
        str | None,
        typer.Option(help="location, steps, or a setting such as tradeoff or rounds."),
    ] = None,
) -> None:
    """Print a paper's table from the records of a sweep, beside the paper's own numbers."""
    from jaxadv.cli.inputs import writable
    from jaxadv.cli.outputs import write_text
    from jaxadv.errors import InputError
    from jaxadv.sweeps.paper_tables import paper_table, paper_tables
    from jaxadv.sweeps.record_tables import table_of
    from jaxadv.sweeps.table_formats import FORMATS, as_text
    from jaxadv.sweeps.tables import Table, papers_own

    if name is None:
        every = paper_tables().values()
        rows = tuple((t.name, t.task, t.curve or None, t.caption) for t in every)
        typer.echo(as_text(Table("Tables", ("name", "of", "curve", "shows"), rows, ())))
        return
    if format not in FORMATS:
        raise InputError(f"--format {format!r}: must be one of {', '.join(FORMATS)}")
    paper = paper_table(name)
    if folder is None and (picture or victim):
        raise InputError("--picture and --victim: give the folder of a sweep")
    made = papers_own(paper) if folder is None else table_of(paper, folder, victim or ())
    text = FORMATS[format](made)
    if out is None:
        typer.echo(text)
        if format == "csv":
            for note in made.notes:
                errors.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
    else:
        writable(out.parent)
        write_text(out, text + "\n")
        console.print(f"written to {out}", highlight=False)
    if picture is not None and folder is not None:
        from jaxadv.figures.curves import draw
        from jaxadv.figures.files import save
        from jaxadv.sweeps.curves import panels_of

        writable(picture.parent)
        save(draw(panels_of(paper, folder, victim or (), curve)), picture)
        errors.print(f"written to {picture}", highlight=False)
