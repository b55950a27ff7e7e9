"""Names and captions from outside, whatever they hold, in every figure."""

import numpy as np
import pytest
from PIL import Image

from jaxadv.data.example import Example
from jaxadv.errors import InputError
from jaxadv.experiments.panels import Line
from jaxadv.experiments.panels import Panel as CurvePanel
from jaxadv.experiments.understanding_tables import Matrix
from jaxadv.reports import captions, curves, labels, pages, retrieval, understanding
from jaxadv.reports.files import one_line, save

HOSTILE = (
    r"$x_1^{2$}$ costs $5 \frac{", "$$", r"\alpha_{", "_hidden", "emoji 🐶🏽 ‍", "العربية", "漢字",
    "हिन्दी", "a\x1b[2Jb\x00c", "line\nline", "half \udc80", "x" * 50_000, "", " ", "a b " * 10_000,
)  # fmt: skip
PICTURE = np.zeros((8, 8, 3), np.float32)


def caption_figure(texts):
    return captions.draw([captions.Panel(t, PICTURE, PICTURE, t, t, t, True) for t in texts])


def label_figure(texts):
    ranking, kinds = [(text, 0.5) for text in texts], dict.fromkeys(texts, "relevant")
    seen = (PICTURE, PICTURE, ranking, ranking, kinds, {"ΔP@k": 0.5})
    panels = [labels.LabelPanel(t, *seen) for t in texts[:3]]
    return labels.draw(panels)


def retrieval_figure(texts):
    found = retrieval.Found(texts, [True] * len(texts), [PICTURE], [False])
    panels = [retrieval.RetrievalPanel(t, (t, t), (found, found), 0.1, t) for t in texts[:3]]
    return retrieval.draw_panels(panels)


def curve_figure(texts):
    lines = tuple(Line(t, (1.0, 10.0), (0.1, 0.2), False) for t in texts)
    return curves.draw([CurvePanel(t, t, t, lines, logarithmic=True) for t in texts[:2]])


def matrix_figure(texts):
    names = tuple(texts[:3])
    return understanding.draw_matrices([Matrix(names[0], names, names, np.full((3, 3), 0.5))])


FIGURES = (
    caption_figure,
    label_figure,
    retrieval_figure,
    curve_figure,
    matrix_figure,
)


@pytest.mark.parametrize("figure", FIGURES)
@pytest.mark.parametrize("first", [0, 5, 10])
def test_any_text_is_drawn_without_a_warning(figure, first, tmp_path):
    save(figure(HOSTILE[first : first + 5]), tmp_path / "f.png")
    with Image.open(tmp_path / "f.png") as image:
        assert image.width < 6000 and image.height < 6000
    assert [p.name for p in tmp_path.iterdir()] == ["f.png"]


def test_a_page_shows_any_text(tmp_path):
    mask = np.ones(len(HOSTILE), bool)
    examples = [Example(t, PICTURE, (t, t), mask, mask) for t in HOSTILE]
    path = tmp_path / "f.png"
    pages.draw_page(examples, path, title=HOSTILE[0], classes=HOSTILE, tags=HOSTILE)
    with Image.open(path) as image:
        assert image.width < 6000 and image.height < 6000


def test_powers_of_ten_are_no_text_from_outside(tmp_path):
    figure = curve_figure(["$a$"])
    save(figure, tmp_path / "f.png")
    assert any("10^{" in label.get_text() for label in figure.axes[0].get_xticklabels())
    assert all(label.get_parse_math() for label in figure.axes[0].get_xticklabels())
    assert figure.axes[0].get_title() == "$a$" and not figure.axes[0].title.get_parse_math()


def test_the_name_says_the_format(tmp_path):
    save(caption_figure(["a"]), tmp_path / "f.PDF")
    assert (tmp_path / "f.PDF").read_bytes().startswith(b"%PDF")
    for name in ("f", "f.txt"):
        with pytest.raises(InputError, match=r"ends in .png"):
            save(caption_figure(["a"]), tmp_path / name)


def test_one_line():
    assert one_line("_a\n") == " _a\\n"
    assert len(one_line("x" * 1000)) == 120
