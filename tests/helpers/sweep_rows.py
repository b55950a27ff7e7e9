"""What a sweep recorded, and whether two of them recorded the same."""

import pytest

from jaxadv.experiments import store

OF_THE_RUN = ("seconds", "benign_picture")  # a picture is kept where one is wanted


def rows(folder):
    """What was recorded, by attack, without what depends on how it was run."""
    every = list(store.read(folder))
    found = {
        (r["cell"], r["id"]): {k: v for k, v in r.items() if k not in OF_THE_RUN} for r in every
    }
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
