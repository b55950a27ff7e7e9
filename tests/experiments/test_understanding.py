"""The study of captioners that speak by a template, small enough to know what must come out."""

import jax
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
from jaxadv.experiments.cells import Cell
from jaxadv.experiments.job import Shared, carry_out
from jaxadv.experiments.subjects import Subject
from jaxadv.experiments.transfer import Viewer, compare_words
from jaxadv.experiments.understanding import UnderstandingDesign, study, understanding_job
from jaxadv.experiments.understanding_tables import (
    likelihood_panel,
    order,
    said_sentences,
    transfer_matrices,
    understanding_tables,
)
from jaxadv.vocabulary import Vocabulary

WORDS = ("a", "circle", "star", "is", "above", "below")
PLACES = (("a",), ("circle", "star"), ("is",), ("above", "below"), ("a",), ("circle", "star"))
SIDE = 4
DESIGN = UnderstandingDesign(images=4, targets=2)
SSVM = choose(METHODS, "ssvm", learning_rate=0.05, iterations=30)


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
    seen = np.random.default_rng(1).uniform(size=(12, SIDE, SIDE, 3))
    pictures = {
        f"picture {i}": np.kron(one, np.ones((side // SIDE, side // SIDE, 1))).astype(np.float32)
        for i, one in enumerate(seen)
    }
    return Subject(name, captioner, params, pictures)


def records_of(subjects, method, design=DESIGN):
    """Study the first subject, and show the others its pictures; the records, as in a store."""
    job = study(subjects, method, design, subjects[0].params, 0, Shared())
    made = list(carry_out(job, lambda _: True, slots=16, key=jax.random.key(0)))
    assert sorted(done.planned.id for done in made) == list(range(len(job.planned)))
    about = {"victim": subjects[0].name, "method": method.name}
    return [{**about, "failed": done.failed, **done.planned.about, **done.columns} for done in made]


@pytest.fixture(scope="module")
def found():
    """Two captioners of one function, whose words have different numbers."""
    pair = [template_captioner(), template_captioner(words=WORDS[::-1], name="renumbered")]
    return [*records_of(pair, SSVM), *records_of(pair[::-1], SSVM)]


def complete_of(rows, victim):
    return [r for r in rows if (r["victim"], r["setting"]) == (victim, "0 latent")]


def tables_of(rows):
    names = ("location", "forms", "likelihood", "transfer")
    tables = dict(zip(names, understanding_tables(rows), strict=True))
    for table in tables.values():
        assert all(len(row) == len(table.columns) for row in table.rows)
    return tables


def rows_of(table):
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def test_the_diagonal_is_the_white_box_success(found):
    by_pair = {(r["made on"], r["shown to"]): r for r in rows_of(tables_of(found)["transfer"])}
    for name in ("template", "renumbered"):
        own, complete = by_pair[name, name], complete_of(found, name)
        assert own["n"] == len(complete) == DESIGN.images * DESIGN.targets
        assert own["SR"] == np.mean([r["success"] for r in complete]) > 0.8
        np.testing.assert_allclose(own["Prec"], np.mean([r["precision"] for r in complete]))
        assert own["Prec benign"] < own["Prec"]


def test_captioners_are_compared_by_words(found):
    """Other numbers for the same words change nothing."""
    by_pair = {(r["made on"], r["shown to"]): r for r in rows_of(tables_of(found)["transfer"])}
    measured = ("n", "cannot say", "SR", "Prec", "Prec benign")
    own, renumbered = by_pair["template", "template"], by_pair["template", "renumbered"]
    assert [renumbered[m] for m in measured] == [own[m] for m in measured]
    assert {r["cannot say"] for r in by_pair.values()} == {0}
    for matrix, column in zip(transfer_matrices(found), measured[2:], strict=True):
        assert matrix.rows == ("template", "renumbered")
        for (source, victim), row in by_pair.items():
            i, j = matrix.rows.index(source), matrix.columns.index(victim)
            assert matrix.values[i, j] == row[column]


def test_shown_at_another_resolution_to_one_who_lacks_a_word():
    """Resized for it; targets with a word that it does not know are counted, and missed."""
    larger = template_captioner(side=2 * SIDE, name="larger")
    without = template_captioner(words=(*WORDS[:4], "over", "below"), name="without")
    rows = complete_of(records_of([template_captioner(), larger, without], SSVM), "template")
    entries = [{e["victim"]: e for e in row["transfer"]} for row in rows]
    assert np.mean([e["larger"]["success"] for e in entries]) > 0.5
    assert not any(e["larger"]["cannot_say"] for e in entries)
    assert any(e["without"]["cannot_say"] for e in entries)
    for row, entry in zip(rows, entries, strict=True):
        lacking = "above" in row["target"].split()
        assert entry["without"]["cannot_say"] == lacking
        assert entry["without"]["success"] == (row["success"] and not lacking)


def test_a_viewer_compares_with_what_it_said_before():
    subject = template_captioner()
    viewer = Viewer(subject, list(subject.pictures))
    image, picture = next(iter(subject.pictures.items()))
    said = tuple(viewer.entry(image, picture, ("a",))["said"].split())
    entry = viewer.entry(image, 1 - picture, said)
    assert entry["precision_benign"] == 1 and not entry["success"]
    assert viewer.entry(image, picture, said)["success"]


def test_forms_within_and_beyond_the_template(found):
    """The passive is reached, the reduced clause never; the attributive one is counted."""
    for name in ("template", "renumbered"):
        mine = [r for r in found if r["victim"] == name]
        by_form = {}
        for row in said_sentences(mine):
            by_form.setdefault(row["setting"], []).append(row)
        assert set(by_form) == {"active", "passive", "reduced"}
        assert np.mean([r["success"] for r in by_form["passive"]]) > 0.8
        assert not any(r["success"] for r in by_form["reduced"])
        for form, least in (("passive", -20), ("reduced", -200)):
            assert all(least < r["log_probability"] < 0 for r in by_form[form])
        assert max(r["log_probability"] for r in by_form["reduced"]) < -20
        unsaid = [r for r in mine if r.get("cannot_say") and r["source"] == "captions"]
        assert [r["cannot_say"] for r in unsaid] == [["that"]] * (DESIGN.images * DESIGN.targets)
        assert all(r["failed"] is None and not r["success"] for r in unsaid)


def test_tables_say_all_of_it(found):
    tables = tables_of(found)
    assert all(table.rows for table in tables.values())
    mine = {
        row["form"]: row
        for row in rows_of(tables["forms"])
        if (row["victim"], row["of"]) == ("renumbered", "captions")
    }
    count = DESIGN.images * DESIGN.targets
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
    lines = likelihood_panel(found).lines
    assert [len(line.x) for line in lines] == [5, 5] and lines[0].y[0] == 0
    assert all(list(line.x) == sorted(line.x) for line in lines)


@pytest.mark.parametrize(
    ("cell", "line"),
    [
        (Cell("understanding", "v", 0, choose(METHODS, "untargeted"), DESIGN), "targeted captions"),
        (
            Cell("understanding", "v", 0, choose(METHODS, "show-and-fool", targeted=False), DESIGN),
            "targeted captions",
        ),
        (
            Cell("understanding", "v", 0, SSVM, UnderstandingDesign(transfer=("v",))),
            "'v': given twice",
        ),
        (
            Cell("understanding", "v", 0, SSVM, UnderstandingDesign(contents=("a star",))),
            "must be a clause",
        ),
    ],
)
def test_what_cannot_be_studied(cell, line):
    with pytest.raises(InputError, match=line):
        understanding_job(cell, None, Shared())


def test_without_any_sentence():
    """A captioner that says no clauses has words and transfer, but no forms."""
    victim, params = tiny_captioner(), tiny_parameters(dtype=np.float32)
    rng = np.random.default_rng(0)
    pictures = {str(i): rng.uniform(size=(4, 4, 3)).astype(np.float32) for i in range(6)}
    rows = records_of(
        [Subject("tiny", victim, params, pictures)],
        choose(METHODS, "show-and-fool", iterations=3, tries=1),
        UnderstandingDesign(images=2, targets=2),
    )
    assert not said_sentences(rows) and any(r.get("cannot_say") for r in rows)
    assert {r["setting"] for r in rows if "source" not in r} == {"0 latent"}  # it takes no gaps
    tables = tables_of(rows)
    assert [row[1] for row in tables["transfer"].rows] == ["tiny"]
    assert not tables["likelihood"].rows


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
