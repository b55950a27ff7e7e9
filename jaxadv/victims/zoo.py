"""Victims by name: trained ones with their weights and their record.

A victim is a folder: `weights/` (an Orbax checkpoint) and `record.json` (kind, architecture, names,
how it was made, what it can do). Names are looked up in `ported_weights/` of the working folder,
then among those shipped with the package; a path to such a folder works too. Weights may be stored
in bfloat16, and a backbone that several victims share is stored with one of them; once loaded, a
victim's weights are whole and float32.
"""

import dataclasses
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tensorstore
from orbax.checkpoint import v1 as ocp

import jaxadv
from jaxadv.captions.captioner import Captioner
from jaxadv.formats.errors import FormatError, listed, quoted
from jaxadv.formats.text import read_json
from jaxadv.formats.values import ValueFault, as_text
from jaxadv.hashing.hasher import CrossModalHasher
from jaxadv.labels.classifier import MultiLabelClassifier
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
    recorded,
)
from jaxadv.victims.hub_captioners import HubCaptionerArchitecture
from jaxadv.victims.hub_encoders import HubRetrieverArchitecture, HubTaggerArchitecture

KINDS: dict[str, type[Any]] = {
    made.kind: made
    for made in (
        CaptionerArchitecture,
        ClassifierArchitecture,
        HasherArchitecture,
        HubCaptionerArchitecture,
        HubRetrieverArchitecture,
        HubTaggerArchitecture,
    )
}


STORED = ("float32", "bfloat16")
"""Types that float32 weights are stored in."""


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
    def model(self) -> Functions:
        """Its functions, whatever its kind."""
        return self.functions

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
        and its weights are damaged or do not fit.
    """
    folder = _find(name)
    architecture, names, record = read_record(folder)
    params = _read_weights(folder, _shapes(folder, architecture, names), record)
    if digest(params) != record.get("weights_sha256"):
        raise VictimError(f"{folder / 'weights'}: changed since record.json was written (SHA-256)")
    return Victim(folder.name, architecture.functions(names), params, architecture, record)


def _read_weights(folder: Path, shapes: Params, record: dict[str, Any]) -> Params:
    """Read a victim's weights, and those of its backbone from the victim that has them."""
    owner = record.get("backbone_of")
    own, shared = (shapes, {}) if owner is None else _apart(shapes)
    stored = record.get("stored", "float32")
    if stored not in STORED:
        line = f"stored: must be one of {', '.join(STORED)}, not {quoted(stored)}"
        raise VictimError(f"{folder / 'record.json'}: not a victim's record ({line})")
    kept = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, _stored_type(x, stored)), own)
    params = jax.tree.map(
        lambda x, wanted: x.astype(wanted.dtype), _restore(folder / "weights", kept), own
    )
    return params if owner is None else _together(params, _backbone(folder, owner, shared))


def _backbone(folder: Path, owner: Any, shapes: Mapping[str, Params]) -> Mapping[str, Params]:
    """Read a backbone from the victim in the same folder that has it."""
    place = folder.parent / owner if isinstance(owner, str) and owner == Path(owner).name else None
    if place is None or not (place / "record.json").is_file():
        raise VictimError(
            f"{folder}: its backbone is that of the victim {quoted(owner)}, which is not in "
            f"{folder.parent}; copy both folders"
        )
    if "backbone_of" in read_record(place)[2]:
        raise VictimError(f"{folder}: its backbone is said to be {owner!r}'s, which has none")
    found = _apart(load(str(place)).params)[1]
    if jax.tree.map(np.shape, found) != jax.tree.map(np.shape, dict(shapes)):
        raise VictimError(f"{folder}: the backbone of {owner!r} does not fit it")
    return found


def _apart(variables: Params) -> tuple[Params, dict[str, Params]]:
    """Return variables without their backbone, and the backbone by collection."""
    backbones: dict[str, Params] = {}

    def without(tree: Any, collection: str) -> Any:
        if not isinstance(tree, Mapping):
            return tree
        if "backbone" in tree:
            backbones[collection] = tree["backbone"]
        return {k: without(part, collection) for k, part in tree.items() if k != "backbone"}

    rest = {collection: without(tree, collection) for collection, tree in variables.items()}
    return rest, backbones


def _together(variables: Params, backbones: Mapping[str, Params]) -> Params:
    """Undo `_apart`: a backbone is a layer of the network, or of a hasher's `features`."""
    whole = {}
    for collection, tree in variables.items():
        backbone = {"backbone": backbones[collection]} if collection in backbones else {}
        if "features" in tree:
            whole[collection] = {**tree, "features": {**tree["features"], **backbone}}
        else:
            whole[collection] = {**tree, **backbone}
    return whole


def _stored_type(array: Any, stored: str) -> Any:
    return jnp.bfloat16 if stored == "bfloat16" and array.dtype == jnp.float32 else array.dtype


def rounded(params: Params, stored: str) -> Params:
    """Round weights to what is stored of them, in their own type."""
    return jax.tree.map(
        lambda x: jnp.asarray(x).astype(_stored_type(x, stored)).astype(x.dtype), params
    )


def _find(name: str) -> Path:
    if os.path.isfile(os.path.join(name, "record.json")):
        return Path(name)
    known = installed()
    if name in known:
        return known[name]
    if name in PUBLISHED:
        raise VictimError(
            f"{name!r} is an architecture without weights: jaxadv port makes a victim of it from a "
            f"checkpoint (--architecture {name})"
        )
    there = ", ".join(known) or "none"
    if os.path.isfile(name):
        raise VictimError(
            f"{name}: a file, where a victim's folder or name is expected; jaxadv port makes a "
            f"victim of a checkpoint; installed are {there}"
        )
    what = "a folder without record.json, so " if os.path.isdir(name) else ""
    raise VictimError(
        f"{what}no victim {quoted(name)}: installed are {there}; a folder with record.json works "
        "too"
    )


def read_record(folder: Path) -> tuple[Architecture, Names, dict[str, Any]]:
    """Read what a victim is made of, what its numbers mean, and the whole record.

    Raises:
      VictimError: the record cannot be read, has values that no victim has, or names that changed
        since it was written.
    """
    path = folder / "record.json"
    try:
        record = read_json(path)
    except FormatError as problem:
        raise VictimError(f"{problem}; a victim's record is expected") from None
    if not isinstance(record, dict):
        raise VictimError(f"{path}: not a victim's record, which is an object")
    try:
        architecture = _architecture(record)
        names = {name: _names(record, name) for name in architecture.named}
    except (ValueFault, VictimError) as problem:
        raise VictimError(f"{path}: not a victim's record ({problem})") from None
    for name, texts in names.items():
        if _digest_of_names(texts) != record.get(f"{name}_sha256"):
            raise VictimError(f"{path}: its {name} changed since it was written (SHA-256)")
    return architecture, names, record


def _architecture(record: dict[str, Any]) -> Architecture:
    """Make the architecture that a record describes, which checks its values."""
    kind = record.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueFault(f"kind: must be one of {', '.join(KINDS)}, not {quoted(kind)}")
    values = record.get("architecture")
    if not isinstance(values, dict):
        raise ValueFault("architecture: must be an object")
    fields = dataclasses.fields(KINDS[kind])
    unknown = values.keys() - {field.name for field in fields}
    if unknown:
        raise ValueFault(f"architecture: unknown are {listed(sorted(unknown))}")
    missing = [f.name for f in fields if f.default is dataclasses.MISSING and f.name not in values]
    if missing:
        raise ValueFault(f"architecture: missing are {listed(missing)}")
    made: Architecture = KINDS[kind](**values)
    return made


def _names(record: dict[str, Any], what: str) -> tuple[str, ...]:
    """Return the names of a record: texts, none of which is there twice."""
    values = record.get(what)
    if not isinstance(values, list):
        raise ValueFault(f"{what}: must be a list of texts")
    names = tuple(as_text(value, what) for value in values)
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueFault(f"{what}: there twice are {listed(twice)}")
    return names


def _shapes(folder: Path, architecture: Architecture, names: Names) -> Params:
    """Shapes of the variables; JAX refuses sizes that do not go together in many ways."""
    try:
        return architecture.shapes(names)
    except Exception:
        raise VictimError(
            f"{folder / 'record.json'}: no network can be made of its architecture "
            f"({architecture.parts}, pictures of {'x'.join(map(str, architecture.image_shape))})"
        ) from None


def _digest_of_names(names: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


def digest(params: Params) -> str:
    """SHA-256 of the names, types, shapes and values of all arrays, in hexadecimal."""
    total = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        array = np.ascontiguousarray(leaf)
        total.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        total.update(array.reshape(-1).view(np.uint8).data)  # bfloat16 is no buffer
    return total.hexdigest()


def identity(architecture: Architecture, names: Names, params: Params) -> dict[str, Any]:
    """Return what a record says that two victims alike have in common, as JSON has it."""
    made: dict[str, Any] = {
        "kind": architecture.kind,
        "architecture": recorded(architecture),
        "weights_sha256": digest(params),
        **{f"{name}_sha256": _digest_of_names(names[name]) for name in architecture.named},
    }
    return dict(json.loads(json.dumps(made)))


def _restore(path: Path, expected: Any) -> Params:
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    abstract = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), expected
    )
    _check_files(path)
    said = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # Orbax logs what files hold, in addition to what it raises
    try:
        _read_once(path)
        _check_shapes(path, expected)
        return ocp.load(path.absolute(), abstract)
    except Exception:  # of many kinds, in pages of its own words
        logging.getLogger("asyncio").addFilter(_is_not_of_orbax)
        raise VictimError(
            f"{path}: weights do not fit the record, or are damaged or truncated; copy the "
            "victim's folder again, or make it again (jaxadv port, jaxadv train)"
        ) from None
    finally:
        logging.disable(said)


def _read_once(path: Path) -> None:
    """Read what is stored in order: where that fails, Orbax's threads would print tracebacks."""
    base = {"driver": "file", "path": f"{path.absolute() / 'state'}/"}
    store = tensorstore.KvStore.open({"driver": "ocdbt", "base": base}).result()
    for key in store.list().result():
        store.read(key).result()


def _check_shapes(path: Path, expected: Any) -> None:
    """Compare what is stored with what is expected: Orbax would leave tasks that nobody awaits."""
    found = ocp.metadata(path.absolute()).metadata
    if jax.tree.map(np.shape, found) != jax.tree.map(np.shape, expected):
        raise ValueError("other arrays")


def _is_not_of_orbax(record: logging.LogRecord) -> bool:
    """Leave out what asyncio says when Orbax's tasks end that nobody waits for after a failure."""
    return "orbax" not in record.getMessage()


def _check_files(path: Path) -> None:
    """Refuse weights that are not files inside the folder: links lead out, pipes never end."""
    odd = [path] if path.is_symlink() or not path.is_dir() else []
    for place, folders, files in os.walk(path):
        odd += [Path(place) / name for name in folders if (Path(place) / name).is_symlink()]
        odd += [
            Path(place) / name
            for name in files
            if not S_ISREG((Path(place) / name).lstat().st_mode)
        ]
    if odd:
        raise VictimError(
            f"{odd[0]}: weights must be files in the victim's own folder; copy the folder again"
        )


def _is_plain(mode: int) -> bool:
    return S_ISREG(mode) or S_ISDIR(mode)


def check_free(folder: Path, force: bool, same: Mapping[str, Any] | None = None) -> None:
    """Check that a victim's folder can be written: nothing is there, or a victim to be replaced.

    Args:
      folder: where it would be written.
      force: replace a victim that is there.
      same: the `identity` of the victim to be written; one that has the same may be replaced.

    Raises:
      VictimError: something is there that is not to be replaced, or no folder can be of that name.
    """
    try:
        folder.lstat()
    except FileNotFoundError:
        return
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or "not a file name"
        line = f"{quoted(folder.name)}: no victim can be called that ({reason})"
        raise VictimError(line) from None
    if not (folder / "record.json").is_file():
        raise VictimError(f"{folder}: there, and no victim, so not replaced; choose another name")
    if not force and (same is None or not _is_same(folder, same)):
        raise VictimError(
            f"{folder}: a victim of that name is there; give --force to replace it, or another name"
        )


def _is_same(folder: Path, same: Mapping[str, Any]) -> bool:
    try:
        _, _, record = read_record(folder)
    except VictimError:
        return False
    return all(record.get(name) == value for name, value in same.items())


def save(
    folder: Path,
    architecture: Architecture,
    names: Names,
    params: Params,
    *,
    stored: str = "float32",
    backbone_of: str | None = None,
    **record: Any,
) -> None:
    """Write a victim's folder, whole or not at all; one of that name is replaced.

    Args:
      folder: where; its name is the victim's.
      architecture: what it is made of.
      names: what its numbers mean, as `architecture.named` asks.
      params: its Flax variables.
      stored: one of `STORED`; weights are rounded to it.
      backbone_of: name of a victim in the same folder that has the same backbone, which is then not
        stored again.
      **record: what else to remember (source, training, measures); must be JSON.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    params = rounded(params, stored)
    kept, compact = params, {}
    if stored != "float32":
        compact["stored"] = stored
    if backbone_of is not None:
        kept, own = _apart(params)
        shared = _backbone(folder, backbone_of, own)
        if digest(shared) != digest(own):
            raise VictimError(f"{folder}: its backbone is not that of {backbone_of!r}")
        compact["backbone_of"] = backbone_of
    kept = jax.tree.map(lambda x: x.astype(_stored_type(x, stored)), kept)
    written = {
        "kind": architecture.kind,
        "architecture": None,  # the identity has it; here it keeps its place
        **record,
        **compact,
        "jaxadv": jaxadv.__version__,
        **identity(architecture, names, params),
        **{name: list(names[name]) for name in architecture.named},
    }
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".victim-") as scratch:
        fresh = Path(scratch) / "new"
        fresh.mkdir()
        ocp.save((fresh / "weights").absolute(), kept)
        (fresh / "record.json").write_text(json.dumps(written, indent=1) + "\n")
        if folder.exists():
            shutil.move(folder, Path(scratch) / "old")
        os.replace(fresh, folder)
