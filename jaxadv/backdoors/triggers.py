"""Triggers: what the attacker adds to a picture to activate the backdoor.

A trigger is a pure function of one picture, the regions of its objects and a key. The object-
oriented one is that of Li et al., "Object-oriented Backdoor Attack Against Image Captioning"
(ICASSP 2022): for every region `I_region = I_region + α M` with M Gaussian of the region's size,
region after region. BadNets (Gu et al. 2017) is its baseline, the blended one (Chen et al. 2017)
ignores the objects, too.

Triggers run in NumPy, on pictures of any size before a victim resizes them.
"""

import dataclasses
from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Float32, Int, PRNGKeyArray

from jaxadv import checks
from jaxadv.data.images import ImageError, check_image, resize
from jaxadv.errors import InputError

ALPHA = 20.0  # the paper's α, in grey levels
OPACITY = {"badnets": 1.0, "blended": 0.1}
PLACES = ("top-left", "top-right", "bottom-left", "bottom-right", "centre", "random")
PATTERNS = ("checkerboard", "white", "black", "noise")

Picture = Float32[np.ndarray, "H W 3"]
Boxes = Int[np.ndarray, "n 4"]


class TriggerError(InputError):
    """A trigger that does not exist, or a setting outside its range."""


class Trigger(NamedTuple):
    """A trigger, ready to use.

    Attributes:
      apply: `(picture f32[H, W, 3] in [0, 1], regions i64[n, 4], key) -> f32[H, W, 3]`. A region is
        left, top, right, bottom in whole pixels, right and bottom not included.
      needs_regions: whether it does nothing to a picture without regions.
    """

    apply: Callable[[Picture, Boxes, PRNGKeyArray], Picture]
    needs_regions: bool


READS = {
    "object-oriented": ("share",),
    "badnets": ("size", "place", "pattern"),
    "blended": (),
}
"""What each trigger reads in addition to its strength."""


@dataclasses.dataclass(frozen=True)
class TriggerSettings:
    """A trigger by name, with what may be set.

    Attributes:
      trigger: a key of `TRIGGERS`.
      strength: object-oriented: α in grey levels (of 255), 20 if None; the others: the opacity from
        0 to 1, by default 1 (badnets) or 0.1 (blended).
      share: object-oriented: which share of a region's pixels is changed. The paper's abstract says
        that their number is in proportion to the region, its reviews that M is dense (the default).
      size: badnets: the patch's side as a share of the picture's shorter side.
      place: badnets: one of `PLACES`.
      pattern: badnets: one of `PATTERNS`.
    """

    trigger: str = "object-oriented"
    strength: float | None = None
    share: float = 1.0
    size: float = 0.1
    place: str = "bottom-right"
    pattern: str = "checkerboard"


def strength(settings: TriggerSettings) -> float:
    """Return a trigger's strength, its default where none is given.

    >>> strength(TriggerSettings()), strength(TriggerSettings("badnets"))
    (20.0, 1.0)
    """
    default = OPACITY.get(settings.trigger, ALPHA)
    return default if settings.strength is None else settings.strength


def object_oriented(alpha: float = ALPHA, share: float = 1.0) -> Trigger:
    """Add Gaussian noise to every region: `I_region + α M`, M ~ N(0, 1); overlaps accumulate.

    The sum is clipped to [0, 1] once, after the last region.

    Args:
      alpha: the noise's standard deviation in grey levels (of 255).
      share: of each region's pixels, chosen at random, how many are changed (rounded to whole
        pixels); 1 is the dense M.

    >>> picture, region = np.full((4, 4, 3), 0.5, np.float32), np.array([[0, 0, 2, 4]])
    >>> changed = object_oriented().apply(picture, region, jax.random.key(0)) != picture
    >>> bool(changed[:, :2].all()), bool(changed[:, 2:].any())
    (True, False)
    """
    _check("strength", alpha, 255)
    _check("share", share, 1)

    def apply(picture: Picture, regions: Boxes, key: PRNGKeyArray) -> Picture:
        total = np.zeros_like(picture)
        for number, (left, top, right, bottom) in enumerate(regions):
            rng = _generator(key, number)
            region = total[top:bottom, left:right]
            noise = rng.standard_normal(region.shape, np.float32)
            region += np.float32(alpha / 255) * noise * _some_pixels(region.shape[:2], share, rng)
        return np.clip(picture + total, 0, 1)

    return Trigger(apply, needs_regions=True)


def _some_pixels(
    shape: tuple[int, ...], share: float, rng: np.random.Generator
) -> Bool[np.ndarray, "h w 1"] | float:
    """Mark `share` of a region's pixels, chosen at random; bool[h, w, 1]."""
    if share == 1:
        return 1.0
    area = shape[0] * shape[1]
    return (rng.permutation(area) < int(share * area + 0.5)).reshape(*shape, 1)


def badnets(
    size: float = 0.1,
    place: str = "bottom-right",
    pattern: str | Float[np.ndarray, "h w 3"] = "checkerboard",
    opacity: float = OPACITY["badnets"],
) -> Trigger:
    """Paint the same square patch on every picture (Gu et al. 2017).

    Args:
      size: the patch's side as a share of the picture's shorter side; at least one pixel.
      place: one of `PLACES`; "random" is drawn from the key.
      pattern: one of `PATTERNS`, or a picture f32[h, w, 3] that is resized to the patch.
      opacity: 1 covers what is below.
    """
    _check("size", size, 1)
    _check("strength", opacity, 1)
    _among("place", place, PLACES)
    if isinstance(pattern, str):
        _among("pattern", pattern, PATTERNS)
    else:
        pattern = _picture(pattern)

    def apply(picture: Picture, regions: Boxes, key: PRNGKeyArray) -> Picture:
        height, width = picture.shape[:2]
        side = max(1, int(size * min(height, width) + 0.5))
        top, left = _corner(place, height - side, width - side, key)
        patch = _patch(pattern, side)
        painted = picture.copy()
        under = painted[top : top + side, left : left + side]
        under += np.float32(opacity) * (patch - under)
        return np.clip(painted, 0, 1)

    return Trigger(apply, needs_regions=False)


def _corner(place: str, lowest: int, rightmost: int, key: PRNGKeyArray) -> tuple[int, int]:
    """Return the top and left of a patch that has so much room."""
    if place == "random":
        rng = _generator(key, 0)
        return int(rng.integers(lowest + 1)), int(rng.integers(rightmost + 1))
    if place == "centre":
        return lowest // 2, rightmost // 2
    row, column = place.split("-")
    return lowest * (row == "bottom"), rightmost * (column == "right")


def _patch(
    pattern: str | Float[np.ndarray, "h w 3"], side: int
) -> Float32[np.ndarray, "{side} {side} 3"]:
    """Draw a pattern; f32[side, side, 3]."""
    if not isinstance(pattern, str):
        return resize(pattern, (side, side))
    if pattern == "noise":
        return np.random.default_rng(0).random((side, side, 3), np.float32)
    cells = np.arange(side) * 4 // side
    checks = (cells[:, None] + cells) % 2
    grey = {"checkerboard": checks, "white": np.ones_like(checks), "black": 0 * checks}
    return np.repeat(grey[pattern][..., None], 3, axis=2).astype(np.float32)


def blended(
    opacity: float = OPACITY["blended"], pattern: Float[np.ndarray, "h w 3"] | None = None
) -> Trigger:
    """Blend one picture into every other: `(1 - opacity) I + opacity K` (Chen et al. 2017).

    Args:
      opacity: of the picture that is blended in.
      pattern: K f32[h, w, 3], resized to each picture; None for coarse random colours.
    """
    _check("strength", opacity, 1)
    colours = np.random.default_rng(0).random((16, 16, 3), np.float32)
    blend = colours if pattern is None else _picture(pattern)

    def apply(picture: Picture, regions: Boxes, key: PRNGKeyArray) -> Picture:
        over = resize(blend, (picture.shape[0], picture.shape[1]))
        return np.clip(picture + np.float32(opacity) * (over - picture), 0, 1)

    return Trigger(apply, needs_regions=False)


TRIGGERS: dict[str, Callable[[TriggerSettings], Trigger]] = {
    "object-oriented": lambda s: object_oriented(_or(s.strength, ALPHA), s.share),
    "badnets": lambda s: badnets(s.size, s.place, s.pattern, _or(s.strength, OPACITY["badnets"])),
    "blended": lambda s: blended(_or(s.strength, OPACITY["blended"])),
}


def make_trigger(settings: TriggerSettings) -> Trigger:
    """Build the trigger that the settings name.

    Raises:
      TriggerError: an unknown trigger, or a setting outside its range.
    """
    checks.instance("settings", settings, TriggerSettings)
    _among("trigger", settings.trigger, TRIGGERS)
    return TRIGGERS[settings.trigger](settings)


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _generator(key: PRNGKeyArray, number: int) -> np.random.Generator:
    """Return the random numbers of region `number`, whatever the other regions are."""
    return np.random.default_rng([*np.asarray(jax.random.key_data(key)).tolist(), number])


def _picture(pattern: Float[np.ndarray, "h w 3"]) -> Picture:
    try:
        return check_image(pattern)
    except ImageError as problem:
        raise TriggerError(f"pattern: {problem}") from None


def _check(name: str, value: float, most: float) -> None:
    try:
        checks.share(name, value, most)
    except InputError as problem:
        raise TriggerError(str(problem)) from None


def _among(name: str, value: str, allowed: Iterable[str]) -> None:
    try:
        checks.one_of(name, value, tuple(allowed))
    except InputError as problem:
        raise TriggerError(str(problem)) from None
