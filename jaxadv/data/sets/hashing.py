"""Image-text pairs in the `.mat` and `.h5` files that the hashing community passes around.

Recognised by the names of the arrays, whichever files of the folder they are in:

- DCMH's: `images` or `IAll` (pixels) or `XAll` (features), `YAll` (tags), `LAll` (labels), as in
  `FLICKR-25K.mat` and `nus-wide-tc21-iall.mat`, `-yall.mat`, `-lall.mat`;
- in two halves: `VDatabase`, `YDatabase`, `databaseL` and `VTest`, `YTest`, `testL`, as in
  `IAPR-TC12.mat`;
- `I_tr`, `T_tr`, `L_tr` and `I_te`, `T_te`, `L_te`, as in `wikiData.mat`;
- CMLA's `Img.h5`, `Tag.h5`, `Lab.h5`: `ImgQuery`, `ImgTrain`, `ImgDataBase` (paths of pictures),
  `TagQuery` ..., `LabQuery` ...

Such files name neither classes nor words: both are called by their numbers. Pixels are read from
the file when they are wanted, a block of rows at a time, as they are larger than most memories.
"""

import os
import threading
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxadv.data.images import Stored
from jaxadv.data.records import DataSet, FolderError, Picture, Record
from jaxadv.data.sets.layout import Download, list_folder, make, shown
from jaxadv.formats import hdf5
from jaxadv.formats.errors import PortingError, listed
from jaxadv.formats.matlab import read_mat

SOURCE = "https://github.com/jiangqy/DCMH-CVPR2017 (README)"
DIVISIONS = {20_015: (2_000, 10_000), 195_834: (2_100, 10_500), 190_421: (2_100, 10_500)}
EXPECTED = {
    "flickr25k_hashing": {
        "all": 20_015, "query": 2_000, "database": 18_015, "training": 10_000, "classes": 24,
        "tags": 1_386,
    },
    "nus_wide_hashing": {"all": 190_421, "query": 2_100, "training": 10_500, "classes": 21,
                         "tags": 1_000},
    "iapr_tc12_hashing": {"all": 20_000, "classes": 255, "tags": 2_912},
    "wikipedia": {"all": 2_866, "train": 2_173, "test": 693, "classes": 10, "tags": 10},
}  # fmt: skip
_FILES = {
    "flickr25k_hashing": ("FLICKR-25K.mat",),
    "nus_wide_hashing": ("nus-wide-tc21-iall.mat", "nus-wide-tc21-yall.mat",
                         "nus-wide-tc21-lall.mat"),
    "iapr_tc12_hashing": ("IAPR-TC12.mat",),
    "wikipedia": ("wikiData.mat",),
}  # fmt: skip
_BLOCK = 64
MOST_LABELS = 100_000
_SPLITS = (("train", "I_tr", "T_tr", "L_tr"), ("test", "I_te", "T_te", "L_te"))
_HALVES = (
    ("database", "VDatabase", "YDatabase", "databaseL"),
    ("query", "VTest", "YTest", "testL"),
)
_CMLA = tuple((part.lower(), f"Img{part}", f"Tag{part}", f"Lab{part}")
              for part in ("Query", "Train", "DataBase"))  # fmt: skip


class Rows(NamedTuple):
    """The pictures, or their features, of one array: how many, and each when it is wanted."""

    total: int
    get: Callable[[int], Picture]


def needs(name: str) -> tuple[Download, ...]:
    """List what a set consists of."""
    return tuple(Download(file, file, SOURCE) for file in _FILES[name])


def files(folder: Path) -> list[Path]:
    """List the `.mat` and `.h5` files of a folder."""
    return [path for path in list_folder(folder) if path.suffix in (".mat", ".h5")]


def read(folder: Path, name: str) -> DataSet:
    """Read the pairs of a folder.

    DCMH's files are not divided; selections `query`, `database` and `training` are the first pairs,
    those behind them, and the first of these, as the community's own code has it.

    Raises:
      FolderError: files are missing or broken, or of different numbers of pairs.
    """
    paths = files(folder)
    wanted = _FILES.get(name, ())
    if not paths:
        file = wanted[0] if wanted else "a .mat or .h5 file"
        raise FolderError(f"{folder / file}: missing; it is offered at {SOURCE}")
    arrays: dict[str, Any] = {}
    for path in paths:
        found = _open(path)
        if both := sorted(arrays.keys() & found.keys()):
            raise FolderError(f"{path}: another file of the folder holds {listed(both)}, too")
        arrays |= found
    parts = _parts(arrays)
    if not parts:
        raise FolderError(
            f"{folder}: its files hold {listed(sorted(arrays)) or 'nothing'}; known are images, "
            "IAll or XAll with YAll and LAll; VDatabase ...; I_tr ...; ImgQuery ..."
        )
    pairs = {split: _pairs(folder, arrays, *names) for split, *names in parts}
    texts, labels = (
        _stacked(folder, [getattr(pair, what) for pair in pairs.values()])
        for what in ("texts", "labels")
    )
    _check_labels(folder, labels)
    one_label = labels.shape[1] == 1  # its number, which MATLAB counts from 1
    binary = bool(np.isin(texts, (0, 1)).all())
    problems: list[str] = []
    records = [
        record
        for split, pair in pairs.items()
        for record in _records(split, pair, one_label, binary, problems)
    ]
    classes = _numbered(int(labels.max()) if one_label else labels.shape[1])
    tags = _numbered(texts.shape[1])
    selections = _division([r.id for r in records]) if len(parts) == 1 else {}
    if parts == _CMLA:
        selections = {"training": tuple(r.id for r in records if r.split == "train")}
    return make(
        name,
        folder,
        records,
        problems,
        classes=classes,
        tags=tags,
        selections=selections,
        expected=EXPECTED.get(name, {}),
    )


def _stacked(folder: Path, parts: list[np.ndarray]) -> np.ndarray:
    if len({part.shape[1] for part in parts}) > 1:
        widths = ", ".join(f"{part.shape[0]} x {part.shape[1]}" for part in parts)
        raise FolderError(f"{folder}: its parts have different widths: {widths}")
    stacked = np.concatenate(parts)
    if not np.isfinite(stacked).all():
        raise FolderError(f"{folder}: NaN or infinite values in a table of texts or labels")
    return stacked


def _check_labels(folder: Path, labels: np.ndarray) -> None:
    """Check that labels are 0s and 1s, or one number each, which MATLAB counts from 1."""
    one_label = labels.shape[1] == 1
    allowed = range(1, MOST_LABELS + 1) if one_label else (0, 1)
    odd = labels[~np.isin(labels, allowed)]
    if odd.size:
        wanted = f"from 1 to {MOST_LABELS}" if one_label else "0 or 1"
        raise FolderError(f"{folder}: a label of {odd[0]:g}, where it must be {wanted}")


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(str(number) for number in range(count))


def _division(ids: list[str]) -> dict[str, tuple[str, ...]]:
    query, training = DIVISIONS.get(len(ids), (len(ids) // 10, len(ids) // 2))
    return {
        "query": tuple(ids[:query]),
        "database": tuple(ids[query:]),
        "training": tuple(ids[query : query + training]),
    }


def _parts(arrays: Mapping[str, Any]) -> tuple[tuple[str, str, str, str], ...]:
    for known in (_SPLITS, _HALVES, _CMLA):
        if known[0][1] in arrays:
            return known
    image = next((name for name in ("images", "IAll", "XAll") if name in arrays), None)
    return () if image is None else (("data", image, "YAll", "LAll"),)


class _Pairs(NamedTuple):
    """Pictures, texts [n, w] and labels [n, c]."""

    pictures: Rows
    texts: np.ndarray
    labels: np.ndarray


def _pairs(folder: Path, arrays: Mapping[str, Any], image: str, text: str, label: str) -> _Pairs:
    for array in (image, text, label):
        if array not in arrays:
            raise FolderError(
                f"{folder}: {array} is missing; it belongs to {image}, {text}, {label}"
            )
    total = len(_matrix(arrays[label], f"{folder}, {label}"))
    pictures = _pictures(arrays[image], folder, image, total)
    total = pictures.total
    return _Pairs(
        pictures,
        _matrix(arrays[text], f"{folder}, {text}", total),
        _matrix(arrays[label], f"{folder}, {label}", total),
    )


def _records(
    split: str, pairs: _Pairs, one_label: bool, binary: bool, problems: list[str]
) -> list[Record]:
    total = pairs.pictures.total
    records = []
    for row, (text, label) in enumerate(zip(pairs.texts, pairs.labels, strict=True)):
        picture = pairs.pictures.get(row)
        if isinstance(picture, Path) and not os.path.isfile(picture):
            problems.append(f"{shown(picture)}: no such picture")
            continue
        present = [int(label[0]) - 1] if one_label else np.flatnonzero(label)
        records.append(
            Record(
                f"{split}-{row:0{len(str(total))}d}",
                picture,
                labels=tuple(str(number) for number in present),
                tags=tuple(map(str, np.flatnonzero(text))) if binary else text.astype(np.float32),
                split=split,
            )
        )
    return records


def _matrix(array: Any, where: str, rows: int | None = None) -> np.ndarray:
    """Numbers as [pairs, width]; files that numpy has written have MATLAB's axes the other way."""
    if isinstance(array, Rows | tuple):
        raise FolderError(f"{where}: no table of numbers")
    matrix = np.asarray(array)
    if matrix.ndim != 2 or matrix.dtype.kind not in "biuf":
        raise FolderError(f"{where}: of shape {matrix.shape}, where pairs x width is expected")
    if rows is not None and len(matrix) != rows:
        if matrix.shape[1] != rows:
            raise FolderError(f"{where}: of shape {matrix.shape}, for {rows} pictures")
        matrix = matrix.T
    return matrix


def _pictures(array: Any, folder: Path, name: str, rows: int) -> Rows:
    if isinstance(array, Rows):
        return array
    if isinstance(array, tuple):  # paths, of which only the ends are of this machine
        return Rows(len(array), lambda row: _beside(folder, array[row]))
    if array.ndim == 2:
        features = _matrix(array, f"{folder}, {name}", rows).astype(np.float32)
        return Rows(len(features), lambda row: features[row])
    return _pixels(array.shape, lambda start, stop: array[..., start:stop], f"{folder}, {name}")


def _beside(folder: Path, path: str) -> Path:
    """Find a picture that a file of another machine names, by the last parts of its path."""
    parts = [part for part in path.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    places = [folder.joinpath(*parts[-depth:]) for depth in range(1, min(4, len(parts)) + 1)]
    places += [folder / "images" / place.relative_to(folder) for place in places]
    return next((place for place in places if os.path.isfile(place)), places[0])


def _pixels(shape: tuple[int, ...], block: Callable[[int, int], np.ndarray], name: str) -> Rows:
    """Pictures with MATLAB's axes, [H, W, 3, n], or numpy's seen by MATLAB, [3, W, H, n]."""
    if len(shape) != 4 or 3 not in (shape[0], shape[2]):
        raise FolderError(f"{name}: pixels of shape {shape}; given must be height, width, 3, n")
    axes = (0, 1, 2) if shape[2] == 3 else (2, 1, 0)
    lock = threading.Lock()  # one thread reads a block, the others that want it wait

    @lru_cache(maxsize=4)
    def read(number: int) -> np.ndarray:
        stop = min((number + 1) * _BLOCK, shape[3])
        return np.moveaxis(block(number * _BLOCK, stop), 3, 0).transpose(
            0, *(axis + 1 for axis in axes)
        )

    def get(row: int) -> Picture:
        def pixels() -> np.ndarray:
            with lock:
                values = read(row // _BLOCK)[row % _BLOCK]
            if values.dtype != np.uint8:
                rounded = np.clip(np.round(values), 0, 255)
                if not np.array_equal(rounded, values):
                    raise FolderError(f"{name}, picture {row}: pixels are not whole numbers to 255")
                values = rounded.astype(np.uint8)
            return np.ascontiguousarray(values)

        return Stored(f"{name}, picture {row}", pixels)

    return Rows(shape[3], get)


def _open(path: Path) -> dict[str, Any]:
    """Give the arrays of a file: numbers, paths, or pixels that are read when they are wanted.

    Raises:
      FolderError: the file cannot be read.
    """
    try:
        if path.suffix == ".mat" and not hdf5.is_hdf5(path):
            return dict(read_mat(path))
        found: dict[str, Any] = {}
        for name, shape in hdf5.list_h5(path).items():
            if len(shape) == 4:
                found[name] = _pixels(shape[::-1], _reader(path, name), str(path))
            elif shape:
                found[name] = hdf5.read_rows(path, name, 0, shape[0])
                found[name] = found[name].T if path.suffix == ".mat" else found[name]
        return found | dict(hdf5.read_texts(path))
    except PortingError as problem:
        raise FolderError(str(problem)) from None


def _reader(path: Path, name: str) -> Callable[[int, int], np.ndarray]:
    def block(start: int, stop: int) -> np.ndarray:
        try:
            return hdf5.read_rows(path, name, start, stop).T
        except PortingError as problem:
            raise FolderError(str(problem)) from None

    return block
