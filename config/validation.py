"""Plain data to models; what pydantic refuses comes back as problems in plain words."""

from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from config.allowed import allowed_at, known_keys
from config.faults import KeyPath, Problem, nearest, shown

M = TypeVar("M", bound=BaseModel)


def validate(model: type[M], data: object) -> tuple[M | None, list[Problem]]:
    """The model made of the data, or None and every reason why not, paths relative to the data."""
    try:
        return model.model_validate(data, by_alias=True, by_name=False), []
    except ValidationError as error:
        return None, list(_problems(model, data, error))


def _problems(model: type[BaseModel], data: object, error: ValidationError) -> Iterator[Problem]:
    details = error.errors(include_url=False)
    found = {_path(detail, data): detail for detail in reversed(details)}
    for path, detail in reversed(found.items()):
        # Of alternatives only those count that went as deep as the data did.
        if not any(other != path and other[: len(path)] == path for other in found):
            yield _problem(model, path, detail)


def _path(detail: ErrorDetails, data: Any) -> KeyPath:
    """Pydantic's location without what is not in the data, such as the names of alternatives."""
    *_, last = detail["loc"] or ("",)
    of_a_field = detail["type"] in ("missing", "refused") and last != "[key]"
    path: KeyPath = ()
    for part in detail["loc"]:
        if _holds(data, part):
            data = data[part]
        elif not of_a_field or part != last:
            continue
        path = (*path, part)
    return path


def _holds(data: object, part: str | int) -> bool:
    if isinstance(data, list | tuple):
        return isinstance(part, int) and part < len(data)
    return isinstance(data, dict) and part in data


def _problem(model: type[BaseModel], path: KeyPath, detail: ErrorDetails) -> Problem:
    if detail["type"] == "extra_forbidden":
        return _unknown_key(model, path)
    context = detail.get("ctx", {}) if detail["type"] == "refused" else {}
    value = None if detail["type"] == "missing" else detail["input"]
    found = context.get("found") or shown(value, path)
    return Problem(path, found, context.get("allowed") or allowed_at(model, path))


def _unknown_key(model: type[BaseModel], path: KeyPath) -> Problem:
    *around, key = path
    known = known_keys(model, tuple(around))
    if key in known:  # method beside methods
        return Problem(path, f"{key}s beside it", "one of the two")
    return Problem(path, "an unknown key", nearest(str(key), known))
