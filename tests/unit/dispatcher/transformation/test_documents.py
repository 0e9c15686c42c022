"""JSON in and out."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.transformation.documents import NotJson, decode, encode, text_of

numbers = st.from_regex(
    r"-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?", fullmatch=True
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(numbers)
def test_numbers_stay_as_they_are_written(number: str) -> None:
    """More digits than a double has, exponents beyond its range, zeros at the end: all stay."""
    text = f'{{"n":[{number}]}}'
    expected = text if number != "-0" else '{"n":[0]}'
    assert encode(decode(text.encode())).decode() == expected


@given(values)
def test_other_values_stay_too(value: object) -> None:
    """What the standard library reads is the same before and after."""
    assert json.loads(encode(decode(json.dumps(value, ensure_ascii=False).encode()))) == value


@pytest.mark.parametrize(
    "body", [b"", b"{", b"<html>", b"NaN", b"{} x", b"01", b'"\xff"', b'"\\ud800"', b"{'a':1}"]
)
def test_what_is_no_json(body: bytes) -> None:
    """Syntax errors, and bytes that are no UTF-8, are told apart from JSON that can't be held."""
    with pytest.raises(NotJson):
        decode(body)


def test_json_that_can_not_be_held() -> None:
    """It is JSON, so it must not pass as something else: too deep, or an integer too long."""
    with pytest.raises(RecursionError):
        decode(b"[" * 10_000 + b"]" * 10_000)
    with pytest.raises(ValueError, match="range") as caught:
        decode(b"1" * 5000)
    assert not isinstance(caught.value, NotJson)


def test_the_last_of_equal_names_counts() -> None:
    """As everybody else reads it."""
    assert decode(b'{"a":1,"a":2}') == {"a": 2}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'"a\\"b"', 'a"b'),
        (b"true", "true"),
        (b"null", "null"),
        (b"1.10", "1.10"),
        (b"12345678901234567890123", "12345678901234567890123"),
        (b'{"a":[1.50,"\xc3\xa9"]}', '{"a":[1.50,"é"]}'),
    ],
)
def test_values_as_text(body: bytes, text: str) -> None:
    """Text is itself, all else is JSON: nobody sees Python's True or None."""
    assert text_of(decode(body)) == text


def test_what_is_no_value_has_no_text() -> None:
    """No infinity, and no Python object under its name in memory."""
    assert text_of(iter([1, 2])) == "[1,2]"
    with pytest.raises(ValueError, match="finite"):
        text_of(float("inf"))
    with pytest.raises(TypeError):
        text_of("".upper)
