"""JSON Schemas (2020-12) in the configuration: which are accepted, and how they are compiled.

Stricter than the standard, in the way of Ajv's strict mode: what would silently check nothing (a
misspelt keyword, a format that is not known) is a fault. Nothing outside of a schema is ever
fetched, and patterns are of a kind that is matched in linear time.
"""

from collections.abc import Iterator
from typing import Any

import jsonschema_rs

from config.faults import KeyPath, Problem, nearest, quoted, shown
from config.header_fields import folded, never_goes_on

Schema = dict[str, Any] | bool

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
# fmt: off
_ONE_SCHEMA = frozenset((
    "additionalProperties", "contains", "contentSchema", "else", "if", "items", "not",
    "propertyNames", "then", "unevaluatedItems", "unevaluatedProperties",
))
_LIST_OF_SCHEMAS = frozenset(("allOf", "anyOf", "oneOf", "prefixItems"))
_NAMED_SCHEMAS = frozenset((
    "$defs", "definitions", "dependentSchemas", "patternProperties", "properties",
))
_OTHERS = frozenset((
    "$anchor", "$comment", "$dynamicAnchor", "$dynamicRef", "$id", "$ref", "$schema", "const",
    "contentEncoding", "contentMediaType", "default", "dependentRequired", "deprecated",
    "description", "enum", "examples", "exclusiveMaximum", "exclusiveMinimum", "format",
    "maxContains", "maxItems", "maxLength", "maxProperties", "maximum", "minContains",
    "minItems", "minLength", "minProperties", "minimum", "multipleOf", "pattern", "readOnly",
    "required", "title", "type", "uniqueItems", "writeOnly",
))
_FORMATS = (
    "date", "date-time", "duration", "email", "hostname", "idn-email", "idn-hostname", "ipv4",
    "ipv6", "iri", "iri-reference", "json-pointer", "regex", "relative-json-pointer", "time",
    "uri", "uri-reference", "uri-template", "uuid",
)
# fmt: on
_ANCHORS = ("$anchor", "$dynamicAnchor")
_REFERENCES = ("$ref", "$dynamicRef")
_KEYWORDS = sorted(_ONE_SCHEMA | _LIST_OF_SCHEMAS | _NAMED_SCHEMAS | _OTHERS)
_META_SCHEMA = jsonschema_rs.Draft202012Validator(
    {"$ref": _DIALECT}, offline=True, mask="the value"
)
_EXTENSION = "x-"  # of tools; means nothing here
_TYPES = "null, boolean, integer, number, string, array or object"
_LINEAR = "a regular expression without look-around and back-references, and not a huge one"


def compile_schema(schema: Schema) -> jsonschema_rs.Draft202012Validator:
    """What checks values against a schema. Raises ValueError for one that is not valid.

    Formats are checked. The values that it is given never show in its messages.
    """
    return jsonschema_rs.Draft202012Validator(
        schema,
        validate_formats=True,
        ignore_unknown_formats=False,
        offline=True,
        pattern_options=jsonschema_rs.RegexOptions(),
        mask="the value",
    )


def subschemas(schema: object, path: KeyPath = ()) -> Iterator[tuple[KeyPath, dict[str, Any]]]:
    """A schema and all that are inside it, with their places; what is no schema is left out."""
    if not isinstance(schema, dict):
        return
    yield path, schema
    for key, value in schema.items():
        inner = (*path, key)
        if key in _ONE_SCHEMA:
            yield from subschemas(value, inner)
        elif key in _LIST_OF_SCHEMAS and isinstance(value, list | tuple):
            for index, each in enumerate(value):
                yield from subschemas(each, (*inner, index))
        elif key in _NAMED_SCHEMAS and isinstance(value, dict):
            for name, each in value.items():
                yield from subschemas(each, (*inner, name))


def resolve(schema: Schema, reference: str) -> object:
    """What a reference such as ``#/$defs/name`` points to. Raises LookupError (RFC 6901)."""
    found: Any = schema
    for token in reference.removeprefix("#").split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        found = found[int(name) if isinstance(found, list | tuple) and name.isdecimal() else name]
    return found


def schema_problems(schema: Schema) -> list[Problem]:
    """Everything that is wrong with a schema."""
    try:
        parts = list(subschemas(schema))
        anchors = {each[key] for _, each in parts for key in _ANCHORS if _is_text(each.get(key))}
        problems = [
            problem
            for path, each in parts
            for key, value in each.items()
            if (problem := _problem(schema, anchors, (*path, key), value)) is not None
        ]
        told = {problem.path for problem in problems}
        more = {each.path: each for each in _invalid(schema) if each.path not in told}
        problems += more.values()
        return problems or list(_uncompilable(schema))
    except (ValueError, RecursionError):  # what did not come from a file can be anything
        return [Problem((), "values that JSON does not have, or too deep ones", "plain JSON")]


def object_problems(schema: Schema) -> Iterator[Problem]:
    """A type at the top that no object is of: query and header fields are always objects."""
    types = schema.get("type", "object") if isinstance(schema, dict) else "object"
    if types != "object" and (_is_text(types) or "object" not in types):
        allowed = "object: names and their values are the members of one"
        yield Problem(("type",), shown(types), allowed)


def spelling_problems(schema: Schema) -> Iterator[Problem]:
    """Names of header fields that are spelled in two ways: they would be taken for two fields."""
    first: dict[str, str] = {}
    for path, each in subschemas(schema):
        for name in names_in(each):
            other = first.setdefault(folded(name), name)
            if other != name:
                yield Problem(path, f"{quoted(name)} beside {quoted(other)}", "one spelling")


def demanded_in_vain(schema: Schema) -> Iterator[Problem]:
    """Fields that a schema for header fields requires, and that no request ever has there."""
    required = schema.get("required", ()) if isinstance(schema, dict) else ()
    for index, name in enumerate(required):
        if never_goes_on(name):
            found = f"{quoted(name)}, which never goes on to a service"
            yield Problem(("required", index), found, "fields that do: only these are validated")


def names_in(schema: dict[str, Any]) -> Iterator[str]:
    """The members that one schema, without those inside it, names."""
    for key in ("properties", "dependentSchemas", "dependentRequired", "required"):
        yield from filter(_is_text, schema.get(key, ()))
    for names in schema.get("dependentRequired", {}).values():
        yield from names


def _problem(schema: Schema, anchors: set[str], path: KeyPath, value: object) -> Problem | None:
    """What is wrong with one keyword, as far as the meta-schema does not know it."""
    key = path[-1]
    if key not in _KEYWORDS and not str(key).startswith(_EXTENSION):
        return Problem(path, "an unknown keyword", nearest(str(key), _KEYWORDS))
    if key == "$schema" and value not in (_DIALECT, _DIALECT + "#"):
        return Problem(path, shown(value), _DIALECT)
    if key == "$id" and len(path) > 1:
        return Problem(path, "an $id inside of the schema", "one at its top only")
    if key == "format" and _is_text(value) and value not in _FORMATS:
        return Problem(
            path, f"{quoted(str(value))}, which is no format", nearest(str(value), _FORMATS)
        )
    if key in _REFERENCES and _is_text(value) and not _leads_somewhere(schema, anchors, str(value)):
        return Problem(
            path, shown(value), "a reference to a place in the same schema, like #/$defs/name"
        )
    return None


def _leads_somewhere(schema: Schema, anchors: set[str], reference: str) -> bool:
    if not reference.startswith("#/"):
        return reference == "#" or (reference[:1] == "#" and reference[1:] in anchors)
    try:
        return isinstance(resolve(schema, reference), dict | bool)
    except (LookupError, TypeError):
        return False


def _invalid(schema: Any) -> Iterator[Problem]:
    """What the meta-schema does not allow."""
    for error in _META_SCHEMA.iter_errors(schema):
        path = tuple(error.instance_path)
        yield Problem(path, shown(_at(schema, path), path), _allowed(error, path))


def _uncompilable(schema: Schema) -> Iterator[Problem]:
    """The first thing that the meta-schema has no objection to, and the library has: a pattern."""
    try:
        compile_schema(schema)
    except jsonschema_rs.ValidationError as error:
        allowed = _LINEAR if error.kind.value == "regex" else error.message
        yield Problem(tuple(error.instance_path), "what can't be used", allowed)


def _at(schema: Any, path: KeyPath) -> object:
    for part in path:
        schema = schema[part]
    return schema


def _allowed(error: jsonschema_rs.ValidationError, path: KeyPath) -> str:
    if "type" in path[-2:]:
        return _TYPES
    if isinstance(error.kind, jsonschema_rs.ValidationErrorKind.Type):
        return " or ".join(error.kind.types)
    return f"what JSON Schema 2020-12 has there ({error.message})"


def _is_text(value: object) -> bool:
    return isinstance(value, str)
