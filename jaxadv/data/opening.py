"""One way to open any data: a prepared set by its name, or a folder of pictures."""

import os
from collections.abc import Sequence
from pathlib import Path

from jaxadv.data.prepared import open_prepared
from jaxadv.data.records import DataSet, FolderError, join, select
from jaxadv.data.sets import folders


def open_data(names: str | Sequence[str], data_dir: Path | None = None) -> DataSet:
    """Open what `--data` names.

    Args:
      names: a folder in any of the known layouts, or a prepared set's name; behind a colon, a
        split or selection of it (`coco2014:karpathy-test`). Several are put together.
      data_dir: where prepared sets are kept; `data_folder()` by default.

    Raises:
      FolderError: there is no such thing, or it is broken.
    """
    listed = [names] if isinstance(names, str) else list(names)
    return join([_open(name, data_dir) for name in listed])


def _open(name: str, data_dir: Path | None) -> DataSet:
    if not name:
        raise FolderError("an empty name, where a folder or a prepared set is expected")
    if os.path.isdir(name):
        return folders.read(Path(name))
    if os.path.exists(name):
        raise FolderError(f"{name}: a file, where a folder is expected")
    whole, colon, part = name.rpartition(":")
    if colon:
        return select(_open(whole, data_dir), part)
    if "/" in name and (Path(name).is_absolute() or name.startswith(".")):
        return folders.read(Path(name))  # says that it is missing
    return open_prepared(name, data_dir)
