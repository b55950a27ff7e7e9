"""Pairs of a data set's pictures: with its tags, or with the words of its captions."""

from collections import Counter

import numpy as np

from jaxadv.data.pairs import Pairs, PairsError
from jaxadv.data.pipeline import read_pictures
from jaxadv.data.records import DataSet, label_matrix, tag_matrix
from jaxadv.data.vocabulary import tokenize


def caption_tags(data: DataSet, pictures: int = 5) -> DataSet:
    """Give a data set without tags the words of its captions.

    Args:
      data: records with captions.
      pictures: of how many a word must be said to become a tag. Words said of more than a third of
        all, which are those that tie the others together, do not.
    """
    said = [{w for text in r.captions or () for w in tokenize(text)} for r in data.records]
    counts = Counter(word for words in said for word in words)
    most = len(said) / 3
    tags = tuple(sorted(word for word, count in counts.items() if pictures <= count <= most))
    records = (
        record._replace(tags=tuple(tag for tag in tags if tag in words))
        for record, words in zip(data.records, said, strict=True)
    )
    return data._replace(records=tuple(records), tags=tags)


def set_pairs(data: DataSet, side: int) -> Pairs:
    """Make pairs of the records that have a label and a tag, pictures of that side.

    Raises:
      PairsError: there is none.
      ImageError: a picture cannot be read.
    """
    tags, labels = tag_matrix(data), label_matrix(data)
    rows = np.flatnonzero(tags.any(axis=1) & labels.any(axis=1))
    if not len(rows):
        raise PairsError(
            f"{data.name}: none of {len(data.records)} pictures has both a label and a tag"
        )
    pictures = np.empty((len(rows), side, side, 3), np.uint8)
    chosen = [data.records[row] for row in rows]
    for place, picture in enumerate(read_pictures(chosen, (side, side))):
        pictures[place] = np.round(255 * picture)
    return Pairs(pictures, tags[rows], labels[rows], tuple(data.records[row].id for row in rows))
