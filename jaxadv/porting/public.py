"""Public checkpoints by name (`torchvision://resnet50`): fetched, checked, and made victims.

`jaxadv.victims.public.CHECKPOINTS` lists them. Only what a name of that list stands for is fetched,
and only `readers` read it.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from jaxadv.data.lexicon import Lexicon
from jaxadv.formats.errors import PortingError, quoted
from jaxadv.formats.files import user_cache
from jaxadv.porting.download import download
from jaxadv.porting.port import Ported, port
from jaxadv.victims import public
from jaxadv.victims.architectures import Architecture, Names, published
from jaxadv.victims.public import Checkpoint

CACHE = "JAXADV_CACHE"


def is_public(name: str) -> bool:
    """Return whether a name is one of a public checkpoint, or would be if there were such one."""
    owner, found, _ = name.partition("://")
    return bool(found) and owner in {_owner(entry.name) for entry in public.CHECKPOINTS}


def implied(files: Sequence[str], architecture: str | None = None) -> str | None:
    """Return the architecture that the files are of, if a public one among them says it.

    Args:
      files: paths, and names of public checkpoints.
      architecture: the one that is given.

    Returns:
      the name of the public checkpoint's; of paths and parts, the one that is given.

    Raises:
      PortingError: a name stands for nothing that is fetched, a whole victim's for one file of
        several, or it is of another architecture than the given one.
    """
    for name in filter(is_public, files):
        entry = _find(name)
        if entry.part:
            continue
        if len(files) > 1:
            raise PortingError(f"{name}: is a whole victim; give it alone")
        if architecture not in (None, entry.architecture):
            raise PortingError(f"{name}: is of the architecture {entry.architecture}")
        return entry.architecture
    return architecture


def port_public(name: str, classes: Sequence[str] = ()) -> Ported:
    """Fetch a public checkpoint that is a whole victim, and turn it into Flax variables.

    Args:
      name: of the checkpoint.
      classes: names of its classes; numbers by default.

    Raises:
      PortingError: as `fetch` and `port`; or it is a part of a victim.
    """
    architecture = implied([name])
    if architecture is None:
        entry = _find(name)
        raise PortingError(
            f"{name}: the {entry.part} of {entry.architecture}, not a whole victim; jaxadv port "
            "takes it with the other parts"
        )
    words = {"classes": tuple(classes)} if classes else None
    return port_files([name], published(architecture), words)


def port_files(
    files: Sequence[str], architecture: Architecture, words: Lexicon | Names | None = None
) -> Ported:
    """Turn the files of a victim into Flax variables, fetching those that are public checkpoints.

    Args:
      files: paths, and names of public checkpoints.
      architecture: as `port`.
      words: as `port`.

    Raises:
      PortingError: as `fetch` and `port`.
    """
    fetched = {name: fetch(name) for name in files if is_public(name)}
    ported = port([fetched.get(file, Path(file)) for file in files], architecture, words)
    entries = {entry.file: entry for entry in map(_find, fetched)}
    sources = [
        source._replace(address=entry.address, owner_says=_said(entry))
        if (entry := entries.get(source.file))
        else source
        for source in ported.sources
    ]
    return ported._replace(sources=sources)


def fetch(name: str) -> Path:
    """Fetch a public checkpoint, or find it where it was put before, which needs no connection.

    It is kept in `checkpoints/` of the folder `JAXADV_CACHE`, by default `~/.cache/jaxadv`.

    Raises:
      PortingError: there is no such checkpoint, its owner offers it on a page alone, or as
        `download`.
    """
    entry = _find(name)
    path = _folder() / entry.file
    download(name, entry.address, path, entry.sha256)
    return path


def _folder() -> Path:
    if chosen := os.environ.get(CACHE):
        return Path(chosen) / "checkpoints"
    folder = user_cache("checkpoints")
    if folder is None:
        raise PortingError(f"this user has no home folder to keep checkpoints in; set {CACHE}")
    return folder


def _find(name: str) -> Checkpoint:
    """Look a name up.

    Raises:
      PortingError: nothing is fetched by that name.
    """
    owner = _owner(name)
    of_owner = {entry.name: entry for entry in public.CHECKPOINTS if _owner(entry.name) == owner}
    if name not in of_owner:
        raise PortingError(f"no public checkpoint {quoted(name)}: there are {', '.join(of_owner)}")
    entry = of_owner[name]
    if not entry.is_fetched:
        files = f"{entry.file} OTHER-PARTS" if entry.part else entry.file
        raise PortingError(
            f"{name}: is not fetched, as a page alone leads to it; get {entry.file} from "
            f"{entry.where}, then: jaxadv port {files} --architecture {entry.architecture} "
            "--vocabulary FILE --name NAME"
        )
    return entry


def _said(entry: Checkpoint) -> str:
    return f"SHA-256 begins {entry.sha256}" if entry.sha256 else "no hash"


def _owner(name: str) -> str:
    return name.partition("://")[0]
