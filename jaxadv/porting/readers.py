"""One way in for every format: a file to `{name: array}`, nothing in it executed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from jaxadv.porting.errors import PortingError
from jaxadv.porting.hdf5 import read_h5
from jaxadv.porting.matlab import read_mat
from jaxadv.porting.numpy_archive import read_npz
from jaxadv.porting.pytorch import read_pytorch
from jaxadv.porting.safetensors import read_safetensors
from jaxadv.porting.tensorflow import bundle_files, read_tensorflow

_READERS: dict[str, Callable[[Path], dict[str, np.ndarray]]] = {
    ".pth": read_pytorch,
    ".pt": read_pytorch,
    ".th": read_pytorch,
    ".tar": read_pytorch,  # `checkpoint.pth.tar` is no archive either
    ".bin": read_pytorch,
    ".safetensors": read_safetensors,
    ".npz": read_npz,
    ".mat": read_mat,
    ".h5": read_h5,
    ".hdf5": read_h5,
    ".index": read_tensorflow,
    ".ckpt": read_tensorflow,
}


def read(path: Path) -> dict[str, np.ndarray]:
    """Read a checkpoint of any known format, chosen by its suffix.

    Raises:
      PortingError: a suffix that none has, or what the format's reader refuses.
    """
    return _reader(path)(path)


def parts(path: Path) -> list[Path]:
    """Return the files that a checkpoint lies in: several, where it is a TensorFlow bundle."""
    return bundle_files(path) if _reader(path) is read_tensorflow else [path]


def _reader(path: Path) -> Callable[[Path], dict[str, np.ndarray]]:
    reader = _READERS.get(path.suffix.lower())
    prefix = path.with_name(path.name + ".index").is_file()
    if prefix or path.suffix.startswith((".ckpt-", ".data-")):
        reader = read_tensorflow  # a bundle's part, or its prefix such as model.ckpt-2000000
    if reader is None:
        known = " ".join(_READERS)
        raise PortingError(f"{path}: unknown format {path.suffix!r}; known are {known}")
    return reader
