"""What a sweep recorded, and whether two of them recorded the same."""

import pytest

from jaxadv.experiments import store


def rows(folder):
    """What was recorded, by attack, without the times."""
    every = list(store.read(folder))
    found = {(r["cell"], r["id"]): {k: v for k, v in r.items() if k != "seconds"} for r in every}
    assert len(found) == len(every), "an attack counts twice"
    return found


def assert_alike(got, expected):
    """The same attacks and decisions; numbers to what another order of summing may change."""
    assert got.keys() == expected.keys()
    for key, row in expected.items():
        for column, value in row.items():
            if isinstance(value, float):
                assert got[key][column] == pytest.approx(value, rel=1e-3, abs=1e-5), column
            else:
                assert got[key][column] == value, column
