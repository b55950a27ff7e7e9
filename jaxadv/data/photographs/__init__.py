"""Photographs that are shipped: thirteen in the public domain, with captions written for them.

They are what the demo, the README and the notebooks attack. No victim was trained on them. `ABOUT`
says of each where it is from; all were cropped to squares and reduced to at most 320 pixels.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from jaxadv.data.example import Example
from jaxadv.data.images import read_image, resize
from jaxadv.errors import InputError

__all__ = ["ABOUT", "NAMES", "SENTENCES", "SIDE", "example", "examples", "path"]

SIDE = 224  # pixels, as the shipped victims of photographs take them
_FOLDER = Path(__file__).parent


class About(NamedTuple):
    """What is known of a photograph.

    Attributes:
      caption: what it shows, in this project's words.
      labels: the classes of COCO that it shows.
      source: who took it, and where it was found.
      licence: why it may be shipped.
    """

    caption: str
    labels: tuple[str, ...]
    source: str
    licence: str


_NASA = "public domain (NASA)"
_STDLIB = "public domain; npm package @stdlib/datasets-img-"
_GCOMPRIS = "Wikimedia Commons, by way of Debian's gcompris-qt-data 3.1: File:"

ABOUT: dict[str, About] = {
    "astronaut": About(
        "a smiling woman in an orange suit holds a helmet",
        ("person",),
        "NASA, Eileen Collins; scikit-image, skimage.data.astronaut",
        _NASA,
    ),
    "cat": About(
        "the face of a brown cat",
        ("cat",),
        "Stéfan van der Walt, Chelsea; scikit-image, skimage.data.cat",
        "CC0",
    ),
    "coffee": About(
        "a red cup of coffee with a spoon on a wooden table",
        ("cup", "spoon", "dining table"),
        "Rachel Michetti, Pikolo Espresso Bar; scikit-image, skimage.data.coffee",
        "CC0",
    ),
    "rocket": About(
        "a white rocket stands between two towers at night",
        (),
        "SpaceX, launch of DSCOVR; scikit-image, skimage.data.rocket",
        "CC0",
    ),
    "officer": About(
        "an old woman in a black uniform in front of a flag",
        ("person", "tie"),
        "James S. Davis, Grace Hopper; matplotlib, sample_data/grace_hopper.jpg",
        "public domain (United States Navy)",
    ),
    "moose": About(
        "a moose with large antlers lies in the grass",
        (),
        "Ryan Hagerty, U.S. Fish and Wildlife Service; " + _GCOMPRIS + "Male_Moose.jpg",
        "public domain",
    ),
    "windmill": About(
        "an old windmill in front of a blue sky",
        (),
        _GCOMPRIS + "Chesterton_Windmill.jpg",
        "public domain",
    ),
    "igloo": About(
        "a white house of snow with a wooden box",
        (),
        _GCOMPRIS + "Igloo.jpg",
        "public domain",
    ),
    "volleyball": About(
        "a blue and yellow ball",
        ("sports ball",),
        _GCOMPRIS + "Volleyball.jpg",
        "public domain",
    ),
    "farm": About(
        "a wooden house stands alone in a field",
        (),
        "Dorothea Lange, a home of the Dust Bowl",
        _STDLIB + "dust-bowl-home",
    ),
    "boats": About(
        "boats on the water in front of a village",
        ("boat",),
        "Felice Beato, boats in Nagasaki",
        _STDLIB + "nagasaki-boats",
    ),
    "aeroplane": About(
        "an old airplane seen from above",
        ("airplane",),
        "an aeroplane of the First World War from above",
        _STDLIB + "airplane-from-above",
    ),
    "sheep": About(
        "sheep and a lamb in a field",
        ("sheep",),
        "a pastoral in March",
        _STDLIB + "march-pastoral",
    ),
}
NAMES = tuple(ABOUT)


def example(name: str, side: int = SIDE) -> Example:
    """Read a photograph.

    Args:
      name: one of `NAMES`.
      side: its height and width, in pixels.

    Returns:
      The picture f32[side, side, 3] in [0, 1], with its caption.

    Raises:
      InputError: there is none of that name.

    >>> from jaxadv.data import photographs
    >>> cat = photographs.example("cat")
    >>> cat.picture.shape, cat.captions
    ((224, 224, 3), ('the face of a brown cat',))
    """
    picture = resize(read_image(path(name)), (side, side))
    return Example(name, picture, captions=(ABOUT[name].caption,))


def path(name: str) -> Path:
    """Return where a photograph is.

    Raises:
      InputError: there is none of that name.
    """
    if name not in ABOUT:
        raise InputError(f"no photograph {name!r}: there are {', '.join(NAMES)}")
    return _FOLDER / f"{name}.jpg"


def examples(side: int = SIDE) -> Iterator[Example]:
    """Read all photographs, in the order of `NAMES`."""
    return (example(name, side) for name in NAMES)


SENTENCES = (
    "a black dog runs through the grass",
    "two dogs play with a ball in a field",
    "a brown dog swims in the water",
    "a white dog runs in the snow",
    "a small dog jumps over a log",
    "a dog shakes off the water on a beach",
    "a man rides a bike down a street",
    "a man climbs a steep rock",
    "a man in a red shirt stands on a mountain",
    "a man sits on a bench and reads",
    "a man surfs a large wave",
    "a man plays a guitar on the street",
    "two men play basketball",
    "a woman in a black dress smiles",
    "a woman walks along the beach",
    "two women sit at a table",
    "a woman holds a cup of coffee",
    "a girl in a pink dress dances",
    "a girl rides a horse",
    "a woman stands in front of a building",
    "a boy jumps into a pool",
    "a boy kicks a soccer ball",
    "children play in the sand",
    "a child slides down a red slide",
    "a little boy sits in the snow",
    "a baby plays with a toy",
    "a group of people walk across a street",
    "a crowd of people watch a game",
    "people sit on a beach near the water",
    "a group of people ski down a hill",
    "a boat on a lake",
    "waves on a sandy beach",
    "a car drives down a dirt road",
    "a bus on a city street",
    "a motorcycle racer takes a turn",
    "a plate of food on a table",
    "a pizza and a cake in a kitchen",
    "a baseball player throws the ball",
    "a tennis player hits a ball",
    "snow on a high mountain",
)
"""Texts that a picture can be asked for, in this project's words; the demo's database."""
