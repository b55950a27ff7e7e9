"""Curves of a sweep: counts by hand, and pictures that are drawn."""

import numpy as np
import pytest

from jaxadv.experiments import store
from jaxadv.experiments.caption_curves import by_location
from jaxadv.experiments.curves import by_steps, panels_of
from jaxadv.experiments.paper_tables import TableError, paper_table
from jaxadv.experiments.plan import plan
from jaxadv.reports.curves import draw
from jaxadv.reports.files import save

SAT = "scenes-show-attend-tell"


def said(target, caption, setting):
    return ("gem", {"target": target, "said": caption, "setting": setting})


def test_words_are_counted_where_they_were_wanted():
    """Only observed words, at their own places; a caption that is too short misses them."""
    (complete, single) = by_location(
        [
            said("a _ red ...", "a big red circle", "1 obser"),
            said("a _ red ...", "red", "1 obser"),
            said("a small ...", "a small dog", "1 obser"),
            said("a red circle", "a red", "0 latent"),
            said("a blue circle", "a red circle", "0 latent"),
            said("a _ circle", "a red circle", "1 latent"),
        ]
    )
    assert complete.title == "gem: 0 latent" and single.title == "gem: 1 obser"
    assert complete.bars == ((1, 2, 3), (2, 1, 1), (0, 1, 1))
    assert complete.lines[0].y == (1, 0.5, 0.5)
    assert single.bars == ((2, 3), (1, 1), (0, 1))
    assert single.lines[0].y == (1, 0.5)


def test_only_the_first_seven_places():
    """As in the paper's Figure 3."""
    words = " ".join("abcdefghij")
    (panel,) = by_location([said(words, words, "0 latent")])
    assert panel.lines[0].x == (1, 2, 3, 4, 5, 6, 7)


def test_the_share_by_steps():
    """What never succeeded counts among all."""
    ends = [(10, True), (5, True), (300, False), (10, True)]
    panel = by_steps(("tkmia", {"steps": i, "success": s}) for i, s in ends)
    (line,) = panel.lines
    assert (line.x, line.y) == ((0, 5, 10, 10), (0, 0.25, 0.5, 0.75))


@pytest.fixture
def folder(tmp_path):
    """A sweep over λ and over iterations, and one of labels."""
    grid = {"victim": SAT, "method": "gem", "settings": "0 latent"}
    cells = plan(
        {
            "captions": [{**grid, "tradeoff": [0.1, 10]}, {**grid, "iterations": [10, 20]}],
            "labels": [{"victim": "scenes-tagger", "delta": 2}],
        }
    )
    store.write_plan(tmp_path, [(cell, "w", "a") for cell in cells])
    writer = store.Writer(tmp_path)
    rng = np.random.default_rng(0)
    for place, cell in enumerate(cells):
        for number in range(4):
            row = {
                "cell": cell.digest,
                "id": number,
                "image": f"scene-{number}",
                "setting": "0 latent" if cell.task == "captions" else "2 labels",
                "failed": None,
                "success": number < place,
                "success_8bit": False,
                "norm": float(place + 1),
                "steps": 10 * number,
            }
            if cell.task == "captions":
                row |= {"target": "a b", "said": "a c", "precision": 0.5, "recall": 0.5}
            else:
                row |= {"k": 3, "specified": ["x"], "excluded": 1, "delta_ndcg": rng.random()}
            writer.append(row)
    writer.close()
    return tmp_path


def test_by_the_tradeoff_beside_the_papers(folder):
    """Table 2 as a picture; the paper's lines are marked as such."""
    success, norm = panels_of(paper_table("exact-caption-2"), folder, curve="tradeoff")
    assert (success.y, norm.y, success.logarithmic) == ("SR", "‖ε‖₂", True)
    papers = {line.name: line for line in success.lines if line.papers}
    assert len(papers) == 2 and papers["ssvm, paper"].y[0] == 0.985
    assert papers["ssvm, paper"].x == (0.001, 0.01, 0.1, 1, 10, 100)


def test_by_another_setting(folder):
    """Whatever the sweep had several values of; no other value of it is left out."""
    success, norm = panels_of(paper_table("exact-caption-1"), folder, curve="iterations")
    (line,) = success.lines
    assert line.x == (10, 20, 50) and line.y == (0.5, 0.75, 0.0)
    assert [line.y for line in norm.lines] == [(3.0, 4.0, 1.0)]
    allowed = "steps, location, iterations, .*learning_rate, .*tradeoff"
    with pytest.raises(TableError, match=f"curve 'posterior': must be one of {allowed}"):
        panels_of(paper_table("exact-caption-1"), folder, curve="posterior")


def test_each_table_has_its_own(folder, tmp_path):
    """Drawn to a file; a table of counts has none."""
    for name in ("exact-caption-1", "exact-caption-2", "tkmia-3"):
        path = tmp_path / f"{name}.png"
        save(draw(panels_of(paper_table(name), folder)), path)
        assert path.read_bytes().startswith(b"\x89PNG")
    (panel,) = panels_of(paper_table("tkmia-3"), folder)
    assert [line.name for line in panel.lines] == ["tkmia, scenes-tagger"]
    with pytest.raises(TableError, match="tkmia-12: has no curve of its own"):
        panels_of(paper_table("tkmia-12"), folder)
    with pytest.raises(TableError, match="is a curve of captions only"):
        panels_of(paper_table("tkmia-3"), folder, curve="location")


def test_nothing_to_draw():
    """One line instead of an empty picture."""
    with pytest.raises(TableError, match="no record for this curve yet"):
        draw(by_location([]))
