"""Which JSONPaths may be configured: those of jsonpath-ng whose work grows no faster than the data.

Evaluating one can't be broken off, so what could take quadratic or exponential time is refused: a
second ``..``, paths through everything inside a filter, regular expressions, steps to the parent,
the same element selected twice.
"""

from collections.abc import Iterator

from jsonpath_ng import (
    Child,
    Descendants,
    Fields,
    Index,
    JSONPath,
    Root,
    Slice,
    This,
    Wildcard,
)
from jsonpath_ng.ext.filter import And, Expression, Filter, Or
from jsonpath_ng.ext.iterable import Keys, Len, SortedThis
from jsonpath_ng.ext.parser import parse as parse_extended

LONGEST = 500  # characters


class BadJsonPath(ValueError):
    """A path can't be used; the text says what is allowed."""


def parse_jsonpath(text: str) -> JSONPath:
    """The path as jsonpath-ng's tree. Raises BadJsonPath."""
    if len(text) > LONGEST:
        raise BadJsonPath(f"a JSONPath of up to {LONGEST} characters")
    try:
        path = parse_extended(text)
    except Exception as error:  # of many kinds, not all of them its own
        raise BadJsonPath("a JSONPath like $.id or $.items[*].id") from error
    steps = list(_steps(path))
    if any(isinstance(step, Root) for step in steps[1:]):
        raise BadJsonPath("a JSONPath with $ at its beginning only")
    if _descents(path) > 1:
        raise BadJsonPath("a JSONPath with .. once at most")
    for step in steps:
        _check_step(step)
    return path


def is_single(path: JSONPath) -> bool:
    """Whether it can lead to one place at most, by names and numbers only."""
    match path:
        case SortedThis():  # a kind of This
            return False
        case Root() | This() | Len():
            return True
        case Fields(fields=several) | Index(indices=several):
            return len(several) == 1
        case Child(left=left, right=right):
            return is_single(left) and is_single(right)
    return False


def _steps(path: JSONPath) -> Iterator[JSONPath]:
    """What a path is joined of, in order."""
    if isinstance(path, Child | Descendants):
        yield from _steps(path.left)
        yield from _steps(path.right)
    else:
        yield path


def _descents(path: JSONPath) -> int:
    if isinstance(path, Child | Descendants):
        return isinstance(path, Descendants) + _descents(path.left) + _descents(path.right)
    return 0


def _check_step(step: JSONPath) -> None:
    match step:
        case Fields(fields=several) | Index(indices=several):
            _check_each_once(several)
        case Filter(expressions=expressions):
            for expression in expressions:
                _check_condition(expression)
        case SortedThis():
            raise BadJsonPath("a JSONPath without sorting")
        case Root() | This() | Wildcard() | Slice() | Len() | Keys():
            pass
        case _:
            raise BadJsonPath("a JSONPath of names, numbers, slices, *, .., filters, `len`, `keys`")


def _check_each_once(selected: tuple[str, ...] | tuple[int, ...]) -> None:
    signs = {isinstance(each, int) and each < 0 for each in selected}
    if len(set(selected)) < len(selected) or len(signs) > 1:
        raise BadJsonPath("each name or number once between brackets, and those from one end only")


def _check_condition(condition: JSONPath) -> None:
    """A filter's condition: single paths, compared with each other or with a value."""
    match condition:
        case And(operands=operands) | Or(operands=operands):
            for operand in operands:
                _check_condition(operand)
        case Expression(target=target, op=op, value=value):
            paths = [path for path in (target, value) if isinstance(path, JSONPath)]
            if op == "=~" or not all(map(is_single, paths)):
                raise BadJsonPath(
                    "a filter on single fields, like [?(@.price < 10)], by ==, !=, <, <=, >, >="
                )
        case _:
            raise BadJsonPath("a filter like [?(@.price < 10)]")
