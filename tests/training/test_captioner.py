"""Fitting captioners: the losses go down, the rewards go up, the same seed gives the same."""

from itertools import repeat

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny import batch_of, tiny_captioner, tiny_image, tiny_parameters
from PIL import Image

from jaxadv.captions.captioner import caption_log_probability, greedy, log_probabilities
from jaxadv.core.cider import cider_d, document_frequencies
from jaxadv.data.records import FolderError, Record
from jaxadv.errors import InputError
from jaxadv.training.captioner import caption_data, fit_likelihood, negative_log_likelihood
from jaxadv.training.photo_captioner import standardised, train_on_photos
from jaxadv.training.recipe import Storage, hold_out
from jaxadv.training.self_critical import fit_self_critical, sample, words
from jaxadv.training.start import backbone_of
from jaxadv.training.views import VIEWS, views, views_of_caption
from jaxadv.victims import zoo
from jaxadv.victims.architectures import CaptionerArchitecture, VictimError
from jaxadv.victims.nets.caption_net import initial_variables
from jaxadv.victims.nets.mobilenet_v2 import load_mobilenet_v2
from jaxadv.vocabulary import Vocabulary


@pytest.mark.parametrize(
    ("decoder", "backbone"),
    [
        ("show-tell", "resnet-small"),
        ("fc", "resnet-small"),
        ("show-attend-tell", "resnet-small"),
        ("att2in", "resnet-small"),
        ("att2in2", "resnet-small"),
        pytest.param("transformer", "vit-small", marks=pytest.mark.slow),
    ],
)
def test_likelihood_rises_on_a_colour_task(decoder, backbone):
    """Each decoder learns to name the colour of a plain picture within sixty steps."""
    colours = np.eye(3, dtype=np.float32)
    pictures = np.repeat(np.repeat(colours[:, None, None], 64, 1), 64, 2)
    architecture = CaptionerArchitecture(decoder, backbone, units=24, max_length=3, side=64)
    vocabulary = tiny_captioner(words=4).vocabulary
    data = caption_data(
        np.tile(pictures, (4, 1, 1, 1)), [("a cat",), ("a dog",), ("sits",)] * 4, vocabulary, 3
    )
    net = architecture.network(vocabulary.size)
    variables = initial_variables(net, architecture.image_shape, jax.random.key(0))
    reports = []
    for report, now in fit_likelihood(
        architecture,
        vocabulary,
        variables,
        repeat(data),
        steps=60,
        batch=12,
        learning_rate=1e-2,
        key=jax.random.key(0),
        report_every=20,
    ):
        reports.append(report.loss)
        variables = now
    assert reports[-1] < 0.1 < reports[0]
    victim = architecture.captioner(vocabulary)
    said = [
        vocabulary.decode(greedy(victim, variables, victim.encode(variables, p)).tokens)
        for p in pictures
    ]
    assert said == ["a cat", "a dog", "sits"]


UNKNOWN = Vocabulary(("a", "UNK", "cat", "dog"))


def test_captions_that_teach_little_are_left_out():
    """Without a word, or mostly of unknown ones; half of them unknown still teaches the rest."""
    captions = [("a zebra", "!?", "a wild zebra"), ("A cat",)]
    data = caption_data(np.zeros((2, 4, 4, 3)), captions, UNKNOWN, 4)
    assert data.captions.tolist() == [[1, 2, 0, 0], [1, 3, 0, 0]]
    assert data.owner.tolist() == [0, 1]
    with pytest.raises(
        InputError,
        match="none of the 2 captions has at least half of its words",
    ):
        caption_data(np.zeros((1, 4, 4, 3)), [("zebras gallop", "")], UNKNOWN, 4)


def test_unknown_words_carry_no_loss():
    """The mean is over the other places, which read the unknown word."""
    victim = tiny_captioner()._replace(vocabulary=UNKNOWN)
    params = tiny_parameters(dtype=np.float32)
    features = victim.encode(params, tiny_image(0, np.float32))
    tokens = jnp.array([1, 2, 4, 0])
    log_p = log_probabilities(victim, params, features, tokens)
    expected = -(log_p[0, 1] + log_p[2, 4] + log_p[3, 0]) / 3
    found = negative_log_likelihood(victim, params, features, tokens)
    assert float(found) == pytest.approx(float(expected), rel=1e-6)
    known = negative_log_likelihood(tiny_captioner(), params, features, tokens)
    assert float(known) == pytest.approx(float(-log_p[jnp.arange(4), tokens].mean()), rel=1e-6)


def test_samples_follow_the_model():
    """Frequencies of sampled captions are exp(ln P)."""
    victim = tiny_captioner(words=2, max_length=2)
    parameters = tiny_parameters(words=2, dtype="float32")
    features = victim.encode(parameters, tiny_image(0, dtype="float32"))
    keys = jax.random.split(jax.random.key(0), 4000)
    drawn = jax.vmap(lambda k: sample(victim, parameters, features, k).tokens)(keys)
    for caption in ([0, 0], [1, 0], [1, 2], [2, 1]):
        share = np.mean(np.all(np.asarray(drawn) == caption, axis=1))
        log_p = caption_log_probability(victim, parameters, features, jnp.array(caption))
        assert share == pytest.approx(float(jnp.exp(log_p)), abs=0.03)


def test_self_critical_training_raises_the_reward():
    victim = tiny_captioner(words=4, max_length=4)
    parameters = tiny_parameters(words=4, dtype="float32")
    features = jax.vmap(lambda i: victim.encode(parameters, i))(
        batch_of(lambda s: tiny_image(s, dtype="float32"), 8)
    )
    references = [[(1, 2 + i % 3, 0)] for i in range(8)]
    reports = [
        report
        for report, _ in fit_self_critical(
            victim,
            parameters,
            features,
            references,
            steps=120,
            batch=8,
            learning_rate=3e-2,
            key=jax.random.key(0),
        )
    ]
    assert reports[-1].loss.sampled > reports[0].loss.sampled + 0.5


def test_words_count_the_end():
    statistics = document_frequencies([[(1, 2, 0)], [(3, 0)]])
    assert words(np.array([1, 2, 0, 0])) == (1, 2, 0)
    assert words(np.array([1, 2, 1, 2])) == (1, 2, 1, 2)
    assert cider_d((1, 2, 0), [(1, 2, 0)], statistics) > cider_d((1, 2), [(1, 2, 0)], statistics)


def test_hold_out_parts_without_overlap(tmp_path):
    photos = [Record(f"{i:03d}", tmp_path, ("a",)) for i in range(50)]
    training, aside = hold_out(photos, 10)
    assert len(aside) == 10 and not {p.id for p in training} & {p.id for p in aside}
    assert hold_out(photos, 10) == (training, aside)
    with pytest.raises(FolderError, match="cannot hold out 50"):
        hold_out(photos, 50)


def test_photographs_end_to_end(tmp_path, real_data):
    """Two steps over the real MobileNetV2 on plain pictures, stored small: saved, loaded."""
    photos = []
    for i in range(8):
        path = tmp_path / f"{i}.png"
        Image.new("RGB", (40, 30), (30 * i, 0, 0)).save(path)
        photos.append(Record(str(i), path, ("a red cat here", "a cat")))
    weights = load_mobilenet_v2(real_data / "mobilenet_v2" / "mobilenet_v2_1.0_224.npz")
    job = train_on_photos(
        tmp_path / "mine",
        CaptionerArchitecture("show-tell", "mobilenet-v2", units=8, max_length=5),
        photos,
        backbone=weights,
        origin="test",
        steps=2,
        self_critical_steps=1,
        held_out=2,
        more_than=1,
        batch=4,
        report_every=1,
        storage=Storage("bfloat16"),
    )
    news = list(job)
    assert news[-1].done == news[-1].total
    victim = zoo.load(str(tmp_path / "mine"))
    assert len(victim.record["held_out"]) == 2
    assert victim.record["measures"]["held_out_photographs"]["photographs"] == 2
    assert set(victim.captioner.vocabulary.words) == {"a", "cat", "here", "red", "UNK"}


def test_views_are_the_photograph_its_crops_and_their_mirror_images():
    picture = np.random.default_rng(0).random((20, 30, 3), np.float32)
    seen = views(picture, np.random.default_rng(1))
    assert seen.shape == (VIEWS, 20, 30, 3)
    np.testing.assert_array_equal(seen[0], picture)
    np.testing.assert_array_equal(seen[VIEWS // 2 :], seen[: VIEWS // 2, :, ::-1])
    assert all(np.abs(seen[i] - picture).mean() > 0.05 for i in range(1, VIEWS // 2))
    again = views(picture, np.random.default_rng(1))
    np.testing.assert_array_equal(seen, again)


def test_captions_that_name_a_side_are_not_paired_with_mirror_images():
    captions = [("a cat on the left", "a cat")]
    grids = np.arange(4.0).reshape(1, 4, 1, 1, 1)
    data = caption_data(grids, captions, Vocabulary(("a", "cat", "left", "on", "the")), 6, 4)
    assert data.views.tolist() == [2, 4]
    assert views_of_caption("to the right of it", 1) == 1


def test_label_smoothing_is_the_mixed_cross_entropy():
    victim = tiny_captioner(words=4)
    params = tiny_parameters(words=4, dtype="float32")
    features = victim.encode(params, tiny_image(0, dtype="float32"))
    tokens = jnp.array([1, 2, 0, 0])[: victim.max_length]
    log_p = np.asarray(log_probabilities(victim, params, features, tokens))
    counted = [0, 1, 2]
    chosen = np.array([log_p[t, tokens[t]] for t in counted])
    mean = log_p[counted].mean(axis=1)
    wanted = -(0.9 * chosen + 0.1 * mean).mean()
    found = negative_log_likelihood(victim, params, features, tokens, smoothing=0.1)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_standardised_pictures_differ():
    """The embedded pictures have mean 0; a decoder without that layer stays as it is."""
    architecture = CaptionerArchitecture("show-tell", "resnet-small", units=16, side=64)
    net = architecture.network(5)
    start = initial_variables(net, architecture.image_shape, jax.random.key(0))
    channels = start["params"]["decoder"]["img_embed"]["kernel"].shape[0]
    pooled = 3 + np.random.default_rng(0).random((200, channels), np.float32)
    layer = standardised(start, pooled, 2.0)["params"]["decoder"]["img_embed"]
    embedded = pooled @ layer["kernel"] + layer["bias"]
    np.testing.assert_allclose(embedded.mean(axis=0), 0, atol=1e-2)
    assert 1.4 < embedded.std() < 2.6
    other = CaptionerArchitecture("att2in2", "resnet-small", units=16, side=64).network(5)
    plain = initial_variables(other, (64, 64, 3), jax.random.key(0))
    assert standardised(plain, pooled) is plain


def test_a_hasher_has_no_backbone_to_begin_from():
    with pytest.raises(VictimError, match="'scenes-dcmh' is a hasher; give a captioner or a tag"):
        backbone_of(zoo.load("scenes-dcmh"))
