"""Banks of pictures, for attacks that use others than the one they attack; kept between runs."""

import hashlib
import logging
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxadv.captions.captioner import Captioner
from jaxadv.core.method import Chosen
from jaxadv.data import photographs, scenes
from jaxadv.data.images import ImageError, find_images, read_image, resize
from jaxadv.data.opening import open_data
from jaxadv.data.records import captioned, load
from jaxadv.errors import InputError
from jaxadv.formats.files import replacing, user_cache
from jaxadv.training.views import views
from jaxadv.victims.zoo import Victim

SEED = 7  # of generated scenes: no victim was trained on it, and none is held out
PICTURES = 1024
LARGEST = 1 << 28  # bytes of features that a bank may hold
_log = logging.getLogger(__name__)


def params_with_bank(method: Chosen, victim: Victim, data: Sequence[str] | None = None) -> Any:
    """Return what a method takes in place of a captioner's parameters: they, or they and a bank.

    What the victim makes of the pictures is kept in the user's cache folder, by the digest of its
    weights and of the pictures.

    Args:
      method: the attack.
      victim: a captioner.
      data: what is attacked; where no bank is named, its photographs that were not held out are the
        bank. None for pictures of a person's own: then the bank is generated scenes for a captioner
        of scenes, else views of the photographs that are shipped.

    Raises:
      InputError: there is no picture for the bank.
    """
    build = method.method.with_bank
    if build is None:
        return victim.params
    captioner, count = victim.captioner, most_pictures(victim.captioner, victim.params)
    found = list(islice(_pictures(victim, method.value("bank"), data), count))
    if not found:
        raise InputError("bank: no picture in it can be read; name a folder of pictures")
    pictures = np.stack(found)
    path = _kept(victim, pictures)
    form = jax.eval_shape(partial(build, captioner), victim.params, pictures)
    if path is not None and (leaves := _read(path, form.bank)) is not None:
        return form._replace(params=victim.params, bank=leaves)
    _log.info("a bank of %d pictures: encoding", len(pictures))
    told = build(captioner, victim.params, pictures)
    if path is not None:
        _write(path, told.bank)
    return told


def most_pictures(captioner: Captioner, params: Any) -> int:
    """Return how many pictures a bank has: 1,024, or fewer where their features are large."""
    image = jax.ShapeDtypeStruct(captioner.image_shape, np.float32)
    features = jax.eval_shape(captioner.encode, params, image)
    each = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(features))
    return int(min(PICTURES, max(LARGEST // each, 1)))


def _pictures(victim: Victim, bank: str, data: Sequence[str] | None) -> Iterator[np.ndarray]:
    """Read pictures at the victim's size; those that cannot be read are passed over."""
    shape = victim.captioner.image_shape[:2]
    if data is None:
        knows_scenes = set(scenes.vocabulary().words) >= set(victim.captioner.vocabulary.words)
        if not bank and not knows_scenes:
            rng = np.random.default_rng(SEED)
            shown = (e.picture for e in photographs.examples(max(shape)))
            return (resize(view, shape) for picture in shown for view in views(picture, rng))
        data = ("scenes",)
    if bank and bank != "scenes":
        return _readable((partial(read_image, path) for path in find_images(bank)), shape)
    if bank == "scenes" or list(data) == ["scenes"]:
        return (resize(e.picture, shape) for e in scenes.examples(SEED, PICTURES))
    aside = set(victim.record.get("held_out") or ())
    photos = (p for p in captioned(open_data(data)).records if p.id not in aside)
    return _readable((partial(load, photo) for photo in photos), shape)


def _readable(loads: Iterable[Any], shape: tuple[int, int]) -> Iterator[np.ndarray]:
    for read in loads:
        try:
            yield resize(read(), shape)
        except ImageError:
            continue


def _kept(victim: Victim, pictures: np.ndarray) -> Path | None:
    """Return where a bank is kept; None where the user has no folder for it."""
    folder = user_cache("banks")
    if folder is None:
        return None
    found = hashlib.sha256(str(victim.record["weights_sha256"]).encode())
    found.update(f"{victim.captioner.vocabulary.suppressed} {pictures.shape}".encode())
    found.update(np.ascontiguousarray(pictures).data)
    return folder / f"{found.hexdigest()[:32]}.npz"


def _read(path: Path, form: Any) -> Any | None:
    """Read the arrays of a bank; None where there is none of that form."""
    wanted, structure = jax.tree.flatten(form)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as held:
            leaves = [held[f"leaf_{i}"] for i in range(len(wanted))]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    alike = all(
        (x.shape, x.dtype) == (w.shape, w.dtype) for x, w in zip(leaves, wanted, strict=True)
    )
    return jax.tree.unflatten(structure, leaves) if alike else None


def _write(path: Path, bank: Any) -> None:
    """Keep a bank for the next run; where that is not possible, it is made again then."""
    leaves = {f"leaf_{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(bank))}
    try:
        with replacing(path) as scratch, scratch.open("wb") as file:
            np.savez(file, **leaves)  # type: ignore[arg-type]
    except OSError as problem:
        _log.info("%s: the bank is not kept (%s)", path, problem.strerror)
