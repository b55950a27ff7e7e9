"""Values of JSON and of texts: what they are, or a refusal; never made into something else."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxadv.formats import values
from jaxadv.formats.values import ValueFault

CHECKS = {
    "as_text": lambda value: values.as_text(value, "x"),
    "as_texts": lambda value: values.as_texts(value, "x"),
    "as_names": lambda value: values.as_names(value, "x"),
    "as_number": lambda value: values.as_number(value, "x"),
    "as_whole": lambda value: values.as_whole(value, "x"),
    "parse_number": lambda value: values.parse_number(value, "x"),
    "parse_whole": lambda value: values.parse_whole(value, "x", 80),
}
HUGE = 10**400


@pytest.mark.parametrize(
    ("check", "value", "wanted"),
    [
        ("as_text", "", ""),
        ("as_texts", None, None),
        ("as_texts", math.nan, None),
        ("as_texts", "a dog", ("a dog",)),
        ("as_texts", ["a", None, "b", math.nan], ("a", "b")),
        ("as_texts", [], ()),
        ("as_names", None, None),
        ("as_names", " cat ", ("cat",)),
        ("as_names", ["cat", "Cat", "cat"], ("cat", "Cat")),
        ("as_names", {"cat": 1, "dog": 0, "cow": True, "elk": False}, ("cat", "cow")),
        ("as_number", 3, 3.0),
        ("as_number", -1.5, -1.5),
        ("as_whole", 0, 0),
        ("as_whole", 2**63 - 1, 2**63 - 1),
        ("parse_number", " 1. ", 1.0),
        ("parse_number", "-.5E-1", -0.05),
        ("parse_whole", "080", 80),
    ],
)
def test_what_is_taken(check, value, wanted):
    assert CHECKS[check](value) == wanted


@pytest.mark.parametrize(
    ("check", "value", "said"),
    [
        ("as_text", 3, "must be a text, not 3"),
        ("as_text", None, "must be a text, not null"),
        ("as_text", ["a"], "must be a text, not a list of 1"),
        ("as_text", "\ud83d", "half a character"),
        ("as_text", HUGE, "a number of more than 20 digits"),
        ("as_texts", 3, "a text or a list of texts, not 3"),
        ("as_texts", {"a": 1}, "not an object of 1"),
        ("as_texts", ["a", ["b"]], "must be a text, not a list of 1"),
        ("as_texts", ["a", True], "must be a text, not true"),
        ("as_names", {"cat": 0.5}, "0 or 1 by name, not 0.5"),
        ("as_names", {"cat": "1"}, "0 or 1 by name, not '1'"),
        ("as_names", {"cat": None}, "0 or 1 by name, not null"),
        ("as_names", ["cat", " "], "an empty name"),
        ("as_number", True, "must be a number, not true"),
        ("as_number", "3", "must be a number, not '3'"),
        ("as_number", math.nan, "must be a finite number"),
        ("as_number", -math.inf, "must be a finite number"),
        ("as_number", HUGE, "must be a finite number, not a number of more than 20 digits"),
        ("as_whole", 3.0, "must be a whole number, not 3.0"),
        ("as_whole", False, "must be a whole number, not false"),
        ("as_whole", -1, "must be from 0 to"),
        ("as_whole", HUGE, "must be from 0 to"),
        ("parse_number", "nan", "must be a number, not 'nan'"),
        ("parse_number", "inf", "must be a number"),
        ("parse_number", "1e400", "must be a finite number"),
        ("parse_number", "1,5", "must be a number"),
        ("parse_number", "1_0", "must be a number"),
        ("parse_number", "٣", "must be a number"),
        ("parse_number", "", "must be a number, not ''"),
        ("parse_whole", "81", "must be from 0 to 80, not '81'"),
        ("parse_whole", "-1", "must be from 0 to 80"),
        ("parse_whole", "1.0", "must be from 0 to 80"),
        ("parse_whole", "²", "must be from 0 to 80"),
        ("parse_whole", "9" * 5000, "must be from 0 to 80"),
    ],
)
def test_what_is_refused(check, value, said):
    with pytest.raises(ValueFault, match=r"^x: ") as caught:
        CHECKS[check](value)
    assert said in str(caught.value) and len(str(caught.value)) < 200


ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(categories=None, exclude_categories=[])),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(), inside, max_size=3),
)


@pytest.mark.parametrize("check", ["as_text", "as_texts", "as_names", "as_number", "as_whole"])
@given(value=ANY)
def test_any_value_is_taken_or_refused_in_one_line(check, value):
    try:
        found = CHECKS[check](value)
    except ValueFault as fault:
        assert "\n" not in str(fault)
        return
    if check in ("as_texts", "as_names"):
        assert found is None or all(isinstance(text, str) for text in found)
    else:
        assert type(found) is {"as_text": str, "as_number": float, "as_whole": int}[check]
        assert found == value
