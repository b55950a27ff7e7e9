"""What the attacks on taggers aim at: choosing S, reading labels, the rule of success, ties."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxadv.labels.ranking import in_top, ranks
from jaxadv.labels.target import (
    LabelError,
    LabelTarget,
    UnknownLabelError,
    excluded,
    is_valid,
    leaves_top,
    make_label_target,
    parse_labels,
    specify_random,
)

CLASSES = ("red circle", "red star", "blue square", "green ring", "pink cross")


def target(relevant, specified, k):
    return LabelTarget(jnp.array(relevant, bool), jnp.array(specified, bool), jnp.asarray(k))


def test_random_specified_labels_are_relevant_and_every_one_is_chosen():
    relevant = jnp.array([1, 0, 1, 1, 0, 1], bool)
    keys = jax.random.split(jax.random.key(0), 200)
    chosen = jax.vmap(specify_random, in_axes=(None, None, 0))(relevant, 2, keys)
    assert np.all(chosen.sum(axis=1) == 2)
    assert not np.any(chosen & ~relevant)
    assert np.all(chosen.any(axis=0) == relevant)
    again = specify_random(relevant, 2, keys[3])
    assert again.tolist() == chosen[3].tolist()


def test_more_random_labels_than_relevant_ones_are_all_of_them():
    relevant = jnp.array([1, 0, 1], bool)
    assert specify_random(relevant, 3, jax.random.key(0)).tolist() == relevant.tolist()


@pytest.mark.parametrize(
    ("relevant", "specified", "k", "valid"),
    [
        ([1, 1, 1, 0], [1, 0, 0, 0], 2, True),  # |Y| = k + |S|
        ([1, 1, 1, 0], [1, 1, 0, 0], 2, False),
        ([1, 1, 1, 0], [1, 0, 0, 0], 3, False),
        ([1, 1, 1, 0], [0, 0, 0, 0], 1, False),  # none of the specified is relevant
    ],
)
def test_which_pictures_are_attacked(relevant, specified, k, valid):
    assert bool(is_valid(target(relevant, specified, k))) is valid


def test_valid_pictures_of_a_batch():
    batch = target([[1, 1, 0], [1, 0, 0]], [[1, 0, 0], [1, 0, 0]], [1, 1])
    assert is_valid(batch).tolist() == [True, False]


def test_success_counts_the_specified_labels_that_are_out():
    aim = target([1, 1, 1, 1, 0], [1, 1, 0, 0, 0], 2)
    both_in = jnp.array([0.9, 0.8, 0.1, 0.2, 0.3])
    one_out = jnp.array([0.9, 0.2, 0.8, 0.1, 0.3])
    both_out = jnp.array([0.2, 0.3, 0.8, 0.9, 0.1])
    assert [int(excluded(aim, f)) for f in (both_in, one_out, both_out)] == [0, 1, 2]
    for delta, wanted in ((None, [0, 0, 1]), (1, [0, 1, 1]), (2, [0, 0, 1]), (5, [0, 0, 1])):
        got = [bool(leaves_top(aim, f, delta)) for f in (both_in, one_out, both_out)]
        assert got == [bool(x) for x in wanted]


def test_scores_that_are_not_finite_fool_nobody():
    aim = target([1, 1, 0], [0, 1, 0], 1)
    assert not leaves_top(aim, jnp.full(3, jnp.nan))


def test_ties_go_to_the_label_of_the_smaller_number():
    f = jnp.array([0.5, 0.5, 1.0, 0.5])
    assert ranks(f).tolist() == [1, 2, 0, 3]
    assert in_top(f, 2).tolist() == [True, False, True, False]
    assert not leaves_top(target([1, 1, 0, 0], [1, 0, 0, 0], 2), f)
    assert leaves_top(target([1, 1, 0, 0], [0, 1, 0, 0], 2), f)
    saturated = jax.nn.sigmoid(jnp.array([90.0, 80.0, 95.0]))  # all exactly 1
    assert in_top(saturated, 1).tolist() == [True, False, False]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4]), min_size=5, max_size=5), st.integers(0, 5))
def test_ranks_are_those_of_a_stable_sort(values, k):
    order = sorted(range(5), key=lambda i: (-values[i], i))
    top = in_top(jnp.array(values), k)
    assert sorted(np.flatnonzero(top).tolist()) == sorted(order[:k])


def test_labels_are_read_in_any_case_and_order():
    assert parse_labels(" Blue  Square,red circle, ", CLASSES).tolist() == [1, 0, 1, 0, 0]


ODD = (
    "tench, Tinca tinca", "hen", "two  words", "a_b", "Cat", "cat", "[unk]", "a:cat:b", "Straße",
    "cafe\u0301", " padded", "x,", "漢字", "a,b,c", "a",
)  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_every_label_can_be_named_as_the_victim_has_it(name):
    def named(*texts):
        return [c for c, s in zip(ODD, parse_labels(texts, ODD), strict=True) if s]

    assert named(name) == [name]
    assert set(named(name, "hen")) == {name, "hen"}
    if not name.endswith(","):
        assert set(named(f"{name},hen")) == {name, "hen"} == set(named(f"hen,{name}"))


@pytest.mark.parametrize(
    ("text", "name"),
    [("TENCH,  tinca Tinca", "tench, Tinca tinca"), ("tinca Tinca", None),
     ("café", "cafe\u0301"), ("strasse", "Straße"), ("HEN", "hen"), ("A,B,C", "a,b,c")],
)  # fmt: skip
def test_a_label_may_be_written_otherwise_where_one_alone_is_meant(text, name):
    if name is None:
        with pytest.raises(UnknownLabelError):
            parse_labels(text, ODD)
    else:
        assert parse_labels(text, ODD).tolist() == [c == name for c in ODD]


def test_a_label_that_two_are_alike_to_is_refused():
    with pytest.raises(LabelError, match="'CAT': 2 labels are alike"):
        parse_labels("CAT", ODD)


@pytest.mark.parametrize(
    ("text", "error", "line"),
    [
        ("red cirkle", UnknownLabelError, "unknown label 'red cirkle': did you mean 'red circle'"),
        ("zebra", UnknownLabelError, "unknown label 'zebra': the victim knows 5 labels, such as"),
        (" , ", LabelError, "no label: give at least one"),
    ],
)
def test_labels_that_cannot_be_read(text, error, line):
    with pytest.raises(error, match=line) as caught:
        parse_labels(text, CLASSES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("relevant", "specified", "k", "line"),
    [
        ("red circle, red star", "blue square", 1, "'blue square' is not relevant: choose among"),
        ("red circle, red star", "red star", 0, "k = 0: give from 1 to 4, of 5 labels"),
        ("red circle, red star", "red star", 5, "k = 5: give from 1 to 4, of 5 labels"),
        ("red circle, red star", "red star", 2, r"2 relevant labels: k \+ \|S\| = 3 are needed"),
    ],
)
def test_targets_that_cannot_be_aimed_at(relevant, specified, k, line):
    y, s = parse_labels(relevant, CLASSES), parse_labels(specified, CLASSES)
    with pytest.raises(LabelError, match=line) as caught:
        make_label_target(y, s, k, CLASSES)
    assert "\n" not in str(caught.value)


def test_a_target_needs_a_specified_label():
    y = parse_labels("red circle, red star", CLASSES)
    with pytest.raises(LabelError, match="no specified label"):
        make_label_target(y, jnp.zeros(5, bool), 1, CLASSES)


def test_a_target_is_what_was_given():
    y = parse_labels("red circle, red star, pink cross", CLASSES)
    s = parse_labels("red star", CLASSES)
    made = make_label_target(y, s, 2, CLASSES)
    assert made.relevant.tolist() == y.tolist() and made.specified.tolist() == s.tolist()
    assert int(made.k) == 2 and made.k.dtype == jnp.int32
