"""JSONPaths as functions; those that name one place become plain look-ups.

jsonpath-ng parses all of them. It evaluates what selects several places; for the others it would
take ten times as long to come to the same.
"""

from collections.abc import Callable
from typing import Any, Final

from jsonpath_ng import Child, Fields, Index, JSONPath, Root, This

from config.jsonpaths import is_single, parse_jsonpath

ABSENT: Final = object()
Find = Callable[[Any], Any]


def path_function(text: str) -> Find:
    """A function from a JSON value to what the path finds in it. Raises BadJsonPath.

    A path that can lead to one place only gives the value there, or ABSENT; any other gives the
    list of what it finds, maybe empty.
    """
    path = parse_jsonpath(text)
    if not is_single(path):
        return lambda data: [found.value for found in path.find(data)]
    steps = _steps(path)
    if steps is None:
        return lambda data: next((found.value for found in path.find(data)), ABSENT)
    if len(steps) == 1:
        return _at(steps[0])
    return _along([_at(step) for step in steps])


def _steps(path: JSONPath) -> list[str | int] | None:
    """Names and indexes from the root on; None where there are others."""
    match path:
        case Root() | This():
            return []
        case Fields(fields=(step,)) | Index(indices=(step,)):
            return [step]
        case Child(left=left, right=right):
            before, after = _steps(left), _steps(right)
            return None if before is None or after is None else before + after
    return None


def _at(step: str | int) -> Find:
    if isinstance(step, str):
        return lambda data: data.get(step, ABSENT) if type(data) is dict else ABSENT
    return lambda data: _element(data, step)


def _element(data: Any, index: int) -> Any:
    if type(data) is list and -len(data) <= index < len(data):
        return data[index]
    return ABSENT


def _along(steps: list[Find]) -> Find:
    def find(data: Any) -> Any:
        for step in steps:
            data = step(data)
        return data

    return find
