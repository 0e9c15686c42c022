"""Text from query strings and header fields, as what a schema declares it to be."""

from typing import Any

import pytest

from config.header_fields import folded
from ingress.parameters import Parameters, Unreadable, header_pairs, query_pairs


def instance(schema: dict[str, Any], query: str) -> dict[str, object]:
    values, repeated = Parameters(schema).instance(query_pairs(query))
    assert repeated == []
    return values


def one(declared: dict[str, Any], text: str) -> object:
    return instance({"properties": {"a": declared}}, f"?a={text}")["a"]


@pytest.mark.parametrize(
    ("declared", "text", "value"),
    [
        ({"type": "integer"}, "5", 5),
        ({"type": "integer"}, "-5", -5),
        ({"type": "number"}, "5", 5),
        ({"type": "number"}, "-1.5e3", -1500.0),
        ({"type": "integer"}, "-" + "9" * 40, -int("9" * 40)),
        ({"type": "number"}, "-0." + "3" * 38 + "e-99", -float("0." + "3" * 38 + "e-99")),
        ({"type": "boolean"}, "true", True),
        ({"type": "boolean"}, "false", False),
        ({"type": ["integer", "boolean"]}, "true", True),
        ({"type": ["integer", "null"]}, "7", 7),
        ({"anyOf": [{"type": "integer"}, {"type": "boolean"}]}, "7", 7),
        ({"type": "string"}, "5", "5"),
        ({"type": ["string", "integer"]}, "5", "5"),
        ({}, "5", "5"),
    ],
)
def test_text_becomes_what_is_declared(declared: Any, text: str, value: object) -> None:
    """Whole numbers, numbers and booleans as JSON writes them; where text may stand, text."""
    found = one(declared, text)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("declared", "text"),
    [
        ("integer", "05"),
        ("integer", "%2B5"),
        ("integer", "5.0"),
        ("integer", "1e3"),
        ("integer", "1_000"),
        ("integer", "+5"),
        ("integer", ""),
        ("integer", "9" * 41),
        ("number", "9" * 41),
        ("number", "0." + "3" * 39),
        ("number", "1e300"),
        ("integer", "%D9%A3"),
        ("integer", "5%0A"),
        ("number", ".5"),
        ("number", "NaN"),
        ("number", "1e400"),
        ("number", "0x10"),
        ("boolean", "True"),
        ("boolean", "1"),
        ("null", "null"),
        ("object", "{}"),
    ],
)
def test_whatever_else_stays_text(declared: str, text: str) -> None:
    """What readers may understand in several ways is not guessed at: the schema refuses it."""
    assert isinstance(one({"type": declared}, text), str)


def test_arrays() -> None:
    """A repeated name is an array where one is declared, also if it comes once."""
    schema = {"properties": {"id": {"type": "array", "items": {"type": "integer"}}}}
    assert instance(schema, "?id=1&id=2&id=x") == {"id": [1, 2, "x"]}
    assert instance(schema, "?id=1") == {"id": [1]}
    assert instance(schema, "?id=1,2") == {"id": ["1,2"]}


def test_a_value_must_not_be_repeated() -> None:
    """Which of two values counts, nobody can tell: it is reported, whatever the schema says."""
    parameters = Parameters({"properties": {"a": {}, "b": {"type": "integer"}}, "required": ["c"]})
    values, repeated = parameters.instance(query_pairs("?a=1&a=2&b=3&b=3&c=4&c=5"))
    assert (values, repeated) == ({"a": "1", "b": 3, "c": "4"}, ["a", "b", "c"])


def test_types_are_found_through_references_and_alternatives() -> None:
    """Wherever a schema speaks of a member, and whatever that refers to."""
    schema = {
        "$ref": "#/$defs/paging",
        "allOf": [{"then": {"properties": {"deep": {"$ref": "#/$defs/number"}}}}],
        "dependentSchemas": {"x": {"properties": {"y": {"type": "boolean"}}}},
        "$defs": {
            "paging": {"properties": {"page": {"$ref": "#/$defs/number"}}},
            "number": {"oneOf": [{"type": "integer"}, {"$ref": "#/$defs/number"}]},
        },
    }
    assert instance(schema, "?page=1&deep=2&y=true") == {"page": 1, "deep": 2, "y": True}


def test_names_that_are_not_declared() -> None:
    """They are left out unless a keyword asks for them; then they have the type of the others."""
    assert instance({"properties": {"a": {}}}, "?b=1") == {}
    closed = {"properties": {"a": {}}, "additionalProperties": False}
    assert instance(closed, "?b=1&b=2&c=") == {"b": ["1", "2"], "c": ""}
    assert instance({"additionalProperties": {"type": "integer"}}, "?b=1") == {"b": 1}


@pytest.mark.parametrize(
    ("query", "pairs"),
    [
        ("", []),
        ("?", []),
        ("?a", [("a", "")]),
        ("?a=&&=b&a=b=c", [("a", ""), ("", "b"), ("a", "b=c")]),
        ("?a=1+2%2B%26%3D&%C3%A4=%00", [("a", "1 2+&="), ("ä", "\0")]),
        ("?a=1;b=2", [("a", "1;b=2")]),
        ("?ä=ö", [("ä", "ö")]),
    ],
)
def test_query_strings(query: str, pairs: list[tuple[str, str]]) -> None:
    """As forms are encoded; only & separates."""
    assert query_pairs(query) == pairs


@pytest.mark.parametrize(
    "query", ["?a=%", "?a=%4", "?a=%zz", "?%ff=1", "?a=%ed%a0%80", "?a=\ud800+"]
)
def test_queries_that_can_be_read_in_several_ways(query: str) -> None:
    """Broken escapes and bytes that are no UTF-8 are refused."""
    with pytest.raises(Unreadable):
        query_pairs(query)


def test_header_fields() -> None:
    """Names in any case, and as servers that hand them on as variables understand them."""
    schema = {
        "properties": {
            "X-Tenant": {"type": "string"},
            "X-Ids": {"type": "array", "items": {"type": "integer"}},
        }
    }
    parameters = Parameters(schema, folded)
    fields = ((b"x-tenant", b"a"), (b"X-IDS", b"1, 2,,"), (b"x-ids", b"3"), (b"Accept", b"*/*"))
    assert parameters.instance(header_pairs(fields), ",") == (
        {"X-Tenant": "a", "X-Ids": [1, 2, 3]},
        [],
    )
    for alias in (b"X_Tenant", b"X-TENANT", b"x.tenant"):
        twice = header_pairs(((b"X-Tenant", b"a"), (alias, b"b")))
        assert parameters.instance(twice, ",")[1] == ["X-Tenant"]
    assert header_pairs(((b"X-A", b"\xff"),)) == [("x-a", "\ufffd")]
