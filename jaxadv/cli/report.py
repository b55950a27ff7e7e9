"""`jaxadv report`: a page of HTML from the folder of a sweep, an evaluation or an attack."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from jaxadv.cli.console import console, note, watch


def report(
    folder: Annotated[
        Path, typer.Argument(help="Of jaxadv sweep, evaluate or attack.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="A folder for the page; open index.html in it.")],
) -> None:
    """Make a page of tables, curves and pictures, for a browser without a network."""
    from jaxadv.cli.inputs import writable
    from jaxadv.reports.page.write import check_page_folder, write_page

    check_page_folder(out)
    writable(out.parent)
    note(f"{folder}: reading ...")
    drawing = partial(watch, title=str(folder), begins="drawing")
    console.print(f"written to {write_page(folder, out, drawing)}")
