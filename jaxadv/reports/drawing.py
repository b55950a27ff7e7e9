"""What the figures share: colours that everyone can tell apart, noise, and texts with marked words.

The colours are those of Okabe and Ito; noise is drawn in orange and purple (ColorBrewer's PuOr),
which colour-blind readers tell apart, too.
"""

import textwrap
from collections.abc import Collection, Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.offsetbox import AnchoredOffsetbox, HPacker, TextArea, VPacker

from jaxadv.formats.errors import printable

BLUE, VERMILLION, GREEN, GREY = "#0072B2", "#D55E00", "#007A5A", "#555555"
NOISE = "noise ×{:g} (orange +, purple −)"


class Line(NamedTuple):
    """A line of text under a picture.

    Attributes:
      name: what it is, such as "target".
      text: what it says.
      colour: of the text.
      marked: places of the words that are bold, and in the colour; the others are then grey.
    """

    name: str
    text: str
    colour: str = GREY
    marked: Collection[int] = ()


def changed_words(before: str, after: str) -> frozenset[int]:
    """Return the places of the words of `after` that `before` does not have there.

    >>> sorted(changed_words("a dog on the grass", "a cat on the green grass"))
    [1, 4]
    """
    words = after.split()
    kept = SequenceMatcher(None, before.split(), words, autojunk=False).get_matching_blocks()
    return frozenset(range(len(words))) - {
        place for block in kept for place in range(block.b, block.b + block.size)
    }


def magnification(noise: np.ndarray) -> float:
    """Return a round factor that makes the noise fill the range."""
    largest = float(np.abs(noise).max())
    if largest == 0:
        return 1.0
    return float(max(1, min(50, np.floor(0.5 / largest))))


def draw_noise(axis: Axes, noise: np.ndarray, factor: float | None = None) -> None:
    """Draw a perturbation's mean over the channels, coloured by its sign, with its magnification.

    Args:
      axis: where.
      noise: f32[H, W, 3].
      factor: by which it is magnified; one that fits it by default.
    """
    colours, times = noise_in_colours(noise, factor)
    draw_picture(axis, colours, NOISE.format(times))


def noise_in_colours(noise: np.ndarray, factor: float | None = None) -> tuple[np.ndarray, float]:
    """Colour a perturbation f32[H, W, 3] by the sign of its mean over the channels.

    Args:
      noise: the perturbation.
      factor: by which it is magnified; one that fits it by default.

    Returns:
      f[H, W, 3] in [0, 1], and the factor.
    """
    mean = noise.mean(axis=-1)
    times = magnification(mean) if factor is None else factor
    colours: np.ndarray = matplotlib.colormaps["PuOr"](np.clip(0.5 - times * mean, 0, 1))
    return colours[..., :3], times


def draw_picture(axis: Axes, picture: np.ndarray, title: str) -> None:
    """Draw a picture without ticks under its title."""
    axis.imshow(np.clip(picture, 0, 1), interpolation="nearest")
    axis.set_title(title, fontsize=9, color=GREY)
    axis.set_axis_off()


def draw_lines(axis: Axes, lines: Sequence[Line], width: int, size: float) -> None:
    """Write lines of text, wrapped, with their marked words.

    Args:
      axis: where; the text begins at its upper left corner.
      lines: the lines.
      width: number of characters of a line.
      size: of the font, in points.
    """
    axis.set_axis_off()
    first = max(len(line.name) for line in lines) + 1
    rows: list[Artist] = []
    for line in lines:
        place = 0
        text = printable(line.text) or "(nothing)"
        wrapped = textwrap.wrap(text, width - first, max_lines=3, placeholder=" …") or [text]
        for number, part in enumerate(wrapped):
            name = f"{line.name}:" if number == 0 else ""
            boxes: list[Artist] = [_text(name.rjust(first), GREY, False, size, "monospace")]
            for word in part.split():
                bold = place in line.marked
                colour = line.colour if bold or not line.marked else GREY
                boxes.append(_text(word, colour, bold, size))
                place += 1
            rows.append(HPacker(children=boxes, align="baseline", pad=0, sep=size / 3))
    packed = VPacker(children=rows, align="left", pad=0, sep=size / 3)
    axis.add_artist(
        AnchoredOffsetbox("upper left", child=packed, frameon=False, pad=0, borderpad=0)
    )


def _text(text: str, colour: str, bold: bool, size: float, family: str = "sans-serif") -> TextArea:
    style = {
        "color": colour,
        "weight": "bold" if bold else "normal",
        "size": size,
        "family": family,
        "parse_math": False,
    }
    return TextArea(text, textprops=style)
