"""`jaxadv table`: a sweep's records as a paper's table."""

from pathlib import Path
from typing import Annotated

import typer

from jaxadv.cli.console import console, note


def table(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Of the table; without one, all are listed. With the name of a family (captions, "
            "labels, retrieval, backdoor): a folder's own table, without a paper's numbers."
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Argument(
            help="Of the records of a sweep or of jaxadv evaluate; without one, the paper's own "
            "numbers."
        ),
    ] = None,
    format: Annotated[str, typer.Option(help="text, markdown, latex, csv or json.")] = "text",
    out: Annotated[Path | None, typer.Option(help="File to write instead of printing.")] = None,
    victim: Annotated[
        list[str] | None,
        typer.Option(help="Victims, instead of those named like the paper's; repeatable."),
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="PNG file for the table's curve.")] = None,
    curve: Annotated[
        str | None,
        typer.Option(
            help="location, steps, frontier, precision-recall, precision-at, or a setting such as "
            "tradeoff or iterations."
        ),
    ] = None,
) -> None:
    """Print a paper's table from the records of a sweep, with the paper's own numbers."""
    from jaxadv.cli.inputs import writable_file
    from jaxadv.errors import InputError
    from jaxadv.experiments import store
    from jaxadv.experiments.curves import panels_of
    from jaxadv.experiments.environment import command_line
    from jaxadv.experiments.families import FAMILIES
    from jaxadv.experiments.paper_tables import paper_table, paper_tables
    from jaxadv.experiments.record_tables import own_tables, table_of
    from jaxadv.experiments.table_formats import FORMATS, as_record
    from jaxadv.experiments.tables import Table, papers_own
    from jaxadv.formats.errors import quoted
    from jaxadv.formats.files import write_text
    from jaxadv.reports.curves import draw
    from jaxadv.reports.files import save

    if format not in (known := (*FORMATS, "json")):
        raise InputError(f"--format {quoted(format)}: must be one of {', '.join(known)}")
    if folder is None and (picture or victim):
        raise InputError("--picture and --victim: give the folder of a sweep")
    if curve is not None and picture is None:
        raise InputError("--curve: give the file for it, --picture")
    many: list[Table] = []
    if name in FAMILIES:
        if folder is None or picture or victim:
            raise InputError(f"table {name}: give a folder, and neither --picture nor --victim")
        many = own_tables(name, folder)
    elif name is None:
        every = paper_tables().values()
        rows = tuple((t.name, t.task, t.curve or None, t.caption) for t in every)
        many = [Table("Tables", ("name", "of", "curve", "shows"), rows, ())]
    else:
        paper = paper_table(name)
        many = [papers_own(paper) if folder is None else table_of(paper, folder, victim or ())]
    if format == "json":
        made_with = store.made_with(folder) if folder is not None else {}
        text = as_record(many, made_with, command_line())
    else:
        text = "\n\n".join(map(FORMATS[format], many))
    if out is not None:
        writable_file("--out", out)
        write_text(out, text + "\n")
    if picture is not None and folder is not None and name is not None:
        writable_file("--picture", picture)
        save(draw(panels_of(paper, folder, victim or (), curve)), picture)
    if out is None:
        for line in text.split("\n"):
            console.print(line)
        if format == "csv":
            for line in (line for made in many for line in made.notes):
                note(f"note: {line}")
    else:
        console.print(f"written to {out}")
    if picture is not None:
        note(f"written to {picture}")
