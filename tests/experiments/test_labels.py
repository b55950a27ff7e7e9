"""Which pictures a table on taggers is of, and which labels are suppressed."""

import numpy as np
import pytest

from jaxadv.data.label_types import COCO, EVERY
from jaxadv.experiments.labels import choose, labels_of_type

LABELS = np.array(
    [[1, 1, 1, 1, 0], [1, 1, 0, 0, 0], [0, 1, 1, 1, 1], [0, 0, 0, 0, 0], [1, 0, 1, 1, 0]], bool
)


def test_global_selection_keeps_the_papers_valid_pictures():
    """`|Y| >= k + |S|`, and a specified label among the relevant ones; the rest is counted."""
    wanted = np.array([1, 1, 0, 0, 0], bool)
    chosen = choose(LABELS, 2, wanted=wanted)
    assert chosen.numbers.tolist() == [0, 2, 4]
    assert chosen.targets.specified.sum(axis=1).tolist() == [2, 1, 1]
    assert chosen.left_out == {"too few relevant labels": 1, "no specified label": 1}


@pytest.mark.parametrize("number", [1, 2])
def test_random_selection_is_of_the_relevant_and_does_not_see_the_others(number):
    chosen = choose(LABELS, 2, number=number, seed=3)
    specified = np.asarray(chosen.targets.specified)
    assert (specified <= LABELS[chosen.numbers]).all()
    assert (specified.sum(axis=1) == number).all()
    assert (LABELS[chosen.numbers].sum(axis=1) >= 2 + number).all()
    again = choose(LABELS[:3], 2, number=number, seed=3)
    np.testing.assert_array_equal(again.targets.specified, specified[: len(again.numbers)])


def test_the_released_code_draws_from_what_is_said():
    """S is of the relevant labels among the first k; a picture with too few of them is left out."""
    scores = np.linspace(0.9, 0.1, 5) + np.zeros((5, 1))
    said = LABELS & np.array([1, 1, 1, 0, 0], bool)
    chosen = choose(LABELS, 2, number=1, scores=scores)  # k = 2: labels 0 and 1
    assert chosen.numbers.tolist() == [0, 2, 4]
    specified = np.asarray(chosen.targets.specified)
    assert (specified <= said[chosen.numbers]).all() and not specified[:, 2:].any()
    assert chosen.left_out == {"too few relevant labels": 2}
    two = choose(LABELS, 2, number=2, scores=scores)
    assert two.numbers.tolist() == [0]  # the only one that both of the first two are right for
    assert two.left_out == {
        "too few relevant labels": 2,
        "too few specified labels among the first k": 2,
    }
    everywhere = choose(LABELS, 1, wanted=np.array([0, 0, 1, 1, 0], bool), scores=scores)
    assert everywhere.numbers.tolist() == []
    last = choose(LABELS, 1, wanted=np.array([1, 0, 0, 1, 0], bool), scores=scores)
    assert last.numbers.tolist() == [0, 1, 4]  # the third has a label of them that is not said
    assert last.targets.specified.sum(axis=1).tolist() == [2, 1, 2]


def test_pictures_with_fewer_specified_labels_than_must_leave_are_left_out():
    wanted = np.array([1, 1, 0, 0, 0], bool)
    chosen = choose(LABELS, 1, wanted=wanted, delta=2)
    assert chosen.numbers.tolist() == [0]
    assert chosen.left_out == {
        "fewer than 2 specified labels": 2,
        "no specified label": 1,
        "too few relevant labels": 1,
    }


def test_only_so_many_valid_pictures():
    chosen = choose(LABELS, 2, number=1, most=2)
    assert chosen.numbers.tolist() == [0, 2] and chosen.left_out == {"too few relevant labels": 1}
    assert choose(LABELS, 2, number=1, most=9).numbers.tolist() == [0, 2, 4]


def test_types_of_the_paper_and_words():
    classes = tuple(dict.fromkeys(label for labels in COCO.values() for label in labels))
    furniture = labels_of_type("Furniture", classes)
    assert {c for c, here in zip(classes, furniture, strict=True) if here} == set(COCO["furniture"])
    assert labels_of_type("potted", classes).sum() == 1  # a word


def test_no_label_is_twice_in_a_type():
    for types in EVERY:
        for labels in types.values():
            assert len(set(labels)) == len(labels)
