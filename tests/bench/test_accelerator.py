"""The plan for an accelerator: in its order, as far as the time reaches; tiny here."""

import time

import pytest

from benchmarks.accelerator import COLUMNS, PLAN, Measured, Sizes, carry_out
from benchmarks.setting import Setting

TINY = Sizes(
    setting=Setting("resnet-small", 32, steps=1, units=8),
    transformer="vit-small",
    wide=64,
    batches=(1, 2),
    rounds=2,
    bank=3,
)


def test_what_the_time_does_not_reach_is_named():
    figures = [Measured(f"figure {i}", "float32", 1, i, "") for i in range(4)]

    def endless(sizes):
        yield figures[2]
        time.sleep(0.3)
        yield figures[3]

    parts = {"a": lambda sizes: iter(figures[:2]), "b": endless, "c": endless}
    found = list(carry_out(TINY, time.monotonic() + 0.2, parts))
    assert found == [*figures[:3], "b", "c"]


@pytest.mark.parametrize(
    ("figure", "row"),
    [
        (
            Measured("GEM", "bfloat16", 32, 41.234, "attacks a second", 40, 12.34),
            ("GEM", "bfloat16", "32", "41.2 attacks a second", ">= 40", "12.3"),
        ),
        (
            Measured("a step", "", 1, 1.02, "", 1.03, most=True),
            ("a step", "", "1", "1.02", "<= 1.03", ""),
        ),
    ],
)
def test_a_row_says_what_is_aimed_at(figure, row):
    assert figure.row() == row and len(row) == len(COLUMNS)


@pytest.mark.slow
@pytest.mark.parametrize("part", PLAN)
def test_every_part_measures(part):
    if part == "stream":
        pytest.skip("minutes; tests/core/test_stream_cost.py runs it")
    found = list(PLAN[part](TINY))
    assert found or part == "passes over PyTorch"
    assert all(figure.value > 0 for figure in found)
    if part in ("GEM", "TkMIA", "CMLA"):
        assert {figure.batch for figure in found} == {1, 2}
