"""What does not fit a JSON Schema, in words for the client.

They say what is demanded, and never what was found: a value may be a secret. Neither do they show
the values of ``const`` and ``enum``, which may be one of the operator's.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import jsonschema_rs

from config.schemas import Schema, compile_schema
from ingress.problems import FieldError
from ingress.schema_listing import Listing

MOST_ERRORS = 10
# Listing errors takes thousands of times what it takes to find out whether there are any. Where it
# would take long (see ingress.schema_listing), or counting that would, it is only told that there
# are some.
MOST_VALUES = 1000
MOST_BYTES = 65_536
_UNTOLD = "does not fit the schema, and it would take too long to tell where"
_LONGEST_POINTER = 200
_LONGEST_PATTERN = 200

_DEMANDS = {
    "additionalProperties": "is not allowed",
    "anyOf": "must fit at least one of the alternatives",
    "const": "must be the one value that is allowed",
    "contains": "must have as many items of a certain kind as are demanded",
    "enum": "must be one of the values that are allowed",
    "exclusiveMaximum": "must be less than {limit}",
    "exclusiveMinimum": "must be more than {limit}",
    "falseSchema": "is not allowed",
    "format": "must be a valid {format}",
    "maxItems": "must have at most {limit} items",
    "maxLength": "must have at most {limit} characters",
    "maxProperties": "must have at most {limit} members",
    "maximum": "must be at most {limit}",
    "minItems": "must have at least {limit} items",
    "minLength": "must have at least {limit} characters",
    "minProperties": "must have at least {limit} members",
    "minimum": "must be at least {limit}",
    "multipleOf": "must be a multiple of {multiple_of}",
    "not": "must not be of a kind that is excluded",
    "oneOf": "must fit exactly one of the alternatives",
    "pattern": "must match {pattern}",
    "propertyNames": "has a member whose name is not allowed",
    "required": "is required",
    "type": "must be of the type {types}",
    "unevaluatedItems": "has items that are not allowed",
    "unevaluatedProperties": "is not allowed",
    "uniqueItems": "must not have the same item twice",
}
_OF_ALL_MEMBERS = (["additionalProperties"], ["propertyNames"])


class SchemaCheck:
    """A schema, compiled, for one part of requests: ``query``, ``header`` or ``body``."""

    def __init__(self, part: str, schema: Schema) -> None:
        self._part = part
        self._validator = compile_schema(schema)
        self._listing = Listing(schema)

    def fits(self, instance: object) -> bool:
        """Whether the schema has nothing against it."""
        return self._validator.is_valid(instance)

    def errors(self, instance: object, values: int, size: int = 0) -> list[FieldError]:
        """What does not fit of an instance of so many values and bytes, as much as is told."""
        is_large = values > MOST_VALUES or size > MOST_BYTES
        if is_large or not self._listing.is_cheap(instance):
            return [self.error("", _UNTOLD)]
        found = (each for error in self._validator.iter_errors(instance) for each in _told(error))
        return [self.error(*each) for each in islice(found, MOST_ERRORS)]

    def error(self, pointer: str, detail: str) -> FieldError:
        """An error at a JSON pointer (RFC 6901) into this part."""
        if len(pointer) > _LONGEST_POINTER:
            pointer = pointer[:_LONGEST_POINTER] + "..."
        return FieldError(self._part, pointer, detail)


def pointer(*tokens: str | int) -> str:
    """The JSON pointer through these members and items."""
    return "".join([f"/{str(token).replace('~', '~0').replace('/', '~1')}" for token in tokens])


def _told(error: jsonschema_rs.ValidationError) -> Iterator[tuple[str, str]]:
    """Pointer and detail for each field that an error is about."""
    kind = error.kind
    detail = _detail(kind.name, kind.as_dict())
    if kind.name == "falseSchema" and error.schema_path[-1:] in _OF_ALL_MEMBERS:
        detail = "must have no members"  # the library tells it of the object, not of its members
    for name in _members(kind):
        yield pointer(*error.instance_path, name), detail
    if not _members(kind):
        yield pointer(*error.instance_path), detail


def _members(kind: jsonschema_rs.ValidationErrorKind) -> list[str]:
    """The members that an error of their object is about."""
    if isinstance(kind, jsonschema_rs.ValidationErrorKind.Required):
        return [kind.property]
    if isinstance(
        kind,
        jsonschema_rs.ValidationErrorKind.AdditionalProperties
        | jsonschema_rs.ValidationErrorKind.UnevaluatedProperties,
    ):
        return kind.unexpected
    return []


def _detail(keyword: str, demanded: dict[str, Any]) -> str:
    if keyword == "type":
        demanded["types"] = " or ".join(demanded["types"])
    if keyword == "pattern" and len(demanded["pattern"]) > _LONGEST_PATTERN:
        return "must match the pattern"
    return _DEMANDS.get(keyword, "does not fit the schema").format_map(demanded)
