"""What a model allows at a key, in plain words, read from the model's JSON schema."""

from collections.abc import Iterator
from functools import cache
from typing import Any

from pydantic import BaseModel

from config.faults import KeyPath

_Schema = dict[str, Any]
_PLAIN = {"boolean": "true or false", "string": "text", "array": "a list", "object": "a mapping"}


def allowed_at(model: type[BaseModel], path: KeyPath) -> str:
    """What may stand at a key path inside an entry of this model; empty where nothing may."""
    root = _schema_of(model)
    words = (_words(schema, root) for schema in _at(root, path, root))
    return ", or ".join(dict.fromkeys(filter(None, words)))


def known_keys(model: type[BaseModel], path: KeyPath) -> list[str]:
    """The keys that the mapping at a key path may have."""
    root = _schema_of(model)
    return [
        key
        for schema in _at(root, path, root)
        for mapping in _alternatives(schema, root)
        for key in mapping.get("properties", ())
    ]


@cache
def _schema_of(model: type[BaseModel]) -> _Schema:
    return model.model_json_schema()


def _at(schema: _Schema, path: KeyPath, root: _Schema) -> Iterator[_Schema]:
    """The schemas that apply at the path: several where there are alternatives."""
    if path or "description" not in schema:
        if "$ref" in schema:
            yield from _at(root["$defs"][schema["$ref"].rpartition("/")[2]], path, root)
            return
        if "anyOf" in schema:
            for branch in schema["anyOf"]:
                yield from _at(branch, path, root)
            return
    if not path:
        yield schema
    elif (inner := _inside(schema, path[0])) is not None:
        yield from _at(inner, path[1:], root)


def _alternatives(schema: _Schema, root: _Schema) -> Iterator[_Schema]:
    """What a schema stands for, also where it has words of its own for all of it."""
    inner = {key: value for key, value in schema.items() if key != "description"}
    return _at(inner, (), root)


def _inside(schema: _Schema, part: str | int) -> _Schema | None:
    if isinstance(part, int):
        found = schema.get("items")
    else:
        found = schema.get("properties", {}).get(part, schema.get("additionalProperties"))
    return found if isinstance(found, dict) else None


def _words(schema: _Schema, root: _Schema) -> str:
    if "enum" in schema:
        return _choice(schema["enum"])
    if "const" in schema:
        return str(schema["const"])
    if "properties" in schema:
        return f"a mapping with keys among {', '.join(schema['properties'])}"
    if "description" in schema:
        return str(schema["description"])
    kind = schema.get("type")
    if kind in ("integer", "number"):
        return _number(schema)
    if kind == "array" and "items" in schema:
        items = " or ".join(_words(item, root) for item in _at(schema["items"], (), root))
        return (
            f"a list of {'one or more' if schema.get('minItems') else 'any length'}, each {items}"
        )
    if kind == "string" and "maxLength" in schema:
        return f"text of {schema.get('minLength', 0)} to {schema['maxLength']} characters"
    return _PLAIN.get(str(kind), "")


def _choice(values: list[str]) -> str:
    return ", ".join(values[:-1]) + f" or {values[-1]}"


def _number(schema: _Schema) -> str:
    noun = "a whole number" if schema["type"] == "integer" else "a number"
    return f"{noun} from {schema['minimum']} to {schema['maximum']}"
