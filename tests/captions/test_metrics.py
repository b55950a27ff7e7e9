import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxadv.captions.metrics import caption_scores, precision, recall, success_sign

T = 6


def literal(target, observed, predicted):
    """Eqs. 17-18 in lists: captions without padding, places counted from 0."""
    caption = target[: target.index(0)] if 0 in target else target
    prediction = predicted[: predicted.index(0)] if 0 in predicted else predicted
    end_observed = len(caption) < len(target) and observed[len(caption)]
    places = [t for t in range(len(caption)) if observed[t]]
    wanted = [(t, caption[t]) for t in places]
    got = [(t, prediction[t]) for t in places if t < len(prediction)]
    common = [pair for pair in got if pair in wanted]
    success = got == wanted and (not end_observed or len(prediction) == len(caption))
    if not wanted:
        return success, 1, 1
    return success, len(common) / len(got) if got else 0, len(common) / len(wanted)


def padded(words):
    return words + [0] * (T - len(words))


@st.composite
def examples(draw):
    """Few different words, so that predictions are often right; any lengths from 0 to T."""
    words = st.lists(st.integers(1, 3), max_size=T)
    target, predicted = draw(words), draw(words)
    if draw(st.booleans()):  # a near miss: the target with a few places changed
        places = draw(st.sets(st.integers(0, T - 1), max_size=2))
        predicted = [w + 1 if t in places else w for t, w in enumerate(target)]
        predicted = predicted[: draw(st.integers(0, T))]
    observed = draw(st.lists(st.booleans(), min_size=T, max_size=T))
    observed = [seen and t <= len(target) for t, seen in enumerate(observed)]
    return padded(target), observed, padded(predicted)


def arrays(example):
    target, observed, predicted = example
    return jnp.array(target), jnp.array(observed), jnp.array(predicted)


scores_of = jax.jit(caption_scores)


@settings(max_examples=300, deadline=None)
@given(examples())
def test_literal_definition_and_order(example):
    success, precision, recall = map(np.asarray, scores_of(*arrays(example)))
    np.testing.assert_allclose((success, precision, recall), literal(*example), rtol=1e-6)
    assert precision >= recall >= success
    if success:
        assert precision == recall == 1


@settings(max_examples=100, deadline=None)
@given(examples())
def test_the_target_itself_is_a_success(example):
    target, observed, _ = arrays(example)
    assert scores_of(target, observed, target) == (True, 1, 1)


HAND = {
    # name: (target, observed, predicted, success, precision, recall)
    "exact": ([5, 7, 8, 0], [1, 1, 1, 1], [5, 7, 8, 0], True, 1, 1),
    "one wrong word": ([5, 7, 8, 0], [1, 1, 1, 1], [5, 9, 8, 0], False, 2 / 3, 2 / 3),
    "wrong where hidden": ([5, 7, 8, 0], [1, 0, 1, 1], [5, 9, 8, 0], True, 1, 1),
    "too short": ([5, 7, 8, 0], [1, 1, 1, 1], [5, 7, 0, 0], False, 1, 2 / 3),
    "too short, one wrong": ([5, 7, 8, 0], [1, 1, 1, 1], [5, 9, 0, 0], False, 1 / 2, 1 / 3),
    "too long": ([5, 7, 0, 0], [1, 1, 1, 0], [5, 7, 8, 9], False, 1, 1),
    "too long, end hidden": ([5, 7, 0, 0], [1, 1, 0, 0], [5, 7, 8, 9], True, 1, 1),
    "ends before the first": ([5, 7, 8, 0], [0, 1, 1, 0], [5, 0, 0, 0], False, 0, 0),
    "says nothing": ([5, 7, 8, 0], [1, 1, 1, 1], [0, 0, 0, 0], False, 0, 0),
    "differences cancel": ([5, 7, 8, 0], [1, 1, 1, 1], [6, 6, 8, 0], False, 1 / 3, 1 / 3),
    "right words elsewhere": ([5, 7, 8, 0], [1, 1, 1, 1], [7, 8, 5, 0], False, 0, 0),
    "only the end, right": ([5, 7, 0, 0], [0, 0, 1, 0], [1, 2, 0, 0], True, 1, 1),
    "ends at a hidden word": ([5, 7, 0, 0], [1, 0, 1, 0], [5, 0, 0, 0], False, 1, 1),
    "empty target, right": ([0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], True, 1, 1),
    "only the end, wrong": ([5, 7, 0, 0], [0, 0, 1, 0], [1, 2, 3, 0], False, 1, 1),
    "no room for an end": ([5, 7, 8, 4], [1, 1, 1, 1], [5, 7, 8, 4], True, 1, 1),
}


@pytest.mark.parametrize("name", HAND)
def test_by_hand(name):
    target, observed, predicted, *expected = HAND[name]
    example = jnp.array(target), jnp.array(observed, bool), jnp.array(predicted)
    scores = caption_scores(*example)
    np.testing.assert_allclose(scores, expected, rtol=1e-6)
    assert scores == (success_sign(*example), precision(*example), recall(*example))
    assert [score.dtype for score in scores] == [bool, jnp.float32, jnp.float32]
    assert all(score.shape == () for score in scores)


def test_vmap_agrees():
    rows = list(HAND.values())
    target, predicted = (jnp.array([row[i] for row in rows]) for i in (0, 2))
    observed = jnp.array([row[1] for row in rows], bool)
    scores = jax.jit(jax.vmap(caption_scores))(target, observed, predicted)
    np.testing.assert_allclose(jnp.stack(scores, axis=1), [row[3:] for row in rows], rtol=1e-6)
