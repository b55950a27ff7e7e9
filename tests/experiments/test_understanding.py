"""The study of captioners that speak by a template, small enough to know what must come out."""

import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny import tiny_captioner, tiny_parameters
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxadv.captions.captioner import Captioner
from jaxadv.captions.methods import METHODS
from jaxadv.core.method import choose
from jaxadv.errors import InputError
from jaxadv.experiments.subjects import Subject
from jaxadv.experiments.transfer import compare_words, target_words, transfer
from jaxadv.experiments.understanding import Plan, check, understand
from jaxadv.experiments.understanding_tables import (
    likelihood_panel,
    order,
    tables_of,
    transfer_matrices,
)
from jaxadv.vocabulary import Vocabulary

WORDS = ("a", "circle", "star", "is", "above", "below")
PLACES = (("a",), ("circle", "star"), ("is",), ("above", "below"), ("a",), ("circle", "star"))
SIDE = 4
PLAN = Plan(
    [choose(METHODS, "ssvm", learning_rate=0.05, iterations=30)], images=4, targets=2, batch=16
)


def template_captioner(words=WORDS, side=SIDE, name="template"):
    """Says `a THING is RELATION a THING`; the picture, seen at 4 x 4, decides between two words.

    Nothing else can be said with a picture in [0, 1]: the template's words are 20 ahead.
    """
    rng = np.random.default_rng(0)
    size, depth = len(WORDS) + 1, SIDE * SIDE * 3
    weights, bias = np.zeros((8, size, depth)), np.full((8, size), -20.0)
    bias[6:, 0] = 0
    for place, some in enumerate(PLACES):
        for word in some:
            number = 1 + WORDS.index(word)
            bias[place, number] = 0
            weights[place, number] = rng.normal(0, 0.3, depth)
    mine = [0, *(1 + WORDS.index({"over": "above"}.get(word, word)) for word in words)]

    def encode(params, image):
        seen = image.reshape(SIDE, side // SIDE, SIDE, side // SIDE, 3).mean((1, 3))
        return jnp.einsum("tvd,d->tv", params["weights"], seen.reshape(-1) - 0.5) + params["bias"]

    def begin(params, features):
        return jnp.asarray(0), features

    def advance(params, features, state, token):
        return state[0] + 1, state[1]

    def logits(params, state):
        return state[1][state[0]]

    params = {
        "weights": jnp.asarray(weights[:, mine], jnp.float32),
        "bias": jnp.asarray(bias[:, mine], jnp.float32),
    }
    captioner = Captioner(encode, begin, advance, logits, Vocabulary(words), 7, (side, side, 3))
    pictures = [
        np.kron(seen, np.ones((side // SIDE, side // SIDE, 1))).astype(np.float32)
        for seen in np.random.default_rng(1).uniform(size=(12, SIDE, SIDE, 3))
    ]
    return Subject(name, captioner, params, pictures)


@pytest.fixture(scope="module")
def found():
    """Two captioners of one function, whose words have different numbers."""
    subjects = [template_captioner(), template_captioner(words=WORDS[::-1], name="renumbered")]
    news = list(understand(subjects, PLAN))
    assert [n.done for n in news] == sorted(n.done for n in news)
    assert news[-1].done == news[-1].total
    studies = [study for n in news for study in n.studies]
    return studies, [t for n in news for t in n.transfers], news[-1].total


def test_the_diagonal_is_the_white_box_success(found):
    studies, transfers, _ = found
    for study in studies:
        (own,) = [t for t in transfers if t.source == t.victim == study.victim]
        complete = [o for o in study.words if o.request.setting == "0 latent"]
        assert own.attempts == len(complete) == PLAN.images * PLAN.targets
        assert own.success == np.mean([o.columns["success"] for o in complete]) > 0.8
        np.testing.assert_allclose(
            own.precision, np.mean([o.columns["precision"] for o in complete])
        )
        assert own.benign < own.precision


def test_captioners_are_compared_by_words(found):
    """Other numbers for the same words change nothing."""
    _, transfers, _ = found
    by_pair = {(t.source, t.victim): t for t in transfers}
    own, renumbered = by_pair["template", "template"], by_pair["template", "renumbered"]
    assert renumbered[3:] == own[3:]
    assert {t.unsayable for t in transfers} == {0}
    success, precision, benign = transfer_matrices(transfers)
    assert success.rows == success.columns == ("template", "renumbered")
    for i, source in enumerate(success.rows):
        for j, victim in enumerate(success.columns):
            cell = by_pair[source, victim]
            measured = (success.values[i, j], precision.values[i, j], benign.values[i, j])
            assert measured == (cell.success, cell.precision, cell.benign)


def test_shown_at_another_resolution_to_one_who_lacks_a_word(found):
    """Resized for it; targets with a word that it does not know are counted, and missed."""
    made, template = found[0][0].complete, template_captioner()
    wanted = [target_words(o.request.target, template.captioner.vocabulary) for o in made]
    larger = template_captioner(side=2 * SIDE, name="larger")
    cell = transfer("ssvm", "template", wanted, made, larger, [()] * 4, batch=16)
    assert cell.success > 0.5 and cell.benign == 0 and cell.unsayable == 0
    without = template_captioner(words=(*WORDS[:4], "over", "below"))
    cell = transfer("ssvm", "template", wanted, made, without, [()] * 4, batch=16)
    lacking = sum("above" in words for words in wanted)
    assert cell.unsayable == lacking > 0
    assert cell.success == np.mean(
        [o.columns["success"] and "above" not in w for o, w in zip(made, wanted, strict=True)]
    )


def test_forms_within_and_beyond_the_template(found):
    """The passive is reached, the reduced clause never; the attributive one is counted."""
    studies, _, total = found
    assert sum(len(s.words) + len(s.attempts) for s in studies) == total
    for study in studies:
        by_form = {}
        for attempt in study.attempts:
            assert attempt.outcome.request.image == attempt.sentence.image
            by_form.setdefault(attempt.sentence.form, []).append(attempt)
        assert set(by_form) == {"active", "passive", "reduced"}
        assert np.mean([a.outcome.columns["success"] for a in by_form["passive"]]) > 0.8
        assert not any(a.outcome.columns["success"] for a in by_form["reduced"])
        for form, least in (("passive", -20), ("reduced", -200)):
            assert all(least < a.log_probability < 0 for a in by_form[form])
        assert max(a.log_probability for a in by_form["reduced"]) < -20
        wanting = [u.missing for u in study.unsayable if u.sentence.source == "captions"]
        assert wanting == [("that",)] * (PLAN.images * PLAN.targets)


def test_tables_say_all_of_it(found):
    studies, transfers, _ = found
    tables = tables_of(studies, transfers)
    for table in tables.values():
        assert table.rows and all(len(row) == len(table.columns) for row in table.rows)
    forms = [dict(zip(tables["forms"].columns, row, strict=True)) for row in tables["forms"].rows]
    mine = {
        row["form"]: row
        for row in forms
        if (row["victim"], row["of"]) == ("renumbered", "captions")
    }
    count = PLAN.images * PLAN.targets
    assert (mine["attributive"]["n"], mine["attributive"]["cannot say"]) == (0, count)
    assert mine["active"]["SR"] == mine["active"]["SR active"] == mine["passive"]["SR active"]
    assert mine["reduced"]["SR"] == 0 and mine["reduced"]["Rec"] <= mine["reduced"]["Prec"]
    (note,) = [
        n for n in tables["forms"].notes if n.startswith("renumbered cannot say 8 attributive")
    ]
    assert note.endswith("for want of 'that' (8)")
    places = {row[1:3]: row[3:] for row in tables["location"].rows if row[0] == "ssvm, template"}
    assert places["0 latent", "words"][:6] == (count,) * 6
    assert places["1 obser", "SR"][0] is None  # the first word is not chosen
    assert sum(n or 0 for n in places["1 obser", "words"]) == count
    alike = [row for row in tables["likelihood"].rows if row[1:3] == ("template", "all")]
    assert alike[0][-1] > 0.9  # what can be said at all is what is reached
    lines = likelihood_panel(studies).lines
    assert [len(line.x) for line in lines] == [5, 5] and lines[0].y[0] == 0
    assert all(list(line.x) == sorted(line.x) for line in lines)


def test_what_cannot_be_studied():
    one = template_captioner()
    for methods in (
        [choose(METHODS, "untargeted")],
        [choose(METHODS, "show-and-fool", targeted=False)],
    ):
        with pytest.raises(InputError, match="targeted captions"):
            check([one], Plan(methods))
    with pytest.raises(InputError, match="'template': given twice"):
        check([one, one], Plan())


def test_without_any_sentence():
    """A captioner that says no clauses has words and transfer, but no forms."""
    victim, params = tiny_captioner(), tiny_parameters(dtype=np.float32)
    rng = np.random.default_rng(0)
    pictures = [rng.uniform(size=(4, 4, 3)).astype(np.float32) for _ in range(6)]
    plan = PLAN._replace(
        methods=[choose(METHODS, "show-and-fool", iterations=3, tries=1)], images=2
    )
    news = list(understand([Subject("tiny", victim, params, pictures)], plan))
    (study,) = [study for n in news for study in n.studies]
    assert not study.attempts and study.unsayable
    assert {o.request.setting for o in study.words} == {"0 latent"}  # it takes no gaps
    assert [t.source for n in news for t in n.transfers] == ["tiny"]


captions = st.lists(st.sampled_from(["a", "ring", "star", "is"]), max_size=5).map(tuple)
LONGEST = (("a",) * 5, ())  # always among them, so that nothing is compiled twice


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(captions.filter(bool), captions), min_size=3, max_size=3))
def test_words_are_compared_as_the_paper_says(pairs):
    """Eqs. 17 and 18, counted by hand on words."""
    pairs.append(LONGEST)
    scores = compare_words([wanted for wanted, _ in pairs], [said for _, said in pairs])
    for row, (wanted, said) in enumerate(pairs):
        right = sum(a == b for a, b in zip(wanted, said, strict=False))
        placed = min(len(said), len(wanted))
        assert bool(scores.success[row]) == (wanted == said)
        assert scores.precision[row] == pytest.approx(right / placed if placed else 0)
        assert scores.recall[row] == pytest.approx(right / len(wanted))


@given(st.lists(st.integers(0, 4)), st.lists(st.integers(0, 4)))
def test_order_counts_pairs(reached, missed):
    pairs = [(a > b) + 0.5 * (a == b) for a in reached for b in missed]
    expected = float(np.mean(pairs)) if pairs else None
    assert order(reached, missed) == (expected if expected is None else pytest.approx(expected))
