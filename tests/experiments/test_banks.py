"""Banks of pictures: which they are, that they are kept, and made again where that is no use."""

import jax
import numpy as np
import pytest

from jaxadv.captions.methods import METHODS
from jaxadv.core.method import choose
from jaxadv.data import photographs, scenes
from jaxadv.data.images import resize, write_png
from jaxadv.errors import InputError
from jaxadv.experiments import banks
from jaxadv.experiments.banks import most_pictures, params_with_bank
from jaxadv.training.views import VIEWS
from jaxadv.victims import zoo

NAME, COUNT = "scenes-show-tell", 6
RELIABLE = choose(METHODS, "reliable", budget=5)


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A user's cache folder, and banks of few pictures."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(banks, "PICTURES", COUNT)
    return tmp_path / "jaxadv" / "banks"


def same(some, other):
    jax.tree.map(np.testing.assert_array_equal, some.bank, other.bank)


def test_a_bank_is_made_once(kept, monkeypatch):
    """By the digest of its pictures and of the victim's weights."""
    victim = zoo.load(NAME)
    first = params_with_bank(RELIABLE, victim)
    assert first.bank.captions.shape[0] == COUNT
    (path,) = kept.iterdir()
    assert path.stat().st_mode & 0o777 <= 0o644 and kept.stat().st_mode & 0o777 == 0o700
    method = RELIABLE.method._replace(with_bank=lambda *a: build(*a))
    again = choose([method], "reliable", budget=5)
    build = RELIABLE.method.with_bank

    made = []

    def counted(captioner, params, pictures):
        if not isinstance(jax.tree.leaves(params)[0], jax.core.Tracer):
            made.append(len(pictures))
        return RELIABLE.method.with_bank(captioner, params, pictures)

    build = counted
    same(params_with_bank(again, victim), first)
    assert made == []
    record = {**victim.record, "weights_sha256": "other"}
    params_with_bank(again, victim._replace(record=record))
    monkeypatch.setattr(banks, "SEED", 8)
    params_with_bank(again, victim)
    assert made == [COUNT, COUNT] and len(list(kept.iterdir())) == 3


@pytest.mark.parametrize("damage", [b"", b"no archive", None])
def test_a_damaged_bank_is_made_again(kept, damage):
    victim = zoo.load(NAME)
    first = params_with_bank(RELIABLE, victim)
    (path,) = kept.iterdir()
    path.write_bytes(path.read_bytes()[:-40] if damage is None else damage)
    same(params_with_bank(RELIABLE, victim), first)


def test_without_a_cache_folder_nothing_is_kept(kept, monkeypatch):
    monkeypatch.setattr(banks, "user_cache", lambda name: None)
    assert params_with_bank(RELIABLE, zoo.load(NAME)).bank.captions.shape[0] == COUNT
    assert not kept.exists()


def test_pictures_of_a_folder(kept, tmp_path):
    """What is no picture is passed over; a folder without one is refused."""
    victim, folder = zoo.load(NAME), tmp_path / "pictures"
    folder.mkdir()
    (folder / "broken.png").write_bytes(b"no picture")
    named = choose(METHODS, "reliable", budget=5, bank=str(folder))
    with pytest.raises(InputError, match="bank: no picture in it can be read"):
        params_with_bank(named, victim)
    shown = [e.picture for e in scenes.examples(3, 2)]
    for number, picture in enumerate(shown):
        write_png(folder / f"{number}.png", picture)
    found = params_with_bank(named, victim).bank
    build = RELIABLE.method.with_bank
    wanted = build(victim.captioner, victim.params, np.stack(shown)).bank
    np.testing.assert_array_equal(found.captions, wanted.captions)
    with pytest.raises(InputError, match="not a folder of images"):
        params_with_bank(choose(METHODS, "reliable", bank=str(tmp_path / "absent")), victim)


def test_large_features_make_a_small_bank(monkeypatch):
    """So that a bank fits in memory."""
    victim = zoo.load("scenes-show-attend-tell")
    assert most_pictures(victim.captioner, victim.params) == banks.PICTURES
    image = jax.ShapeDtypeStruct(victim.captioner.image_shape, np.float32)
    leaves = jax.tree.leaves(jax.eval_shape(victim.captioner.encode, victim.params, image))
    each = sum(leaf.size * 4 for leaf in leaves)
    monkeypatch.setattr(banks, "LARGEST", 10 * each)
    assert most_pictures(victim.captioner, victim.params) == 10


def test_other_methods_take_the_parameters_alone():
    victim = zoo.load(NAME)
    assert params_with_bank(choose(METHODS, "gem"), victim) is victim.params


def test_by_default_a_captioner_of_photographs_has_the_shipped_ones():
    """Views of each; those of scenes have scenes, and so has who names them."""
    shown = photographs.example(photographs.NAMES[0]).picture
    victim = zoo.load("photos-show-tell")
    found = list(banks._pictures(victim, "", None))
    assert len(found) == len(photographs.NAMES) * VIEWS
    np.testing.assert_array_equal(found[0], shown)
    scene = next(scenes.examples(banks.SEED, 1)).picture
    for name, bank, data in (
        (NAME, "", None),
        ("photos-show-tell", "scenes", None),
        ("photos-show-tell", "", ["scenes"]),
    ):
        one = zoo.load(name)
        first = next(iter(banks._pictures(one, bank, data)))
        np.testing.assert_array_equal(first, resize(scene, one.captioner.image_shape[:2]))
