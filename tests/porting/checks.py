"""What every reader owes for a file: numpy's arrays, or a refusal on one line that names it."""

import numpy as np
import pytest

from jaxadv.formats.errors import PortingError


def refused(read, path, data=None, begins=None):
    """The reason why `read` refuses a file, first written where `data` is given.

    `begins` is how the error begins where a reader names another file than `path`.
    """
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(PortingError) as caught:
        read(path)
    reason = _reason(caught.value, begins or f"{path}: ")
    assert len(reason) <= 300
    return reason


def assert_same(found, expected):
    """The arrays are the expected ones, of their types and shapes, in native byte order."""
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert type(found[name]) is np.ndarray and found[name].dtype.isnative
        np.testing.assert_array_equal(found[name], array, strict=True)


def assert_arrays_or_refused(read, path, data=None, begins=None):
    """`read` turns a file, damaged as it may be, into arrays or refuses it."""
    if data is not None:
        path.write_bytes(data)
    try:
        found = read(path)
    except PortingError as error:
        _reason(error, begins or f"{path}: ")
    else:
        assert found and all(type(name) is str for name in found)
        assert all(type(array) is np.ndarray for array in found.values())


def _reason(error, begins):
    message = str(error)
    assert message.startswith(begins) and message.isprintable()
    assert error.__suppress_context__
    return message.removeprefix(begins)
