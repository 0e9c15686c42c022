"""What it takes to list what does not fit, counted before it is done."""

from typing import Any

import pytest

from ingress.schema_errors import SchemaCheck
from ingress.schema_listing import Listing

UNTOLD = ["does not fit the schema, and it would take too long to tell where"]
BRANCHES = [{"const": f"c{number}"} for number in range(50)]


def expression(keyword: str) -> dict[str, Any]:
    """Two operators with an argument that is an expression again, or a number."""
    argument = {"$ref": "#/$defs/e"}
    operators = [
        {"type": "object", "properties": {"op": {"const": op}, "arg": argument}}
        for op in ("not", "neg")
    ]
    alternatives = {keyword: [*operators, {"type": "integer"}]}
    return {"$defs": {"e": alternatives}, "$ref": "#/$defs/e"}


def nested(depth: int, leaf: object = "x") -> object:
    return leaf if depth == 0 else {"op": "not", "arg": nested(depth - 1, leaf)}


@pytest.mark.parametrize(
    "schema",
    [
        expression("oneOf"),
        expression("anyOf"),
        {
            "properties": {"arg": {"$ref": "#"}},
            "dependentSchemas": {"op": {"properties": {"arg": {"$ref": "#"}}}},
            "type": "object",
        },
        {
            "$dynamicAnchor": "node",
            "type": "object",
            "allOf": [{"properties": {"arg": {"$dynamicRef": "#node"}}}] * 2,
        },
        {
            "type": "object",
            "patternProperties": {"^a": {"$ref": "#"}, "g$": {"$ref": "#"}, "^op$": True},
        },
    ],
)
def test_branches_that_call_themselves(schema: dict[str, Any]) -> None:
    """At a few levels it is told what does not fit; at many, which would take hours, that it does
    not."""
    check = SchemaCheck("body", schema)
    assert not check.fits(nested(2))
    assert [error.detail for error in check.errors(nested(2), values=5)] != UNTOLD
    assert not check.fits(nested(99))
    assert [error.detail for error in check.errors(nested(99), values=199)] == UNTOLD


@pytest.mark.parametrize(
    ("schema", "instance"),
    [
        ({"anyOf": [{"items": each} for each in BRANCHES]}, ["x"] * 900),
        ({"items": {"oneOf": BRANCHES}}, ["x"] * 900),
        ({"propertyNames": {"anyOf": BRANCHES}}, {str(number): 1 for number in range(900)}),
        ({"items": {"required": [str(number) for number in range(250)]}}, [{}] * 300),
        ({"items": {"dependentRequired": {"a": [str(n) for n in range(250)]}}}, [{"a": 1}] * 300),
        ({"prefixItems": [{"enum": [str(number) for number in range(1000)]}] * 900}, ["x"] * 900),
        ({"additionalProperties": {"items": {"type": "null"}}}, {"k" * 60_000: ["x"] * 900}),
        ({"allOf": [{"const": each} for each in range(1000)]}, "x" * 60_000),
    ],
)
def test_much_to_list(schema: dict[str, Any], instance: object) -> None:
    """Whatever errors are many of, or have large copies of: values, names, options, paths."""
    assert not Listing(schema).is_cheap(instance)


@pytest.mark.parametrize(
    ("schema", "instance"),
    [
        ({"items": {"type": "string", "minLength": 1, "pattern": "^a"}}, ["x"] * 900),
        ({"items": {"oneOf": BRANCHES}}, ["x"] * 50),
        ({"properties": {"a": False}, "patternProperties": {}}, {"a": {"b": [1, None]}}),
        ({"$ref": "#/$defs/tree", "$defs": {"tree": {"items": {"$ref": "#/$defs/tree"}}}}, [[[]]]),
        (False, {"a": 1}),
        (expression("oneOf"), nested(4)),
    ],
)
def test_little_to_list(schema: Any, instance: object) -> None:
    """What forms and lists of usual sizes are."""
    assert Listing(schema).is_cheap(instance)
