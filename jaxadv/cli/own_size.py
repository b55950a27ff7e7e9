"""What `jaxadv attack` writes of a photograph at its own size, and what the victim makes of it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from jaxadv.core.attack import Verdict
    from jaxadv.experiments.job import Job

SAME = "same"  # the size of the victim's pictures
NOTE = "own size: the photograph itself changed, saved as NAME.own-size.png and resized again"


class OwnSize(NamedTuple):
    """A photograph at its own size with the smallest change that makes it adversarial.

    Attributes:
      size: width and height, in pixels.
      norm: of the change, ‖·‖₂ over all values.
      verdict: on the picture that was saved, resized as the victim sees it.
    """

    size: tuple[int, int]
    norm: float
    verdict: "Verdict"

    @property
    def columns(self) -> dict[str, Any]:
        """What a record has of it."""
        return {
            "own_size": list(self.size),
            "norm_own_size": self.norm,
            "success_own_size": bool(self.verdict.success),
        }


Judge = Callable[[Path, Path, np.ndarray, Any], OwnSize | None]
"""`(photograph, PNG to write, adversarial picture, target) -> OwnSize`; None of the same size."""


def own_size_judge(job: "Job") -> Judge:
    """Make a function that saves adversarial photographs at their own size and judges them."""
    import jax

    from jaxadv.data.images import read_image, resize, round_8bit, write_png
    from jaxadv.data.own_size import at_own_size

    judge = jax.jit(job.attack.judge)

    def save(photograph: Path, png: Path, adversarial: np.ndarray, target: Any) -> OwnSize | None:
        benign = read_image(photograph)
        if benign.shape == adversarial.shape:
            return None
        saved = round_8bit(at_own_size(benign, adversarial))
        write_png(png, saved)
        height, width = benign.shape[:2]
        seen = resize(saved, (adversarial.shape[0], adversarial.shape[1]))
        norm = float(np.linalg.norm((saved - benign).ravel()))
        return OwnSize((width, height), norm, judge(job.params, seen, target))

    return save


def shown(found: OwnSize | None) -> str:
    """Say in a table whether the victim was fooled at a photograph's own size."""
    from jaxadv.cli.outputs import yes

    return SAME if found is None else yes(bool(found.verdict.success))


def explain(rows: Sequence[Sequence[Any]]) -> None:
    """Print what the last column of a table means, where it means something."""
    from jaxadv.cli.console import note

    if any(row[-1] != SAME for row in rows):
        note(NOTE)
