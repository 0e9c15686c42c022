"""What a client is told of a value that does not fit."""

import pytest

from config.schemas import Schema, compile_schema
from ingress.schema_errors import MOST_BYTES, MOST_ERRORS, MOST_VALUES, SchemaCheck, pointer

SECRET = "hunter2"


def told(schema: Schema, instance: object, values: int = 1, size: int = 0) -> list[tuple[str, str]]:
    check = SchemaCheck("body", schema)
    errors = [] if check.fits(instance) else check.errors(instance, values, size)
    assert all(error.part == "body" for error in errors)
    return [(error.pointer, error.detail) for error in errors]


@pytest.mark.parametrize(
    ("schema", "instance", "expected"),
    [
        ({"type": "string"}, 1, ("", "must be of the type string")),
        ({"type": ["null", "string"]}, 1, ("", "must be of the type null or string")),
        ({"required": ["a"]}, {}, ("/a", "is required")),
        ({"dependentRequired": {"a": ["b"]}}, {"a": 1}, ("/b", "is required")),
        (
            {"properties": {}, "additionalProperties": False},
            {"x/": 1},
            ("/x~1", "is not allowed"),
        ),
        ({"additionalProperties": False}, {"x": 1}, ("", "must have no members")),
        ({"propertyNames": False}, {"x": 1}, ("", "must have no members")),
        (False, {}, ("", "is not allowed")),
        ({"unevaluatedProperties": False}, {"x": 1}, ("/x", "is not allowed")),
        ({"properties": {"a": False}}, {"a": 1}, ("/a", "is not allowed")),
        ({"items": {"minimum": 1}}, [1, 0], ("/1", "must be at least 1")),
        ({"maximum": 1.5}, 2, ("", "must be at most 1.5")),
        ({"exclusiveMinimum": 1}, 1, ("", "must be more than 1")),
        ({"exclusiveMaximum": 1}, 1, ("", "must be less than 1")),
        ({"maximum": 2**64}, 2**64 + 1, ("", "must be at most 18446744073709551616")),
        ({"multipleOf": 5}, 3, ("", "must be a multiple of 5")),
        ({"minLength": 9}, SECRET, ("", "must have at least 9 characters")),
        ({"maxLength": 2}, SECRET, ("", "must have at most 2 characters")),
        ({"minItems": 2}, [SECRET], ("", "must have at least 2 items")),
        ({"maxItems": 0}, [SECRET], ("", "must have at most 0 items")),
        ({"minProperties": 1}, {}, ("", "must have at least 1 members")),
        ({"maxProperties": 0}, {"a": 1}, ("", "must have at most 0 members")),
        ({"uniqueItems": True}, [SECRET, SECRET], ("", "must not have the same item twice")),
        ({"pattern": "^[0-9]+$"}, SECRET, ("", "must match ^[0-9]+$")),
        ({"pattern": "^" + "a" * 300}, SECRET, ("", "must match the pattern")),
        ({"format": "email"}, SECRET, ("", "must be a valid email")),
        ({"const": SECRET}, "x", ("", "must be the one value that is allowed")),
        ({"enum": [SECRET]}, "x", ("", "must be one of the values that are allowed")),
        ({"anyOf": [False]}, SECRET, ("", "must fit at least one of the alternatives")),
        ({"oneOf": [False]}, SECRET, ("", "must fit exactly one of the alternatives")),
        ({"oneOf": [True, True]}, SECRET, ("", "must fit exactly one of the alternatives")),
        ({"not": {"type": "string"}}, SECRET, ("", "must not be of a kind that is excluded")),
        (
            {"contains": {"type": "null"}},
            [SECRET],
            ("", "must have as many items of a certain kind as are demanded"),
        ),
        (
            {"propertyNames": {"maxLength": 1}},
            {SECRET: 1},
            ("", "has a member whose name is not allowed"),
        ),
        ({"unevaluatedItems": False}, [SECRET], ("", "has items that are not allowed")),
    ],
)
def test_words(schema: Schema, instance: object, expected: tuple[str, str]) -> None:
    """Each keyword says what it demands; no value shows, neither the client's nor a fixed one."""
    found = told(schema, instance)
    assert found == [expected]
    assert SECRET not in str(found)


def test_what_fits() -> None:
    """Nothing is told."""
    assert told({"type": "object"}, {"a": 1}) == []


def test_not_more_than_a_few() -> None:
    """The list is bounded, and so are its parts, whatever the client sends."""
    assert len(told({"items": {"type": "null"}}, list(range(100)))) == MOST_ERRORS
    assert (
        len(told({"unevaluatedProperties": False}, dict.fromkeys("abcdefghijklm"))) == MOST_ERRORS
    )
    found = told({"properties": {}, "additionalProperties": False}, {"x" * 10_000: 1})
    assert len(found[0][0]) < 300


def test_large_instances_are_not_searched() -> None:
    """Listing what does not fit would cost more than the rest of the request."""
    untold = [("", "does not fit the schema, and it would take too long to tell where")]
    items = {"items": {"type": "null"}}
    assert told(items, [1] * 100_000, values=MOST_VALUES + 1) == untold
    assert told({"type": "null"}, "x" * 100_000, size=MOST_BYTES + 1) == untold
    assert told({}, [1] * 100_000, values=MOST_VALUES + 1) == []


def test_pointer() -> None:
    """RFC 6901 section 3."""
    assert pointer() == ""
    assert pointer("a/b", 0, "m~n", "") == "/a~1b/0/m~0n/"


@pytest.mark.parametrize(
    "pattern", ["^(a+)+$", "^(a|a)*$", "(.*a){20}$", "^(([a-z])+.)+[A-Z]([a-z])+$"]
)
def test_patterns_are_matched_in_linear_time(pattern: str) -> None:
    """Patterns with which backtracking engines do not end, within the test's own time."""
    assert compile_schema({"pattern": pattern}).is_valid("a" * 500_000 + "!") in (True, False)
