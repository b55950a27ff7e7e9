"""Regions: boxes become the pixels whose centres they hold; what cannot be used is said."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxadv.backdoors.regions import RegionError, read_detections, usable_regions
from jaxadv.data.example import Box, Example
from jaxadv.errors import InputError

SHAPE = (6, 8, 3)
edge = st.floats(-3, 12)


@given(st.builds(Box, st.just("cat"), edge, edge, edge, edge))
def test_a_region_holds_the_pixels_whose_centres_lie_in_the_box(box):
    found = usable_regions([box], SHAPE)
    inside = np.zeros(SHAPE[:2], bool)
    for left, top, right, bottom in found.boxes:
        inside[top:bottom, left:right] = True
    for y in range(SHAPE[0]):
        for x in range(SHAPE[1]):
            centre = box.left <= x + 0.5 < box.right and box.top <= y + 0.5 < box.bottom
            on_an_edge = {x + 0.5, y + 0.5} & set(box[1:])
            assert inside[y, x] == centre or on_an_edge
    assert len(found.boxes) + len(found.left_out) == 1
    assert inside.any() == bool(len(found.boxes))


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        (Box("a", 8, 0, 12, 3), "outside the picture"),
        (Box("a", 0, -5, 4, -1), "outside the picture"),
        (Box("a", 2, 2, 2, 5), "empty"),
        (Box("a", 4, 2, 2, 5), "empty"),
        (Box("a", 1.1, 1.1, 1.3, 4), "empty"),
    ],
)
def test_what_cannot_be_used_is_said(box, reason):
    found = usable_regions([box, Box("b", 0, 0, 1, 1)], SHAPE)
    assert found.boxes.tolist() == [[0, 0, 1, 1]]
    assert len(found.left_out) == 1 and reason in found.left_out[0]


def test_infinite_edges_are_refused():
    with pytest.raises(RegionError, match="finite"):
        usable_regions([Box("a", 0, 0, math.inf, 3)], SHAPE)


def example(name):
    return Example(name, np.zeros(SHAPE, np.float32))


def test_detections_above_the_threshold(tmp_path):
    path = tmp_path / "results.json"
    entries = [
        {"image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 0.9},
        {"image_id": 7, "category_id": 4, "bbox": [0, 0, 1, 1], "score": 0.4},
        {"image_id": "ab.jpg", "category_id": 1, "bbox": [5, 5, 1, 2], "score": 0.5},
    ]
    path.write_text(json.dumps(entries))
    regions = read_detections(path)
    assert list(regions(example("coco-7"))) == [Box("3", 1, 2, 4, 6)]
    assert list(regions(example("ab"))) == [Box("1", 5, 5, 6, 7)]
    assert not regions(example("coco-8"))
    assert len(read_detections(path, 0.3)(example("coco-7"))) == 2


@pytest.mark.parametrize(
    "text",
    [
        "[{",
        "{}x",
        '[{"image_id": 1}]',
        '["a"]',
        "3",
        '[{"image_id": 1, "bbox": [1, 2], "score": 1}]',
    ],
)
def test_files_that_are_no_detections(tmp_path, text):
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(
        InputError, match=r"results.json: not (COCO's results format|JSON)"
    ) as found:
        read_detections(path, report=print)
    assert "\n" not in str(found.value)
    with pytest.raises(InputError, match="cannot be read"):
        read_detections(tmp_path / "absent.json")


GOOD = {"image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 0.9}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"bbox": [1, 2, 3, math.nan]}, "bbox: must be a finite number"),
        ({"bbox": [1, 2, 3, 10**400]}, "bbox: must be a finite number"),
        ({"bbox": [1, 2, 3, "4"]}, "bbox: must be a number, not '4'"),
        ({"bbox": [1, 2, 3, 0]}, "bbox of width 3 and height 0"),
        ({"bbox": [1, 2, -3, 4]}, "bbox of width -3"),
        ({"bbox": None}, "bbox must be 4 numbers"),
        ({"score": math.inf}, "score: must be a finite number"),
        ({"score": True}, "score: must be a number, not true"),
        ({"image_id": None}, "image_id: must be a whole number, not null"),
        ({"image_id": 7.0}, "image_id: must be a whole number, not 7.0"),
        ({"image_id": "/"}, "image_id: '/' is no name of a file"),
        ({"category_id": [3]}, "category_id: must be a whole number"),
    ],
)
def test_a_bad_detection_costs_itself(tmp_path, changed, reason):
    path = tmp_path / "results.json"
    path.write_text(json.dumps([GOOD, GOOD | changed, "no object"]))
    lines = []
    regions = read_detections(path, report=lines.append)
    assert list(regions(example("coco-7"))) == [Box("3", 1, 2, 4, 6)]
    assert len(lines) == 2 and f"results.json, detection 2: {reason}" in lines[0]
    with pytest.raises(RegionError, match="detection 2"):
        read_detections(path)


def test_a_threshold_that_is_no_number(tmp_path):
    (tmp_path / "results.json").write_text("[]")
    with pytest.raises(RegionError, match="threshold nan"):
        read_detections(tmp_path / "results.json", math.nan)
