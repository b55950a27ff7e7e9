"""Victims by name: trained ones with their weights and their record.

A victim is a folder: `weights/` (an Orbax checkpoint) and `record.json` (kind, architecture, names,
how it was made, what it can do). Names are looked up in `ported_weights/` of the working folder,
then among those shipped with the package; a path to such a folder works too.
"""

import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

import jaxadv
from jaxadv.victims.architectures import (
    PUBLISHED,
    Architecture,
    CaptionerArchitecture,
    ClassifierArchitecture,
    Functions,
    HasherArchitecture,
    Names,
    Params,
    VictimError,
)
from jaxadv.victims.captioner import Captioner
from jaxadv.victims.classifier import MultiLabelClassifier
from jaxadv.victims.hasher import CrossModalHasher

KINDS: dict[str, type[Any]] = {
    made.kind: made for made in (CaptionerArchitecture, ClassifierArchitecture, HasherArchitecture)
}


class Victim(NamedTuple):
    """A victim with its weights.

    Attributes:
      name: as it was looked up.
      functions: the pure functions of its kind.
      params: what they take.
      architecture: what it is made of.
      record: how it was made and what it can do.
    """

    name: str
    functions: Functions
    params: Params
    architecture: Architecture
    record: dict[str, Any]

    @property
    def captioner(self) -> Captioner:
        """Its functions, if it is a captioner; a `VictimError` else."""
        return self._as(Captioner, "captioner")

    @property
    def classifier(self) -> MultiLabelClassifier:
        """Its functions, if it is a classifier; a `VictimError` else."""
        return self._as(MultiLabelClassifier, "classifier")

    @property
    def hasher(self) -> CrossModalHasher:
        """Its functions, if it is a hasher; a `VictimError` else."""
        return self._as(CrossModalHasher, "hasher")

    def _as(self, wanted: type[Any], kind: str) -> Any:
        if not isinstance(self.functions, wanted):
            raise VictimError(f"victim {self.name!r} is a {self.architecture.kind}, not a {kind}")
        return self.functions


def folders() -> list[Path]:
    """Where victims are looked up, in order."""
    package = Path(jaxadv.__file__).parent
    places = [Path("ported_weights"), package / "ported_weights", package.parent / "ported_weights"]
    return [place for place in places if place.is_dir()]


def installed() -> dict[str, Path]:
    """Return every victim found, by name."""
    found: dict[str, Path] = {}
    for place in folders():
        for record in sorted(place.glob("*/record.json")):
            found.setdefault(record.parent.name, record.parent)
    return found


def load(name: str) -> Victim:
    """Load a victim by name, or from the path of its folder.

    Raises:
      VictimError: there is none of that name (the message lists those there are), or its record
        and its weights do not fit.
    """
    folder = Path(name)
    if not (folder / "record.json").is_file():
        known = installed()
        if name not in known:
            if name in PUBLISHED:
                raise VictimError(
                    f"{name!r} is an architecture without weights: jaxadv port makes a victim of "
                    f"it from a checkpoint (--architecture {name})"
                )
            raise VictimError(
                f"no victim {name!r}: installed are {', '.join(known) or 'none'}; a folder with "
                "record.json works too"
            )
        folder = known[name]
    architecture, names, record = read_record(folder)
    params = _restore(folder / "weights", architecture.shapes(names))
    if digest(params) != record.get("weights_sha256"):
        raise VictimError(f"{folder / 'weights'}: changed since record.json was written (SHA-256)")
    return Victim(folder.name, architecture.functions(names), params, architecture, record)


def read_record(folder: Path) -> tuple[Architecture, Names, dict[str, Any]]:
    """Read what a victim is made of, what its numbers mean, and the whole record.

    Raises:
      VictimError: the record cannot be read.
    """
    try:
        record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
        architecture: Architecture = KINDS[record["kind"]](**record["architecture"])
        names = {name: tuple(map(str, record[name])) for name in architecture.named}
    except (OSError, UnicodeDecodeError, KeyError, TypeError, ValueError) as problem:
        raise VictimError(f"{folder / 'record.json'}: not a victim's record ({problem})") from None
    return architecture, names, record


def digest(params: Params) -> str:
    """SHA-256 of the names, types, shapes and values of all arrays, in hexadecimal."""
    total = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        array = np.ascontiguousarray(leaf)
        total.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        total.update(array.data)
    return total.hexdigest()


def _restore(path: Path, expected: Any) -> Params:
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    abstract = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), expected
    )
    try:
        return ocp.load(path.absolute(), abstract)
    except (ValueError, FileNotFoundError, KeyError) as problem:
        reason = str(problem).strip().splitlines()[0]
        raise VictimError(f"{path}: weights do not fit the record ({reason})") from None


def save(
    folder: Path, architecture: Architecture, names: Names, params: Params, **record: Any
) -> None:
    """Write a victim's folder, whole or not at all; one of that name is replaced.

    Args:
      folder: where; its name is the victim's.
      architecture: what it is made of.
      names: what its numbers mean, as `architecture.named` asks.
      params: its Flax variables.
      **record: what else to remember (source, training, measures); must be JSON.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    written = {
        "kind": architecture.kind,
        "architecture": dataclasses.asdict(architecture),  # type: ignore[call-overload]
        **record,
        "jaxadv": jaxadv.__version__,
        "weights_sha256": digest(params),
        **{
            f"{name}_sha256": hashlib.sha256("\n".join(names[name]).encode()).hexdigest()
            for name in architecture.named
        },
        **{name: list(names[name]) for name in architecture.named},
    }
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        fresh = Path(scratch) / "new"
        fresh.mkdir()
        ocp.save((fresh / "weights").absolute(), params)
        (fresh / "record.json").write_text(json.dumps(written, indent=1) + "\n")
        if folder.exists():
            shutil.move(folder, Path(scratch) / "old")
        os.replace(fresh, folder)
