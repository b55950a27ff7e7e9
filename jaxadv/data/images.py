"""Image files and arrays: reading, checking, resizing, saving.

Everywhere in the library an image is `float32[H, W, 3]`, RGB, in `[0, 1]`. What comes from
outside, a file or an array, passes through `read_image` or `check_image` once, and is either such
an array or a one-line `ImageError`.

An 8-bit value k is k times the float32 nearest to 1/255, not k divided by 255: XLA compiles a
division by a constant into this product, numpy does not, and a saved image must be the same array
in both.
"""

import io
import math
import os
import secrets
import stat
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, UnidentifiedImageError

from jaxadv.data.resampling import resample
from jaxadv.errors import InputError

Array = TypeVar("Array", np.ndarray, jax.Array)
FilePath = str | os.PathLike[str]

SUFFIXES = (".jpg", ".jpeg", ".png")

_ACCEPTED = "give a JPEG or PNG file with one frame"
_STEP = np.float32(1 / 255)

# What undoes each EXIF orientation (tag 274).
_ORIENTATION = 274
_UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: image.swapaxes(0, 1)[:, ::-1],
    7: lambda image: image[::-1, ::-1].swapaxes(0, 1),
    8: lambda image: image.swapaxes(0, 1)[::-1],
}


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
    """Read a JPEG or PNG picture of any size as `float32[H, W, 3]` in [0, 1], RGB, upright.

    The contents decide, not the suffix. The EXIF orientation is applied, greyscale is repeated over
    the channels, CMYK is converted, transparent pixels are composited on white. 16-bit greyscale
    keeps its precision; of 16-bit colour Pillow reads the upper 8 bits. Colour profiles are
    ignored. Of a JPEG that holds several pictures (MPO, as some phones write) the first is read.

    Raises `ImageError` for everything else: another format, more than one frame, a file that is
    missing, empty, truncated or damaged, or more pixels than `PIL.Image.MAX_IMAGE_PIXELS`.
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
        _check_regular_file(path)
        with open(path, "rb") as file:
            return file.read()
    except ImageError:
        raise
    except FileNotFoundError:
        problem = f"no such file; {_ACCEPTED}"
    except Exception as error:
        problem = f"cannot be read ({_reason(error)}); {_ACCEPTED} that is whole"
    raise _error(path, problem)


def decode_image(encoded: bytes, name: FilePath) -> np.ndarray:
    """Decode the contents of a JPEG or PNG file, as `read_image` does; errors call it `name`."""
    try:
        with _QUIET:
            return _decode(name, io.BytesIO(encoded))
    except ImageError:
        raise
    except Image.DecompressionBombError:
        problem = f"more than {Image.MAX_IMAGE_PIXELS} pixels; {_ACCEPTED} of fewer"
    except Exception as error:  # a damaged file makes Pillow raise nearly anything
        problem = f"cannot be read ({_reason(error)}); {_ACCEPTED} that is whole"
    raise _error(name, problem)


def read_header(path: Path) -> tuple[int, int, int]:
    """Read the width and height that a file stores, and the EXIF orientation that is applied to it.

    No pixel is decoded, unless a PNG file holds EXIF or XMP.

    Raises:
      ImageError: it is no picture.
    """
    try:
        _check_regular_file(path)
        with _QUIET, open(path, "rb") as file, _open(file, ("JPEG", "PNG")) as image:
            if image.format == "PNG":  # Pillow looks for EXIF behind the pixels, too
                file.seek(0)
                contents = file.read()
                if not any(mark in contents for mark in (b"eXIf", b"exif", b"xmp")):
                    return image.width, image.height, 1
        with _QUIET, open(path, "rb") as file, _open(file, ("JPEG", "PNG")) as image:
            return image.width, image.height, _orientation(image)
    except ImageError:
        raise
    except Exception:  # a damaged file makes Pillow raise nearly anything
        raise _error(path, f"not a picture; {_ACCEPTED}") from None


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
        raise _array_error(f"shape {array.shape}, wanted {wanted}; use jaxadv.data.images.resize")
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
            f"(jaxadv.data.images.resize(picture, {tuple(shape[:2])}))"
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
        pixels = np.round(check_image(image) * 255).astype(np.uint8)
    except ImageError as error:
        raise _error(path, f"not saved, {error}") from None
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            Image.fromarray(pixels).save(temporary, format="PNG")
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        raise _error(path, f"cannot be written ({_reason(error)}); give a writable path") from None


def _decode(path: FilePath, file: BinaryIO) -> np.ndarray:
    """Decode an open file; raises `ImageError`, or whatever Pillow raises on a damaged one."""
    try:
        with _open(file, ("JPEG", "PNG")) as image:
            # `load` passes over checksums and over what is missing after the last pixel.
            if image.format == "PNG":
                image.verify()
    except UnidentifiedImageError:
        raise _error(path, f"{_other_format(file)}; {_ACCEPTED}") from None
    file.seek(0)
    with _open(file, ("JPEG", "PNG")) as image:
        frames = getattr(image, "n_frames", 1)
        if frames > 1 and image.format == "PNG":
            raise _error(path, f"animated PNG of {frames} frames; {_ACCEPTED}")
        image.load()
        upright = _UPRIGHT.get(_orientation(image), _UPRIGHT[1])
        return np.ascontiguousarray(upright(_rgb(image)))


def _open(file: BinaryIO, formats: tuple[str, ...] | None) -> Image.Image:
    """Open, not decode; refused is at once the limit above which Pillow itself only warns."""
    image = Image.open(file, formats=formats)
    if image.width * image.height > (Image.MAX_IMAGE_PIXELS or math.inf):
        raise Image.DecompressionBombError
    return image


def _rgb(image: Image.Image) -> np.ndarray:
    """`float32[H, W, 3]` of a loaded image of any mode that JPEG and PNG files have."""
    if image.mode.startswith("I"):  # 16-bit greyscale, which `convert` would cut off at 255
        grey = np.asarray(image)
        values = grey.astype(np.float32) / np.float32(65535)
        if "transparency" in image.info:  # one grey level that means "nothing here"
            values[grey == image.info["transparency"]] = 1
        return np.repeat(values[:, :, None], 3, axis=2)
    if not image.has_transparency_data:
        rgb = image if image.mode == "RGB" else image.convert("RGB")
        return np.asarray(rgb) * _STEP
    rgba = np.asarray(image.convert("RGBA")) * _STEP
    colour, alpha = rgba[:, :, :3], rgba[:, :, 3:]
    return colour * alpha + (1 - alpha)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) where it cannot be read: viewers do the same."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # EXIF is as hostile as the rest of the file, but not needed
        return 1


def _other_format(file: BinaryIO) -> str:
    """Name a file that is neither JPEG nor PNG. Only headers are read, no pixel is decoded."""
    file.seek(0)
    try:
        with _open(file, None) as image:
            frames = getattr(image, "n_frames", 1)
            return f"{image.format} image" + (f" of {frames} frames" if frames > 1 else "")
    except UnidentifiedImageError:
        return "not an image, or a damaged one"


def _check_regular_file(path: FilePath) -> None:
    """Refuse folders, devices and pipes (which might never end), and files of 0 bytes."""
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        raise _error(path, f"this is a folder; {_ACCEPTED}")
    if not stat.S_ISREG(status.st_mode):
        raise _error(path, f"not a regular file; {_ACCEPTED}")
    if status.st_size == 0:
        raise _error(path, f"the file is empty (0 bytes); {_ACCEPTED}")


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
