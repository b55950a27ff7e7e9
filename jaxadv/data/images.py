"""Image files and arrays: reading, checking, resizing, saving.

Everywhere in the library an image is `float32[H, W, 3]`, RGB, in `[0, 1]`. What comes from
outside, a file or an array, passes through `read_image` or `check_image` once, and is either such
an array or a one-line `ImageError`.

An 8-bit value k is k times the float32 nearest to 1/255, not k divided by 255: XLA compiles a
division by a constant into this product, numpy does not, and a saved image must be the same array
in both.
"""

import io
import os
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from jaxadv.data.containers import ContainerError, reduce, reduce_header
from jaxadv.data.frames import Frame, as_stored
from jaxadv.data.resampling import resample
from jaxadv.errors import InputError
from jaxadv.formats import files
from jaxadv.formats.errors import FormatError

Array = TypeVar("Array", np.ndarray, jax.Array)
FilePath = str | os.PathLike[str]

SUFFIXES = (".jpg", ".jpeg", ".png")

MOST_PIXELS = 1 << 25  # half a GiB, of 12 bytes a pixel as float32 and 4 as Pillow decodes it
MOST_SIDE = 65_535  # as JPEG has it
MOST_BYTES = 1 << 29

_ACCEPTED = "give a JPEG or PNG file with one frame"
_STEP = np.float32(1 / 255)
_ORIENTATION = 274
_AT_ONCE = 1 << 20  # pixels that are converted at once
_HEADER = 1 << 16  # bytes in which a JPEG mostly has its size


class ImageError(InputError):
    """An image that cannot be used: one line with the file, what is wrong and what is accepted."""


class _Quiet:
    """Silence Pillow's remarks on metadata that is not used here.

    `warnings.catch_warnings` alone is not for threads: one that leaves would undo what another
    still needs. Here the first that enters silences, and the last that leaves restores.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._filters = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.simplefilter("ignore")

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._filters.__exit__(None, None, None)


_QUIET = _Quiet()


class Stored(NamedTuple):
    """A picture inside something larger, fetched when it is wanted.

    Attributes:
      name: what errors call it.
      read: gives the contents of a JPEG or PNG file, or pixels, u8[H, W, 3].
    """

    name: str
    read: Callable[[], bytes | np.ndarray]


def read_image(source: FilePath | Stored) -> np.ndarray:
    """Read a JPEG or PNG picture as `float32[H, W, 3]` in [0, 1], RGB, upright.

    The contents decide, not the suffix. The EXIF orientation is applied, greyscale is repeated over
    the channels, CMYK is converted, transparent pixels are composited on white. 16-bit greyscale
    keeps its precision; of 16-bit colour Pillow reads the upper 8 bits. Colour profiles are
    ignored. Of a JPEG that holds several pictures (MPO, as some phones write) the first is read.

    Raises `ImageError` for everything else: another format, more than one frame, a file that is
    missing, empty, truncated or damaged, or more than `MOST_PIXELS`.
    """
    if not isinstance(source, Stored):
        return decode_image(read_bytes(source), source)
    contents = source.read()
    return (
        check_image(contents)
        if isinstance(contents, np.ndarray)
        else decode_image(contents, source.name)
    )


def read_bytes(path: FilePath) -> bytes:
    """Read a file that should be an image, undecoded; raises `ImageError`."""
    try:
        contents = files.read_bytes(Path(path), MOST_BYTES)
    except FormatError as error:
        problem = str(error).removeprefix(f"{Path(path)}: ")
        raise _error(path, f"{problem}; {_ACCEPTED}") from None
    if not contents:
        raise _error(path, f"the file is empty (0 bytes); {_ACCEPTED}")
    return contents


def decode_image(encoded: bytes, name: FilePath) -> np.ndarray:
    """Decode the contents of a JPEG or PNG file, as `read_image` does; errors call it `name`."""
    with _QUIET, _opened(encoded, name) as image:
        try:
            image.load()
            frame = _frame(image)
            width, height = frame.upright
            upright = np.empty((height, width, 3), np.float32)
            _convert(image, as_stored(upright, frame))
            return upright
        except Exception:  # a damaged file makes Pillow raise nearly anything
            raise _error(name, f"damaged or truncated; {_ACCEPTED} that is whole") from None


def read_frame(source: FilePath | Stored) -> Frame:
    """Read a picture's size and orientation from its header, without decoding it.

    Raises `ImageError` where there is no JPEG or PNG header, or of more than `MOST_PIXELS`.
    """
    if isinstance(source, Stored):
        contents = source.read()
        if isinstance(contents, np.ndarray):
            return Frame(contents.shape[1], contents.shape[0])
        return decode_frame(contents, source.name)
    try:
        files.check_file(Path(source))
        with open(source, "rb") as file:
            start = file.read(_HEADER)
    except (FormatError, OSError):
        start = b""  # `read_bytes` says why
    return decode_frame(start if reduce_header(start) else read_bytes(source), source)


def decode_frame(encoded: bytes, name: FilePath) -> Frame:
    """Give a file's size and orientation from its contents, of a JPEG up to its pixels at least."""
    with _QUIET, _opened(encoded, name, header=True) as image:
        return _frame(image)


def find_images(folder: FilePath) -> list[Path]:
    """Sorted JPEG and PNG files directly inside `folder`, by suffix; hidden files are left out.

    Raises `ImageError` where there is no such folder or no such file in it.
    """
    try:
        paths = sorted(
            path
            for path in Path(folder).iterdir()
            if path.suffix.lower() in SUFFIXES and path.name[0] != "." and path.is_file()
        )
    except (OSError, ValueError) as error:
        raise _error(folder, f"not a folder of images ({_reason(error)})") from None
    if not paths:
        raise _error(folder, f"no images in this folder; accepted: {', '.join(SUFFIXES)}")
    return paths


def check_image(image: Any, shape: tuple[int, int] | None = None) -> np.ndarray:
    """Check an image given as an array and return it as `float32[H, W, 3]`, on the host.

    Accepted are floats in [0, 1] of any precision, and `uint8`, which is scaled from 0..255. With
    `shape`, the image must have this height and width. Raises `ImageError`.

    >>> check_image(np.full((2, 2, 3), 128.0))
    Traceback (most recent call last):
        ...
    jaxadv.data.images.ImageError: image array: values from 128 to 128, not in [0, 1]; divide by 255
    """
    try:
        array = np.asarray(image)
    except ValueError:  # a ragged list
        raise _array_error("not an array; give float[H, W, 3] in [0, 1], or uint8") from None
    if array.dtype != np.uint8 and not jnp.issubdtype(array.dtype, jnp.floating):
        raise _array_error(f"dtype {array.dtype}; give float in [0, 1], or uint8")
    if array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise _array_error(f"shape {array.shape}; give one RGB image, [H, W, 3], channels last")
    if shape is not None and array.shape[:2] != tuple(shape):
        wanted = (*shape, 3)
        raise _array_error(f"shape {array.shape}, wanted {wanted}; use jaxadv.resize")
    if array.dtype == np.uint8:
        return array * _STEP

    if array.dtype in (np.float32, np.float64) and array.min() >= 0 and array.max() <= 1:
        return np.ascontiguousarray(array, np.float32)
    exact = array.astype(np.float64)  # bfloat16 has no minimum of its own in numpy
    nans, infinities = int(np.isnan(exact).sum()), int(np.isinf(exact).sum())
    if nans or infinities:
        counts = f"{nans} NaN and {infinities} infinite of {array.size} values"
        raise _array_error(f"{counts}; all must be finite, in [0, 1]")
    low, high = float(exact.min()), float(exact.max())
    if low < 0 or high > 1:
        eight_bit = low >= 0 and 2 < high <= 255
        hint = "divide by 255" if eight_bit else "undo any normalisation, or clip"
        raise _array_error(f"values from {low:.9g} to {high:.9g}, not in [0, 1]; {hint}")
    return np.ascontiguousarray(array, np.float32)


def check_size(image: Array, shape: tuple[int, ...]) -> None:
    """Check that a picture has the shape that a victim sees, (H, W, 3); also under `jit`.

    Raises:
      ImageError: it has another one. Many networks would take it, and see something else.
    """
    if image.shape != tuple(shape):
        raise ImageError(
            f"a picture of shape {image.shape}: this victim sees {tuple(shape)}; resize it "
            f"(jaxadv.resize(picture, {tuple(shape[:2])}))"
        )


def resize(image: Any, shape: tuple[int, int]) -> np.ndarray:
    """Resize `image` [H, W, 3] to `shape` (height, width): `float32`, antialiased bilinear.

    Each channel is resized in floating point, so nothing is rounded to 8 bits. An image that has
    this size already comes back with exactly its values.

    >>> resize(np.ones((4, 6, 3)), (2, 3)).shape
    (2, 3, 3)
    """
    if len(shape) != 2 or min(shape) < 1:
        raise _array_error(f"cannot be resized to {shape}; give (height, width), both at least 1")
    height, width = shape
    checked = check_image(image)
    if checked.shape[:2] == (height, width):
        return checked.copy()
    return resample(checked, (height, width))


def round_8bit(image: Array) -> Array:
    """The image a user would save: `image` (any shape, in [0, 1]) rounded to 8 bits, as `float32`.

    Works on numpy and on JAX arrays (also under `jit`), with exactly the same values.

    >>> round_8bit(np.array([0.0, 0.5, 1.0]))
    array([0.       , 0.5019608, 1.       ], dtype=float32)
    """
    xp: Any = image.__array_namespace__()
    rounded: Array = xp.round(xp.asarray(image, dtype=xp.float32) * 255) * _STEP
    return rounded


def write_png(path: FilePath, image: Any) -> None:
    """Save `image` [H, W, 3] in [0, 1] as an 8-bit PNG, which reads back as `round_8bit(image)`.

    The folder is made if need be. The file is written under a temporary name and then renamed, so
    that `path` is never half a file. Raises `ImageError`.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":  # a JPEG would not keep the perturbation
        raise _error(path, "images are saved as PNG; give a name that ends in .png")
    try:
        scaled = check_image(image) * 255
        pixels = np.round(scaled, out=scaled).astype(np.uint8)
    except ImageError as error:
        raise _error(path, f"not saved, {error}") from None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(path) as scratch:
            Image.fromarray(pixels).save(scratch, format="PNG")
    except (OSError, ValueError) as error:
        raise _error(path, f"cannot be written ({_reason(error)}); give a writable path") from None


def _opened(encoded: bytes, name: FilePath, header: bool = False) -> Image.Image:
    """Open, not decode; a picture of too many pixels is refused by its header."""
    try:
        reduced = (reduce_header(encoded) if header else None) or reduce(encoded)
    except ContainerError as error:
        raise _error(name, f"{error}; {_ACCEPTED}") from None
    try:
        image = Image.open(io.BytesIO(reduced.contents), formats=(reduced.format,))
    except Image.DecompressionBombError:  # twice Pillow's own limit
        raise _error(name, f"more than the {MOST_PIXELS:,} pixels that are read") from None
    except Exception:
        raise _error(name, f"damaged or truncated; {_ACCEPTED} that is whole") from None
    size = f"{image.width:,} x {image.height:,} pixels"
    if image.width * image.height > MOST_PIXELS:
        raise _error(name, f"{size}, more than the {MOST_PIXELS:,} that are read; make it smaller")
    if max(image.size) > MOST_SIDE:
        raise _error(name, f"{size}, more than the {MOST_SIDE:,} on a side that are read")
    return image


def _convert(image: Image.Image, target: np.ndarray) -> None:
    """Write a loaded image to f32[H, W, 3] in strips: on the way it takes several times as much."""
    if image.width * image.height <= _AT_ONCE:
        _convert_strip(image, target)
        return
    width = min(image.width, _AT_ONCE)
    height = _AT_ONCE // width
    for top in range(0, image.height, height):
        for left in range(0, image.width, width):
            right, bottom = min(left + width, image.width), min(top + height, image.height)
            strip = image.crop((left, top, right, bottom))
            _convert_strip(strip, target[top:bottom, left:right])


def _convert_strip(image: Image.Image, target: np.ndarray) -> None:
    """Convert any mode that JPEG and PNG files have."""
    if image.mode.startswith("I"):  # 16-bit greyscale, which `convert` would cut off at 255
        grey = np.asarray(image)
        values = grey.astype(np.float32) / np.float32(65535)
        if "transparency" in image.info:  # one grey level that means "nothing here"
            values[grey == image.info["transparency"]] = 1
        target[:] = values[:, :, None]
    elif not image.has_transparency_data:
        rgb = image if image.mode == "RGB" else image.convert("RGB")
        np.multiply(np.asarray(rgb), _STEP, out=target)
    else:
        rgba = np.asarray(image.convert("RGBA"))
        alpha = rgba[:, :, 3] * _STEP
        white = 1 - alpha
        for channel in range(3):
            target[:, :, channel] = rgba[:, :, channel] * _STEP * alpha + white


def _frame(image: Image.Image) -> Frame:
    orientation = _orientation(image)
    return Frame(image.width, image.height, orientation if 1 <= orientation <= 8 else 1)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) where it cannot be read: viewers do the same."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # EXIF is as hostile as the rest of the file, but not needed
        return 1


def _reason(error: Exception) -> str:
    """What an exception says, without the path, which stands in front of the message already."""
    strerror = error.strerror if isinstance(error, OSError) else None
    return strerror or str(error) or type(error).__name__


def _error(path: FilePath, problem: str) -> ImageError:
    """An `ImageError` on one line, whatever the name of the file and the words of Pillow."""
    name = str(path)
    if not name or not name.isprintable():
        name = ascii(name)
    return ImageError(f"{name}: {' '.join(problem.split())}")


def _array_error(problem: str) -> ImageError:
    return ImageError(f"image array: {problem}")
