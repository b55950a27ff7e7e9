"""The frame that boxes are in: of a picture as its file stores it, or turned upright by EXIF.

A camera that was held upright stores its picture lying down, with a tag (EXIF's orientation) that
says how to turn it. Pictures are read upright, and boxes are of the upright picture.
"""

from pathlib import Path
from typing import NamedTuple

from jaxadv.data.example import Box
from jaxadv.data.images import read_header
from jaxadv.formats.values import ValueFault


class Frame(NamedTuple):
    """A picture's width and height as its file stores it, and its EXIF orientation."""

    width: int
    height: int
    orientation: int = 1

    @property
    def stored(self) -> tuple[int, int]:
        """Width and height in the file."""
        return self.width, self.height

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height of the picture that people see."""
        return self.stored[::-1] if self.orientation in (5, 6, 7, 8) else self.stored


def read_frame(path: Path) -> Frame:
    """Read the frame of a picture, whose pixels stay undecoded.

    Raises:
      ImageError: it is no picture.
    """
    return Frame(*read_header(path))


def is_stored(frame: Frame, size: tuple[int, int]) -> bool | None:
    """Whether boxes of a picture of that width and height are in the frame of the file.

    Where both frames have this size, the upright one is meant: it is what annotators see. None
    where neither has it: such boxes are of another picture.

    >>> turned = Frame(96, 64, orientation=6)
    >>> is_stored(turned, (96, 64)), is_stored(turned, (64, 96)), is_stored(turned, (32, 48))
    (True, False, None)
    """
    if size == frame.upright:
        return False
    return True if size == frame.stored else None


def boxes_upright(boxes: list[Box], picture: Path, size: tuple[int, int]) -> list[Box]:
    """Turn the boxes of a picture of that width and height upright, where they are not.

    Raises:
      ImageError: it is no picture.
      ValueFault: neither the stored nor the upright picture has that size.
    """
    frame = read_frame(picture)
    stored = is_stored(frame, size)
    if stored is None:
        raise ValueFault(
            f"of a picture of {size[0]} x {size[1]}, which is {frame.width} x {frame.height}"
        )
    return [turn_upright(box, frame) for box in boxes] if stored else boxes


def turn_upright(box: Box, frame: Frame) -> Box:
    """Turn a box of the stored picture as EXIF's orientation turns the picture.

    >>> turn_upright(Box("cat", 8, 40, 40, 56), Frame(96, 64, orientation=6))
    Box(label='cat', left=8, top=8, right=24, bottom=40)
    """
    width, height = frame.stored
    (left, right), (top, bottom) = (box.left, box.right), (box.top, box.bottom)
    if frame.orientation in (2, 3, 7, 8):
        left, right = width - right, width - left
    if frame.orientation in (3, 4, 6, 7):
        top, bottom = height - bottom, height - top
    if frame.orientation in (5, 6, 7, 8):
        left, top, right, bottom = top, left, bottom, right
    return Box(box.label, left, top, right, bottom)
