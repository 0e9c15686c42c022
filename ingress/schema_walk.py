"""Which schemas apply to one value, as far as that can be told without looking at the value."""

from collections.abc import Iterator
from typing import Any

from config.schemas import Schema, resolve, subschemas

_BESIDE = ("if", "then", "else", "not")
_LISTS_BESIDE = ("allOf", "anyOf", "oneOf")
_ANCHORS = ("$anchor", "$dynamicAnchor")
_REFERENCES = ("$ref", "$dynamicRef")


class Applicators:
    """Follows references, conditions and alternatives inside of one whole schema."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._anchors = {
            f"#{each[key]}": each for _, each in subschemas(root) for key in _ANCHORS if key in each
        }

    def same_value(self, schema: dict[str, Any]) -> Iterator[object]:
        """The schemas that a schema applies to the value that it is applied to itself."""
        yield from (schema[key] for key in _BESIDE if key in schema)
        yield from (each for key in _LISTS_BESIDE for each in schema.get(key, ()))
        yield from schema.get("dependentSchemas", {}).values()
        for key in _REFERENCES:
            if key in schema:
                reference = schema[key]
                found = self._anchors.get(reference)
                yield resolve(self._root, reference) if found is None else found
