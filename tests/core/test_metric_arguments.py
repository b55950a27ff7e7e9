"""The measures refuse wrong arguments, in one line that names them."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from jaxadv.backdoors import metrics as backdoor
from jaxadv.core import bleu, cider
from jaxadv.errors import InputError
from jaxadv.hashing import metrics as retrieval
from jaxadv.labels import metrics as ranking

SCORES, RELEVANT = jnp.array([0.5, 0.9, 0.1]), jnp.array([True, False, True])
NAN = SCORES.at[1].set(jnp.nan)
CODES = retrieval.pack(np.array([[1.0, -1.0], [1.0, 1.0]]))
LABELS = np.eye(2, dtype=bool)
PICTURE = np.zeros((8, 8, 3), np.float32)
OF_K = (
    ranking.top_k_accuracy,
    ranking.precision_at_k,
    ranking.average_precision_at_k,
    ranking.ndcg_at_k,
    ranking.ranking_scores,
)


@pytest.fixture(autouse=True)
def untyped():
    """Without the suite's type checker, which would refuse before the functions do."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


@pytest.mark.parametrize("measure", OF_K)
@pytest.mark.parametrize("k", [0, 4, -1, 1.5, jnp.array(0), jnp.array(4), True, None], ids=repr)
def test_k_is_from_one_to_the_number_of_classes(measure, k):
    with pytest.raises(InputError, match=r"^k .*: must be a whole number from 1 to 3"):
        measure(SCORES, RELEVANT, k)


@pytest.mark.parametrize("measure", OF_K)
@pytest.mark.parametrize("value", [jnp.nan, jnp.inf, -jnp.inf])
def test_scores_that_are_not_finite_have_no_rank(measure, value):
    with pytest.raises(InputError, match=r"^scores: 1 of 3 are not finite"):
        measure(SCORES.at[1].set(value), RELEVANT, jnp.array(1))


def test_nan_never_leads_where_values_cannot_be_seen():
    first = jax.jit(ranking.top_k)(NAN, jnp.array(1))
    assert first.tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: ranking.ranking_scores(SCORES, RELEVANT, 1, "code"), "form 'code': must be one"),
        (lambda: ranking.average_precision(NAN, RELEVANT), "scores: 1 of 3"),
        (lambda: ranking.mean_average_precision(NAN[None], RELEVANT[None]), "scores: 1 of 3"),
        (
            lambda: ranking.attack_row(
                SCORES[None], NAN[None], RELEVANT[None], RELEVANT[None], 1, jnp.ones((1, 2))
            ),
            "after: 1 of 3 are not finite",
        ),
        (lambda: retrieval.pack(np.array([[np.nan, 1.0]])), "codes: 1 of 2 are not finite"),
        (lambda: retrieval.search(CODES[0], CODES, 0), "top 0: must be a whole number"),
        (lambda: retrieval.average_precision(LABELS[0], 0), "at 0: must be a whole number"),
        (lambda: retrieval.precisions(LABELS[0], -1), "top -1: must be a whole number"),
        (
            lambda: retrieval.retrieval(CODES, CODES, LABELS, LABELS, bits=0),
            "bits 0: must be a whole number",
        ),
        (
            lambda: retrieval.retrieval(
                CODES, CODES, LABELS, LABELS, bits=2, without_relevant="drop"
            ),
            "without_relevant 'drop': must be one of zero, skip",
        ),
        (
            lambda: retrieval.retrieval(CODES, CODES, LABELS[:1], LABELS, bits=2),
            "queries: 2 codes and labels of 1",
        ),
        (
            lambda: retrieval.retrieval(CODES, CODES, LABELS, LABELS[:, :1], bits=2),
            "labels of queries .* must be of one length",
        ),
        (
            lambda: retrieval.distortion(jnp.zeros(3), jnp.zeros(1)),
            r"distorted \[1\]: must be of the original's shape \[3\]",
        ),
        (lambda: bleu.corpus_bleu([], []), "one candidate for each image"),
        (lambda: bleu.corpus_bleu([("a",)], [[]]), "at least one reference"),
        (lambda: cider.document_frequencies([]), "at least one word"),
        (lambda: backdoor.exact_share([], "a cat"), "captions '': must be a list"),
        (lambda: backdoor.word_share(["a cat"], "!"), "wanted '!': must be a caption"),
        (lambda: backdoor.quality(["a cat"], []), "captions: 1, of 0 pictures"),
        (lambda: backdoor.visual_effect([PICTURE], []), "poisoned: 0 pictures and 1"),
        (lambda: backdoor.visual_effect([], []), "at least one"),
    ],
)
def test_wrong_arguments_are_one_line(call, line):
    with pytest.raises(InputError, match=line) as caught:
        call()
    assert "\n" not in str(caught.value)
