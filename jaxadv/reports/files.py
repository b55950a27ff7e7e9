"""Writing figures whose texts come from files and from people."""

import warnings
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.text import Text

from jaxadv.errors import InputError
from jaxadv.formats.errors import printable, quoted
from jaxadv.formats.files import replacing

MOST_CHARACTERS = 120
"""Of a line of text: one that has no end would make the figure too large to be drawn."""


def save(figure: Figure, path: Path) -> None:
    """Write a figure in the format that the name ends in, whole or not at all.

    Its texts are drawn as they are: `$`, `_` and a backslash are no formulas, and a character that
    the font lacks is a box. Only the numbers along an axis may be formulas, such as powers of ten.

    Raises:
      InputError: there is no such format.
    """
    check_format(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    scales = {
        id(label)
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for label in axis.get_ticklabels(which="both")
    }
    for text in figure.findobj(Text):
        if isinstance(text, Text) and id(text) not in scales:
            text.set_parse_math(False)
            text.set_text("\n".join(map(one_line, text.get_text().split("\n"))))
    with warnings.catch_warnings(), replacing(path) as scratch:
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        warnings.filterwarnings("ignore", "Matplotlib currently does not support")
        warnings.filterwarnings("ignore", "constrained_layout not applied")  # names too long for it
        figure.savefig(scratch, format=path.suffix[1:].lower(), dpi=110, bbox_inches="tight")


def check_format(path: Path) -> None:
    """Check that figures can be written in the format that a name ends in.

    Raises:
      InputError: there is none such.
    """
    known = Figure().canvas.get_supported_filetypes()
    if path.suffix[1:].lower() not in known:
        raise InputError(
            f"{path}: no format for figures ends in {quoted(path.suffix)}; give a name that ends "
            "in .png"
        )


def one_line(text: str) -> str:
    """Write a text for a figure: on one line that ends, without control codes.

    Nor does it begin with `_`: a legend leaves out what does.
    """
    shown = printable(text)
    shown = shown if len(shown) <= MOST_CHARACTERS else f"{shown[: MOST_CHARACTERS - 1]}…"
    return f" {shown}" if shown.startswith("_") else shown
