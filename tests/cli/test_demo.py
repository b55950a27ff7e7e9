"""`jaxadv demo`."""

import pytest
from helpers.commands import call

from jaxadv.cli.demo import CAPTIONS
from jaxadv.data.images import read_image


@pytest.mark.slow
def test_it_fools_every_victim(tmp_path):
    """Every attack of `reliable` succeeds on the saved picture; the figure is not too high."""
    code, printed, problems = call("demo", "--out", tmp_path)
    assert code == 0, problems
    rows = [line for line in printed.splitlines() if "reliable" in line]
    assert len(rows) == 1 + sum(len(w.wanted) for w in CAPTIONS if w.method == "reliable")
    assert all("yes" in row for row in rows), rows
    assert read_image(tmp_path / "figure.png").shape[0] <= 1400
