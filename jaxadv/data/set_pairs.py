"""Pairs of a data set's pictures: with its tags, the words of its captions, or a caption."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from jaxadv.data.pairs import Pairs, PairsError, Read
from jaxadv.data.pipeline import read_pictures
from jaxadv.data.records import DataSet, Record, label_matrix, load, tag_matrix
from jaxadv.vocabulary import tokenize


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
    return tag_by_captions(data, tags)


def tag_by_captions(data: DataSet, tags: tuple[str, ...]) -> DataSet:
    """Give each record those of the tags that its captions say."""
    said = [{w for text in r.captions or () for w in tokenize(text)} for r in data.records]
    records = (
        record._replace(tags=tuple(tag for tag in tags if tag in words))
        for record, words in zip(data.records, said, strict=True)
    )
    return data._replace(records=tuple(records), tags=tags)


def label_by_captions(
    data: DataSet, words: Mapping[str, Sequence[str]], captions: int = 2
) -> DataSet:
    """Label pictures by what their captions say; for data sets without labels.

    Args:
      data: records with captions.
      words: the words of each label, such as `{"dog": ["dog", "dogs", "puppy"]}`.
      captions: in how many captions of a picture a label's words must occur.

    Returns:
      The records that have a label, with these labels alone.

    Raises:
      PairsError: none has one.
    """
    kept = []
    for record in data.records:
        said = [set(tokenize(text)) for text in record.captions or ()]
        labels = tuple(
            label
            for label, own in words.items()
            if sum(not texts.isdisjoint(own) for texts in said) >= captions
        )
        if labels:
            kept.append(record._replace(labels=labels))
    if not kept:
        raise PairsError(
            f"{data.name}: no picture has {captions} captions that say a word of the labels "
            f"{', '.join(words)}"
        )
    return data._replace(records=tuple(kept), classes=tuple(words))


def set_pairs(data: DataSet, image_shape: tuple[int, ...], read: Read | None = None) -> Pairs:
    """Make pairs of the records that have a label and a text.

    Args:
      data: records with labels and tags.
      image_shape: (H, W, 3) that pictures are resized to, or (d,) where features are published.
      read: reads a record's first caption, or its tags where it has none; without, a text is the
        bag of its tags.

    Raises:
      PairsError: there is none, or the data has pictures where features are wanted, or the other
        way round, or features of another width or outside [0, 1].
      ImageError: a picture cannot be read.
    """
    labels = label_matrix(data)
    tags = tag_matrix(data)
    captions = [(record.captions or ("",))[0] for record in data.records]
    has_text = tags.any(axis=1) | ((read is not None) & (np.array(captions) != ""))
    rows = np.flatnonzero(has_text & labels.any(axis=1))
    if not len(rows):
        what = "a tag" if read is None else "a text"
        raise PairsError(
            f"{data.name}: none of {len(data.records)} pictures has both a label and {what}"
        )
    chosen = [data.records[row] for row in rows]
    if (width := feature_width(data)) != (image_shape[0] if len(image_shape) == 1 else None):
        raise PairsError(
            f"{data.name} has {_what(width)}, the hasher takes "
            f"{_what(image_shape[0] if len(image_shape) == 1 else None)}"
        )
    pictures = _pictures(chosen, image_shape) if width is None else _features(data.name, chosen)
    if read is None:
        texts = tags[rows]
    else:
        names = np.array(data.tags or (), str)
        texts = np.stack([read(captions[row] or " ".join(names[tags[row] > 0])) for row in rows])
    ids = tuple(record.id for record in chosen)
    return Pairs(pictures, texts, labels[rows], ids, data.classes or ())


def feature_width(data: DataSet) -> int | None:
    """Return how many features a set publishes of each picture; None if it has the pictures."""
    first = data.records[0].picture
    return len(first) if isinstance(first, np.ndarray) and first.ndim == 1 else None


def _what(width: int | None) -> str:
    return "pictures" if width is None else f"{width} features a picture"


def _pictures(records: list[Record], image_shape: tuple[int, ...]) -> np.ndarray:
    pictures = np.empty((len(records), *image_shape), np.uint8)
    for place, picture in enumerate(read_pictures(records, (image_shape[0], image_shape[1]))):
        pictures[place] = np.round(255 * picture)
    return pictures


def _features(name: str, records: list[Record]) -> np.ndarray:
    each = [load(record) for record in records]
    if shapes := {feature.shape for feature in each} - {each[0].shape}:
        raise PairsError(f"{name}: features of shapes {each[0].shape} and {min(shapes)}")
    features = np.stack(each).astype(np.float32)
    if not ((features >= 0) & (features <= 1)).all():
        least, most = features.min(), features.max()
        raise PairsError(f"{name}: features from {least:g} to {most:g}; must be in [0, 1]")
    return features
