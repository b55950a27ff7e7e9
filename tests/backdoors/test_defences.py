"""Defences find what stands out, as their papers say, and scikit-learn agrees."""

import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny import tiny_captioner, tiny_image, tiny_parameters
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

from jaxadv.backdoors.defences import (
    activation_clustering,
    detection,
    encoder_features,
    spectral_scores,
    spectral_signatures,
)


def planted(gap, seed=0, clean=190, poisoned=10, width=16):
    """Clean samples around 0, poisoned ones moved by `gap` along one direction."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(clean + poisoned, width)).astype(np.float32)
    features[clean:, 0] += gap
    return features, np.arange(clean + poisoned) >= clean


def test_scores_are_the_squared_first_principal_component():
    features, _ = planted(3)
    components = PCA(1).fit_transform(features.astype(np.float64))[:, 0]
    np.testing.assert_allclose(spectral_scores(features), components**2, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("defence", ["spectral", "clustering"])
def test_what_stands_out_is_found_and_what_does_not_is_not(defence):
    def flag(features):
        if defence == "spectral":
            return spectral_signatures(features, expected=0.05)
        return activation_clustering(features)

    features, truth = planted(gap=20)
    found = detection(flag(features), truth)
    assert found.detected == 1 and found.false_alarms < 0.05
    features, truth = planted(gap=0)
    assert detection(flag(features), truth).detected < 0.8


def test_the_number_that_is_flagged():
    features, _ = planted(gap=20)
    assert spectral_signatures(features, 0.05).sum() == 15
    assert spectral_signatures(features, 1).sum() == 200


def test_clusters_are_those_of_scikit_learn():
    features, _ = planted(gap=12, clean=60, poisoned=30)
    whitened = PCA(10, whiten=True).fit_transform(features.astype(np.float64))
    labels = KMeans(2, n_init=20, random_state=0).fit_predict(whitened)
    theirs = labels == np.argmin(np.bincount(labels))
    np.testing.assert_array_equal(activation_clustering(features), theirs)


def test_samples_that_are_all_alike_are_not_flagged():
    assert not activation_clustering(np.ones((5, 3), np.float32)).any()


def test_area_under_the_curve():
    rng = np.random.default_rng(0)
    truth = rng.random(50) < 0.3
    scores = np.round(rng.random(50) + 0.3 * truth, 1)  # with ties
    area = detection(truth, truth, scores).area
    assert area == pytest.approx(roc_auc_score(truth, scores))
    assert detection(truth, truth).area is None


def test_features_of_any_captioner():
    parameters = tiny_parameters(dtype="float32")
    features = encoder_features(tiny_captioner().encode, parameters, tiny_image(0, "float32"))
    assert features.shape == (6,)


def test_grids_are_averaged_over_their_cells():
    """Features as those of Show-Attend-and-Tell: a grid of cells, its keys, a first state."""
    rng = np.random.default_rng(0)
    cells, first = rng.random((4, 3), np.float32), rng.random(5, np.float32)
    made = jnp.asarray(cells), jnp.asarray(first)
    victim = tiny_captioner()._replace(encode=lambda params, image: made)
    features = encoder_features(victim.encode, {}, tiny_image(0, "float32"))
    np.testing.assert_allclose(features, [*cells.mean(axis=0), *first], rtol=1e-6)
