"""What continuous batching gains where attacks stop early, and costs where they do not."""

import pytest

from benchmarks.streaming import of_captions, of_labels

pytestmark = pytest.mark.slow


def test_tkmia_that_stops_early(capsys):
    """At least 1.8 times the attacks a second of `run`, at least 90 % of slot-steps useful."""
    gain, useful = of_labels()
    with capsys.disabled():
        share = f"{useful.ratio:.1%} of slot-steps useful"
        print(f"\n{gain.what}: stream over run {gain.ratio:.2f}, {share}")
    assert gain.ratio >= 1.8 and useful.ratio >= 0.9


def test_gem_of_a_fixed_number_of_steps(capsys):
    """Not slower than 0.97 of `run`."""
    (figure,) = of_captions()
    with capsys.disabled():
        print(f"\n{figure.what}: stream over run {figure.ratio:.2f}")
    assert figure.ratio >= 0.97
