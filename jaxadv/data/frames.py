"""The two frames of a picture: as its file stores it, and upright, as its EXIF tag turns it.

Pictures and boxes are upright everywhere in the library; only files have the other frame.
"""

from typing import NamedTuple

import numpy as np

from jaxadv.data.example import Box


class Frame(NamedTuple):
    """What a picture's header says.

    Attributes:
      width: of the picture as it is stored.
      height: of the picture as it is stored.
      orientation: EXIF's, 1 to 8; 1 is upright already.
    """

    width: int
    height: int
    orientation: int = 1

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height of the upright picture."""
        return (self.height, self.width) if self._turned else (self.width, self.height)

    @property
    def _turned(self) -> bool:
        return self.orientation >= 5

    @property
    def _flipped(self) -> tuple[bool, bool]:
        """Whether it is flipped left to right, and top to bottom, before it is turned."""
        return self.orientation in (2, 3, 7, 8), self.orientation in (3, 4, 6, 7)

    def turn(self, box: Box) -> Box:
        """Give the upright picture's box for one of the picture as it is stored.

        >>> Frame(96, 64, 6).turn(Box("dog", 8, 40, 40, 56))
        Box(label='dog', left=8, top=8, right=24, bottom=40)
        """
        label, left, top, right, bottom = box
        across, down = self._flipped
        if across:
            left, right = self.width - right, self.width - left
        if down:
            top, bottom = self.height - bottom, self.height - top
        if self._turned:
            return Box(label, top, left, bottom, right)
        return Box(label, left, top, right, bottom)

    def stored(self, upright: np.ndarray) -> np.ndarray:
        """View an upright picture as it is stored; what is written to the view turns upright."""
        across, down = self._flipped
        stored = upright.swapaxes(0, 1) if self._turned else upright
        return stored[:: -1 if down else 1, :: -1 if across else 1]
