"""Values that arrive as text, as the types that a JSON Schema declares for them.

What OpenAPI calls serialisation: of query strings style=form with explode (``?id=1&id=2``), of
header fields style=simple (``X-Ids: 1,2``).
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from broker.messages import Headers
from config.header_fields import FOLD
from config.schemas import Schema, names_in, resolve, subschemas
from ingress.strict_json import MOST_DIGITS

# fmt: off
_ABOUT_ALL_NAMES = frozenset((
    "additionalProperties", "maxProperties", "minProperties", "patternProperties",
    "propertyNames", "unevaluatedProperties",
))
# fmt: on
_LISTS_OF_SCHEMAS = ("allOf", "anyOf", "oneOf")
_SINGLE_SCHEMAS = ("if", "then", "else")
_BOOLEANS = {"true": True, "false": False}
# As JSON has them, so that nobody reads them otherwise; as long as a body may have them.
_is_integer = re.compile(rf"-?(?:0|[1-9][0-9]{{0,{MOST_DIGITS - 1}}})").fullmatch
_is_number = re.compile(
    rf"-?(?![0-9.]{{{MOST_DIGITS + 1}}})(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{{1,2}})?"
).fullmatch
_bad_escape = re.compile(r"%(?![0-9A-Fa-f]{2})").search


class Unreadable(ValueError):
    """A query string that readers may understand in several ways; says why."""


@dataclass(frozen=True, slots=True)
class _Parameter:
    """What is declared of one name; ``items`` are the types of its items, if it may have several.

    ``spelling`` is that of the schema.
    """

    spelling: str
    types: frozenset[str]
    items: frozenset[str]


class Parameters:
    """The names that a schema knows, and what their values are to be."""

    def __init__(self, schema: Schema, fold: Callable[[str], str] = str) -> None:
        parts = [each for _, each in subschemas(schema)]
        self._whole = any(not _ABOUT_ALL_NAMES.isdisjoint(each) for each in parts)
        self._known = {
            fold(name): _declared(schema, name) for each in parts for name in names_in(each)
        }
        self._other = _types(schema, _members(schema, None))

    def instance(
        self, given: Iterable[tuple[str, str]], separator: str = ""
    ) -> tuple[dict[str, object], list[str]]:
        """An object for the schema, and the names that occur more often than they may.

        Names that no keyword asks for are left out. A ``separator`` splits arrays.
        """
        texts: dict[str, list[str]] = {}
        for name, text in given:
            if self._whole or name in self._known:
                texts.setdefault(name, []).append(text)
        values: dict[str, object] = {}
        repeated = []
        for name, found in texts.items():
            parameter = self._known.get(name)
            if parameter is None:
                values[name] = _scalar(found[0], self._other) if len(found) == 1 else found
            elif "array" in parameter.types:
                values[parameter.spelling] = _array(found, parameter, separator)
            else:
                values[parameter.spelling] = _scalar(found[0], parameter.types)
                if len(found) > 1:
                    repeated.append(parameter.spelling)
        return values, repeated


def query_pairs(query: str) -> list[tuple[str, str]]:
    """Names and values of ``?a=1&b=2`` (or of nothing), decoded: ``+`` is a space (WHATWG URL).

    Raises Unreadable where it is no UTF-8, or an escape is broken.
    """
    if len(query) <= 1:
        return []
    if query.isascii() and "%" not in query and "+" not in query:
        parts = [part.partition("=") for part in query[1:].split("&") if part]
        return [(name, value) for name, _, value in parts]
    if _bad_escape(query) is not None:
        raise Unreadable("has a broken percent-encoding")
    try:
        parts = [part.partition("=") for part in query[1:].split("&") if part]
        return [(_decoded(name), _decoded(value)) for name, _, value in parts]
    except UnicodeError:
        raise Unreadable("is not UTF-8") from None


def header_pairs(headers: Headers) -> list[tuple[str, str]]:
    """Names and values; a name is what every reader takes it for, ``X_Id`` as ``x-id``."""
    return [
        (name.translate(FOLD).decode("ascii", "replace"), value.decode("utf-8", "replace"))
        for name, value in headers
    ]


def _decoded(text: str) -> str:
    return unquote_to_bytes(text.replace("+", " ")).decode()


def _array(found: list[str], parameter: _Parameter, separator: str) -> list[object]:
    if separator:
        parts = [part.strip(" \t") for text in found for part in text.split(separator)]
        found = [part for part in parts if part]  # RFC 9110 section 5.6.1: empty ones do not count
    return [_scalar(text, parameter.items) for text in found]


def _scalar(text: str, types: frozenset[str]) -> object:
    """The value that a text stands for; the text itself where it stands for none of the types."""
    if not types or "string" in types:
        return text
    if "boolean" in types and text in _BOOLEANS:
        return _BOOLEANS[text]
    if not types.isdisjoint(("integer", "number")) and _is_integer(text):
        return int(text)
    if "number" in types and _is_number(text):
        return float(text)
    return text


# --- what a schema declares -------------------------------------------------------------------


def _declared(schema: Schema, name: str) -> _Parameter:
    members = list(_members(schema, name))
    items = [part["items"] for each in members for part in _parts(schema, each) if "items" in part]
    return _Parameter(name, _types(schema, members), _types(schema, items))


def _members(schema: Schema, name: str | None) -> Iterator[Any]:
    """All that is said of a member, or of those that nothing is said of by name."""
    for part in _parts(schema, schema):
        if name is None:
            yield part.get("additionalProperties", True)
        elif name in part.get("properties", ()):
            yield part["properties"][name]


def _types(root: Schema, schemas: Iterable[Any]) -> frozenset[str]:
    found: set[str] = set()
    for schema in schemas:
        for part in _parts(root, schema):
            given = part.get("type", ())
            found.update((given,) if isinstance(given, str) else given)
    return frozenset(found)


def _parts(root: Schema, schema: Any) -> Iterator[dict[str, Any]]:
    """A schema, and all that speak of the same value: references, alternatives, conditions."""
    seen: list[Any] = []
    left = [schema]
    while left:
        part = left.pop()
        if not isinstance(part, dict) or any(part is each for each in seen):
            continue
        seen.append(part)
        yield part
        if str(part.get("$ref", "")).startswith("#/") or part.get("$ref") == "#":
            left.append(resolve(root, part["$ref"]))
        left += [each for key in _LISTS_OF_SCHEMAS for each in part.get(key, ())]
        left += [part[key] for key in _SINGLE_SCHEMAS if key in part]
        left += part.get("dependentSchemas", {}).values()
