"""The data sets of the papers by name: what each is, what it consists of, and who reads it."""

import difflib
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from jaxadv.data.records import DataSet, FolderError
from jaxadv.data.sets import coco, flickr, folders, hashing, iapr_tc12, mirflickr, nus_wide, voc
from jaxadv.data.sets.layout import Download


class Known(NamedTuple):
    """A data set that has a reader of its own.

    Attributes:
      about: what it has, in a line.
      needs: what it consists of.
      read: reads the folder that holds it.
    """

    about: str
    needs: tuple[Download, ...]
    read: Callable[[Path], DataSet]


def _hashing(name: str, about: str) -> Known:
    return Known(about, hashing.needs(name), partial(hashing.read, name=name))


SETS: Mapping[str, Known] = {
    "coco2014": Known(
        "captions, 80 classes, boxes; Karpathy's split; the attacked images",
        coco.needs(2014),
        partial(coco.read_year, year=2014),
    ),
    "coco2017": Known(
        "captions, 80 classes, boxes", coco.needs(2017), partial(coco.read_year, year=2017)
    ),
    "voc2007": Known("20 classes, boxes", voc.needs(2007), partial(voc.read_year, year=2007)),
    "voc2012": Known("20 classes, boxes", voc.needs(2012), partial(voc.read_year, year=2012)),
    "flickr8k": Known(
        "5 captions a picture", flickr.needs("flickr8k"), partial(flickr.read, name="flickr8k")
    ),
    "flickr30k": Known(
        "5 captions a picture", flickr.needs("flickr30k"), partial(flickr.read, name="flickr30k")
    ),
    "nus_wide": Known("81 concepts, 1,000 tags", nus_wide.needs(), nus_wide.read),
    "mirflickr25k": Known("24 labels, 1,386 tags", mirflickr.needs(), mirflickr.read),
    "iapr_tc12": Known("255 concepts, descriptions", iapr_tc12.needs(), iapr_tc12.read),
    "flickr25k_hashing": _hashing("flickr25k_hashing", "the community's FLICKR-25K.mat"),
    "nus_wide_hashing": _hashing("nus_wide_hashing", "the community's nus-wide-tc21-*.mat"),
    "iapr_tc12_hashing": _hashing("iapr_tc12_hashing", "the community's IAPR-TC12.mat, features"),
    "wikipedia": _hashing("wikipedia", "Wikipedia's image-text features, 10 labels"),
}


def read(name: str, folder: Path) -> DataSet:
    """Read a data set from the folder in which its owner's archives are unpacked.

    A name that is not known is that of the user's own set, in any of the layouts of `folders`.

    Raises:
      FolderError: something is missing or broken, or the name is nearly one that is known.
    """
    folders.check_folder(folder)
    if name in SETS:
        return SETS[name].read(folder)
    if re.fullmatch(r"[a-z][a-z0-9_]*", name) is None:
        raise FolderError(f"data set {name!r}: name it in small letters, digits and _")
    near = difflib.get_close_matches(name, SETS, n=1, cutoff=0.85)
    if near:
        raise FolderError(f"data set {name!r}: did you mean {near[0]}?")
    return folders.read(folder)._replace(name=name)
