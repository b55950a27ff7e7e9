"""What the figures share."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from jaxadv.reports.captions import Panel, draw
from jaxadv.reports.drawing import changed_words, draw_noise, magnification


@pytest.mark.parametrize(
    ("before", "after", "places"),
    [
        ("a dog runs", "a dog runs", []),
        ("a dog runs", "a cat runs", [1]),
        ("a dog", "a small dog runs", [1, 3]),
        ("", "a dog", [0, 1]),
        ("a dog", "", []),
    ],
)
def test_words_that_changed(before, after, places):
    assert sorted(changed_words(before, after)) == places


def test_noise_is_coloured_by_its_sign():
    noise = np.zeros((2, 2, 3), np.float32)
    noise[0, 0], noise[1, 1] = 0.02, -0.02
    axis = Figure().subplots()
    draw_noise(axis, noise)
    drawn = np.asarray(axis.get_images()[0].get_array())
    assert drawn[0, 0, 0] > drawn[0, 0, 2]  # orange
    assert drawn[1, 1, 2] > drawn[1, 1, 0]  # purple
    assert drawn[0, 1].min() > 0.9  # nothing is white
    assert magnification(noise.mean(-1)) == 25 and "×25" in axis.get_title()


def test_a_panel_marks_what_an_attack_changed():
    picture = np.zeros((4, 4, 3), np.float32)
    panel = Panel("a victim", picture, picture, "a dog runs", "a _ runs", "a cat runs", True)
    texts = {
        text.get_text(): text.get_weight()
        for text in draw([panel, panel, panel]).findobj(Text)
        if isinstance(text, Text)
    }
    assert texts["cat"] == "bold" and texts["runs"] == "normal"


def test_a_figure_of_eight_attacks_is_at_most_1400_pixels_high():
    picture = np.zeros((4, 4, 3), np.float32)
    panels = [Panel("v", picture, picture, "a", "b", "c", False)] * 8
    assert draw(panels, "heading").get_size_inches()[1] * 110 <= 1400
