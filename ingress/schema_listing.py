"""How much work it is to list what does not fit: bounded before it begins, by counting.

The library lists errors eagerly: those of every branch of ``anyOf`` and its like, at every level of
a value, each with a copy of the value it is about. Two branches that call the schema itself double
the work at each level, for which a schema of a few lines and a body of a hundred bytes will do.
"""

from collections.abc import Iterator
from typing import Any

from config.schemas import Schema
from ingress.schema_walk import Applicators

MOST_LISTING = 200_000  # units of about 100 ns, as measured with jsonschema-rs 0.60

_ERROR = 30  # units, without what it copies: the value it is about, its path, what is demanded
_MEMBER = 3
_TEXT = 256  # characters for a unit

_OF_EACH_MEMBER = ("additionalProperties", "unevaluatedProperties")
_OF_EACH_ITEM = ("contains", "items", "unevaluatedItems")

_Application = tuple[Any, object, int]  # a schema, a value, the units of the value's path


class Listing:
    """Tells for which values of a schema it takes little to list what does not fit."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._applicators = Applicators(schema)

    def is_cheap(self, instance: object) -> bool:
        """Whether it takes little, even if nothing that applies to the value fits.

        Stops counting where it is too much; the value has to be of bounded size by itself.
        """
        sizes: dict[int, int] = {}
        left = MOST_LISTING
        ways = [iter([(self._schema, instance, 0)])]
        while ways:
            application = next(ways[-1], None)
            if application is None:
                ways.pop()
                continue
            left -= _units(*application, sizes)
            if left < 0:
                return False
            ways.append(self._further(*application))
        return True

    def _further(self, schema: Any, value: object, path: int) -> Iterator[_Application]:
        """What a schema applies in its turn, to the value and to what is in it."""
        if not isinstance(schema, dict):
            return
        for each in self._applicators.same_value(schema):
            yield each, value, path
        if isinstance(value, dict):
            yield from _to_members(schema, value, path)
        elif isinstance(value, list):
            yield from _to_items(schema, value, path)


def _to_members(schema: dict[str, Any], value: dict[str, Any], path: int) -> Iterator[_Application]:
    named = schema.get("properties", {})
    every = [schema[key] for key in _OF_EACH_MEMBER if key in schema]
    every += schema.get("patternProperties", {}).values()
    for name, member in value.items():
        below = path + _MEMBER + len(name) // _TEXT
        if name in named:
            yield named[name], member, below
        for each in every:
            yield each, member, below
        if "propertyNames" in schema:  # an error of a name has a copy of the whole object
            yield schema["propertyNames"], value, path


def _to_items(schema: dict[str, Any], value: list[Any], path: int) -> Iterator[_Application]:
    every = [schema[key] for key in _OF_EACH_ITEM if key in schema]
    for each, item in zip(schema.get("prefixItems", ()), value, strict=False):
        yield each, item, path + _MEMBER
    for item in value:
        for each in every:
            yield each, item, path + _MEMBER


def _units(schema: Any, value: object, path: int, sizes: dict[int, int]) -> int:
    """What it takes to tell of everything that one schema itself demands of a value."""
    if not isinstance(schema, dict):
        return _ERROR
    errors = len(schema) + len(schema.get("required", ()))
    errors += sum(map(len, schema.get("dependentRequired", {}).values()))
    compared = _size(schema.get("enum"), sizes) + _size(schema.get("const"), sizes)
    return errors * (_ERROR + path + _size(value, sizes)) + compared


def _size(value: object, sizes: dict[int, int]) -> int:
    """The units for a copy; ``sizes`` has those that are known, by id."""
    if isinstance(value, str):
        return 1 + len(value) // _TEXT
    if not isinstance(value, dict | list | tuple):
        return 1
    if id(value) not in sizes:
        if isinstance(value, dict):
            size = sum(_MEMBER + len(name) // _TEXT for name in value)
            size += sum(_size(each, sizes) for each in value.values())
        else:
            size = sum(_size(each, sizes) for each in value)
        sizes[id(value)] = 1 + size
    return sizes[id(value)]
