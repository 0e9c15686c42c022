"""Which JSON Schemas a configuration may have."""

from typing import Any

import pytest

from config.faults import ConfigError
from config.loader import replace
from config.models.routes import Route
from config.models.services import Service
from config.schemas import compile_schema, resolve, schema_problems, spelling_problems, subschemas
from config.snapshot import Snapshot

SOUND: list[dict[str, Any] | bool] = [
    True,
    {},
    {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "http://example.com/a"},
    {"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": ["null", "string"]}}},
    {"$ref": "#/definitions/a", "definitions": {"a": True}},
    {"$ref": "#node", "$defs": {"n": {"$anchor": "node", "items": {"$ref": "#"}}}},
    {"$dynamicRef": "#node", "$dynamicAnchor": "node"},
    {"properties": {"requird": {"const": {"nullable": True}}}, "x-internal": {"any": "thing"}},
    {"pattern": r"^\p{L}+\d{2,5}$", "format": "email", "allOf": [{"$ref": "#/properties/a"}]}
    | {"properties": {"a": {}}},
]


@pytest.mark.parametrize("schema", SOUND)
def test_sound(schema: dict[str, Any] | bool) -> None:
    """The standard's own ways of saying things are all there."""
    assert schema_problems(schema) == []
    assert compile_schema(schema).is_valid("ada77@example.com") in (True, False)


FAULTY: list[tuple[dict[str, Any], tuple[str | int, ...]]] = [
    ({"propertys": {}}, ("propertys",)),
    ({"items": {"anyOf": [{}, {"maxlength": 1}]}}, ("items", "anyOf", 1, "maxlength")),
    ({"dependencies": {}}, ("dependencies",)),
    ({"format": "int32"}, ("format",)),
    ({"$ref": "other.json"}, ("$ref",)),
    ({"$ref": "http://127.0.0.1:1/x"}, ("$ref",)),
    ({"$ref": "#/required/0", "required": ["a"]}, ("$ref",)),
    ({"$ref": "#nowhere"}, ("$ref",)),
    ({"$dynamicRef": "https://example.com/#a"}, ("$dynamicRef",)),
    ({"not": {"$id": "x"}}, ("not", "$id")),
    ({"$schema": "http://json-schema.org/draft-07/schema#"}, ("$schema",)),
    ({"type": "strin"}, ("type",)),
    ({"type": ["string", "x"]}, ("type",)),
    ({"properties": {"a": 5}}, ("properties", "a")),
    ({"items": [{}]}, ("items",)),
    ({"required": "a"}, ("required",)),
    ({"allOf": []}, ("allOf",)),
    ({"minLength": -1}, ("minLength",)),
    ({"maximum": float("nan")}, ("maximum",)),
    ({"pattern": "(a"}, ("pattern",)),
    ({"pattern": "a(?=b)"}, ("pattern",)),
    ({"pattern": r"(a)\1"}, ("pattern",)),
    ({"pattern": r"(\w{1000}){1000}"}, ("pattern",)),
    ({"patternProperties": {"(?!a)": {}}}, ("patternProperties", "(?!a)")),
    ({"const": object()}, ()),
]


@pytest.mark.parametrize(("schema", "path"), FAULTY)
def test_faulty(schema: dict[str, Any], path: tuple[str | int, ...]) -> None:
    """Each mistake is told once, where it is."""
    assert [problem.path for problem in schema_problems(schema)] == [path]


def test_all_mistakes_are_told() -> None:
    """Those that only this gateway minds do not hide those against the standard."""
    schema = {"requird": [], "properties": {"a": {"type": "x"}, "b": {"minimum": "1"}}}
    found = {problem.path[-1] for problem in schema_problems(schema)}
    assert found == {"requird", "type", "minimum"}


def test_a_schema_without_end() -> None:
    """Data of an application can be deeper than any file; that is a fault, not a crash."""
    schema: dict[str, Any] = {}
    for _ in range(5000):
        schema = {"not": schema}
    assert [problem.path for problem in schema_problems(schema)] == [()]


def test_an_application_hears_of_it() -> None:
    """Without a file, a fault has entry and key, and the old configuration stays."""
    service = Service.model_validate({"name": "s", "base_url": "http://s"})
    snapshot = Snapshot((Route(path="/a", service="s"),), {"s": service})
    route = {"path": "/a", "service": "s", "validate": {"body": {"properties": {"n": {"typ": 1}}}}}
    with pytest.raises(ConfigError) as caught:
        replace(snapshot, "routes", [route])
    assert [fault.key for fault in caught.value.faults] == ["validate.body.properties.n.typ"]


def test_subschemas_are_not_data() -> None:
    """What const, enum and examples hold is never taken for a schema."""
    schema = {"const": {"not": {}}, "not": {"enum": [{"not": {}}]}, "properties": {"not": {}}}
    assert [path for path, _ in subschemas(schema)] == [(), ("not",), ("properties", "not")]


def test_resolve() -> None:
    """JSON pointers with their escapes, through lists too."""
    schema = {"allOf": [{"$defs": {"a~b": {"type": "null"}}}]}
    assert resolve(schema, "#/allOf/0/$defs/a~0b") == {"type": "null"}
    assert resolve(schema, "#") is schema


def test_spellings_of_header_fields() -> None:
    """Two spellings of a field are one mistake; one spelling in several places is none."""
    one = {"properties": {"X-A": {}}, "required": ["X-A"]}
    assert list(spelling_problems(one)) == []
    two = {"properties": {"X-A": {}}, "allOf": [{"dependentRequired": {"X-B": ["X_a"]}}]}
    assert [problem.found for problem in spelling_problems(two)] == ['"X_a" beside "X-A"']
