"""Scenes: generated pictures of coloured shapes with captions, labels, tags and boxes.

The embedded data set: nothing to download, every example a function of `(seed, index)` alone. A
scene stands on one of six textured grounds and shows one to three objects of two sizes, eight
colours and six shapes (`crowd`: up to twelve). Captions come from a small grammar of several
phrasings a scene, 6 to 14 words long: what stands where, by size, colour, shape, spatial relation
and ground.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from jaxadv.data.example import Box, Example
from jaxadv.vocabulary import Vocabulary

__all__ = [
    "COLOURS",
    "CROWD_SIDE",
    "GROUNDS",
    "HELD_OUT_SEED",
    "LABELS",
    "MAX_WORDS",
    "SHAPES",
    "SIDE",
    "SIZES",
    "TAGS",
    "TRAINING_SEED",
    "crowd",
    "example",
    "examples",
    "vocabulary",
]

SIDE, CROWD_SIDE = 64, 128  # pixels
COLOURS = {
    "red": (0.86, 0.20, 0.20),
    "green": (0.20, 0.68, 0.26),
    "blue": (0.20, 0.34, 0.86),
    "yellow": (0.92, 0.84, 0.22),
    "purple": (0.58, 0.24, 0.72),
    "pink": (0.96, 0.56, 0.74),
    "white": (0.95, 0.95, 0.95),
    "black": (0.10, 0.10, 0.10),
}
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
SIZES = {"small": (6.0, 7.5), "big": (10.5, 13.0)}  # radius in pixels
GROUNDS = ("grass", "sand", "water", "snow", "wall", "floor")
LABELS = tuple(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES)
TAGS = (*SIZES, *COLOURS, *SHAPES, *GROUNDS)
MAX_WORDS = 14
TRAINING_SEED, HELD_OUT_SEED = 0, 1  # the shipped victims were trained on the first
HAZE = 0.15  # black is painted at this brightness, white as far from 1

_GROUND_COLOURS = {
    "grass": (0.46, 0.58, 0.42),
    "sand": (0.74, 0.68, 0.54),
    "water": (0.46, 0.58, 0.66),
    "snow": (0.78, 0.80, 0.84),
    "wall": (0.62, 0.48, 0.44),
    "floor": (0.56, 0.46, 0.36),
}


class Thing(NamedTuple):
    """One object of a scene; centre and radius in pixels, y downwards."""

    size: str
    colour: str
    shape: str
    x: float
    y: float
    radius: float


class Scene(NamedTuple):
    """What a picture shows, before it is painted."""

    ground: str
    things: tuple[Thing, ...]
    side: int


def scene(seed: int, index: int, *, things: tuple[int, int] = (1, 3), side: int = SIDE) -> Scene:
    """Draw scene `index` of the sequence `seed`, with between `things[0]` and `things[1]` objects.

    >>> scene(0, 7) == scene(0, 7)
    True
    """
    rng = np.random.default_rng([seed, index])
    number = _number_of_things(rng, *things)
    ground = GROUNDS[rng.integers(len(GROUNDS))]
    placed: list[Thing] = []
    while len(placed) < number:
        candidate = _thing(rng, side)
        if all(_apart(candidate, other) for other in placed):
            placed.append(candidate)
        elif rng.random() < 0.005:  # a full picture: begin again
            placed.clear()
        if len(placed) == 3 == number and not _in_order(placed):
            placed.clear()
    return Scene(ground, tuple(placed), side)


def _number_of_things(rng: np.random.Generator, least: int, most: int) -> int:
    if (least, most) == (1, 3):  # two objects have the richest relations
        return int(rng.choice(3, p=[0.25, 0.5, 0.25])) + 1
    return int(rng.integers(least, most + 1))


def _thing(rng: np.random.Generator, side: int) -> Thing:
    size = tuple(SIZES)[rng.integers(len(SIZES))]
    radius = float(rng.uniform(*SIZES[size]))
    x, y = rng.uniform(radius + 1, side - radius - 1, size=2)
    colour = tuple(COLOURS)[rng.integers(len(COLOURS))]
    return Thing(size, colour, SHAPES[rng.integers(len(SHAPES))], float(x), float(y), radius)


def _apart(a: Thing, b: Thing) -> bool:
    """Whether two objects neither touch nor stand so diagonally that their relation is unclear."""
    dx, dy = abs(a.x - b.x), abs(a.y - b.y)
    clear = max(dx, dy) > 1.35 * min(dx, dy)
    return clear and max(dx, dy) > 0.9 * (a.radius + b.radius) + 2


def _wide(things: Sequence[Thing]) -> bool:
    """Whether objects are listed from left to right, not from top to bottom."""
    return bool(np.ptp([t.x for t in things]) >= np.ptp([t.y for t in things]))


def _in_order(things: Sequence[Thing]) -> bool:
    """Whether the order in which objects are listed is plain to see."""
    along = sorted(t.x if _wide(things) else t.y for t in things)
    return bool(np.diff(along).min() > 8)


# ---------------------------------------------------------------- painting


def _regular_star(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    angle = np.arctan2(x, -y)
    folded = np.abs((angle / (2 * np.pi / 5) + 0.5) % 1 - 0.5) * 2  # 0 at a tip, 1 between two
    return np.hypot(x, y) - (1.0 - 0.58 * folded)


_OUTLINES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    # signed distance-like functions on the unit disc: negative inside
    "circle": lambda x, y: np.hypot(x, y) - 0.95,
    "square": lambda x, y: np.maximum(np.abs(x), np.abs(y)) - 0.8,
    "triangle": lambda x, y: np.maximum(y - 0.7, 0.9 * np.abs(x) - 0.5 * (y + 1.0)),
    "star": _regular_star,
    "cross": lambda x, y: np.minimum(
        np.maximum(np.abs(x) - 0.3, np.abs(y) - 0.95), np.maximum(np.abs(y) - 0.3, np.abs(x) - 0.95)
    ),
    "ring": lambda x, y: np.abs(np.hypot(x, y) - 0.7) - 0.25,
}


def paint(what: Scene, rng: np.random.Generator) -> np.ndarray:
    """Paint a scene; f32[side, side, 3] in [0, 1].

    Colours, light and texture vary from picture to picture; edges are soft, and a haze lies over
    everything.
    """
    side = what.side
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) + 0.5
    picture = _ground(what.ground, x, y, rng)
    for thing in what.things:
        distance = _OUTLINES[thing.shape](
            (x - thing.x) / thing.radius, (y - thing.y) / thing.radius
        )
        cover = np.clip(0.5 - distance * thing.radius, 0, 1)[..., None] * 0.92
        colour = np.asarray(COLOURS[thing.colour]) + rng.normal(0, 0.03, size=3)
        picture = picture * (1 - cover) + cover * colour
    light = 1 + rng.uniform(-0.08, 0.08)
    picture = picture * light + rng.normal(0, 0.01, size=picture.shape)
    hazy = HAZE + (1 - 2 * HAZE) * picture
    return np.clip(hazy, 0, 1).astype(np.float32)


def _ground(name: str, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    base = np.asarray(_GROUND_COLOURS[name]) + rng.normal(0, 0.02, size=3)
    phase, pitch = rng.uniform(0, 2 * np.pi), rng.uniform(0.85, 1.15)
    if name == "grass":
        texture = np.sin(1.9 * pitch * x + 2 * np.sin(0.35 * y + phase))
    elif name == "sand":
        texture = rng.normal(0, 0.8, size=x.shape)
    elif name == "water":
        texture = np.sin(0.75 * pitch * y + 1.5 * np.sin(0.22 * x + phase))
    elif name == "snow":
        texture = np.sin(0.17 * pitch * (x + y) + phase) + rng.normal(0, 0.3, size=x.shape)
    elif name == "wall":
        row = np.floor(y / (8 * pitch))
        joint = ((y / (8 * pitch)) % 1 < 0.18) | ((x / (14 * pitch) + 0.5 * (row % 2)) % 1 < 0.1)
        texture = np.where(joint, 1.6, -0.3)
    else:
        texture = np.where((x / (11 * pitch) + phase) % 1 < 0.1, -1.8, 0.3) + 0.5 * np.sin(
            0.9 * y + 3 * np.floor(x / (11 * pitch) + phase)
        )
    return np.asarray(base + 0.05 * texture[..., None])


# ---------------------------------------------------------------- captions


def _noun(thing: Thing, sized: bool) -> str:
    return f"a {thing.size + ' ' if sized else ''}{thing.colour} {thing.shape}"


def _place(thing: Thing, side: int) -> str:
    column = "left" if thing.x < side * 0.4 else "right" if thing.x > side * 0.6 else ""
    row = "top" if thing.y < side * 0.4 else "bottom" if thing.y > side * 0.6 else ""
    if row and column:
        return f"in the {row} {column} corner"
    if row:
        return f"at the {row}"
    return f"on the {column}" if column else "in the middle"


def relation(a: Thing, b: Thing) -> str:
    """Say where `a` stands as seen from `b`, along the axis on which they are further apart."""
    if abs(a.y - b.y) > abs(a.x - b.x):
        return "above" if a.y < b.y else "below"
    return "to the left of" if a.x < b.x else "to the right of"


def describe(what: Scene) -> tuple[str, ...]:
    """Say what a scene of one to three objects shows, in several phrasings, commonest first.

    >>> describe(scene(0, 1))[0]
    'from left to right a black ring a purple cross and a black cross'
    """
    ground = f"on the {what.ground}"
    if len(what.things) == 1:
        (a,) = what.things
        place = _place(a, what.side)
        return (
            f"{_noun(a, True)} is {place} {ground}",
            f"there is {_noun(a, False)} {place}",
            f"{_noun(a, False)} {ground}",
        )
    if len(what.things) == 2:
        # the subject is the bigger object, else the upper or left one
        a, b = sorted(what.things, key=lambda t: (t.size != "big", t.y + t.x))
        where = relation(a, b)
        return (
            f"{_noun(a, True)} is {where} {_noun(b, True)}",
            f"{_noun(a, False)} is {where} {_noun(b, False)} {ground}",
            f"there is {_noun(a, True)} {where} {_noun(b, False)}",
        )
    if len(what.things) != 3:
        raise ValueError(f"a scene of {len(what.things)} objects has labels but no captions")
    wide = _wide(what.things)
    a, b, c = sorted(what.things, key=lambda t: t.x if wide else t.y)
    order = "from left to right" if wide else "from top to bottom"
    nouns = f"{_noun(a, False)} {_noun(b, False)} and {_noun(c, False)}"
    return (f"{order} {nouns}", f"{nouns} {ground}", f"{nouns} {order}")


def vocabulary() -> Vocabulary:
    """Return every word that the grammar can say."""
    fixed = "a is there and the of to in on at from above below left right top bottom middle corner"
    return Vocabulary(tuple(sorted({*fixed.split(), *TAGS})))


# ---------------------------------------------------------------- examples


def example(
    seed: int, index: int, *, things: tuple[int, int] = (1, 3), side: int = SIDE
) -> Example:
    """Make example `index` of the sequence `seed`: picture, captions, labels, tags and boxes.

    >>> example(0, 3).picture.shape
    (64, 64, 3)
    """
    what = scene(seed, index, things=things, side=side)
    picture = paint(what, np.random.default_rng([seed, index, 1]))
    present = {f"{t.colour} {t.shape}" for t in what.things}
    words = {what.ground, *(w for t in what.things for w in (t.size, t.colour, t.shape))}
    return Example(
        id=f"scene-{seed}-{index}",
        picture=picture,
        captions=describe(what) if len(what.things) <= 3 else None,
        labels=np.array([label in present for label in LABELS]),
        tags=np.array([tag in words for tag in TAGS]),
        boxes=tuple(
            Box(
                f"{t.colour} {t.shape}",
                t.x - t.radius,
                t.y - t.radius,
                t.x + t.radius,
                t.y + t.radius,
            )
            for t in what.things
        ),
    )


def crowd(seed: int, index: int) -> Example:
    """Make an example for taggers: 4 to 12 objects on a larger picture, 7.6 labels on average.

    >>> crowd(0, 3).picture.shape
    (128, 128, 3)
    """
    return example(seed, index, things=(4, 12), side=CROWD_SIDE)


def examples(seed: int, count: int, start: int = 0) -> Iterator[Example]:
    """Make `count` examples from number `start` on."""
    return (example(seed, index) for index in range(start, start + count))
