"""Where templates run: they see the data and nothing else, and every step is paid from a budget.

What they may say is settled in config.templates. Here an attribute is a field of the data, or one
of a few methods of text and mappings; there is no way from these to Python's objects, and so none
to ``str.format`` (CVE-2024-56326) or ``attr`` (CVE-2025-27516).
"""

import operator
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from types import BuiltinMethodType
from typing import Any

from jinja2 import StrictUndefined, pass_context
from jinja2.exceptions import SecurityError
from jinja2.filters import FILTERS as OF_JINJA
from jinja2.filters import do_round, do_sum, make_attrgetter
from jinja2.runtime import Context, LoopContext, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from config.templates import BINARY_OPERATORS, FILTERS, JOIN, LOOP, METHODS, parse_template
from dispatcher.transformation.budget import Budget
from dispatcher.transformation.documents import text_of

Render = Callable[[dict[str, Any], Budget], str]

_LARGEST = 4096  # bits of a calculated integer
_MOST_DIGITS = 100
_OF_LOOPS = frozenset(
    ("first", "index", "index0", "last", "length", "nextitem", "previtem", "revindex", "revindex0")
)
_ATTRIBUTES: dict[type, frozenset[str]] = {str: METHODS, dict: METHODS, LoopContext: _OF_LOOPS}
_OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
}


class _Context(Context):
    """The fields of one object, and the budget for what is done with them."""

    budget: Budget


class Sandbox(ImmutableSandboxedEnvironment):
    """Compiles the templates of config.templates."""

    context_class = _Context
    intercepted_binops = BINARY_OPERATORS

    def __init__(self) -> None:
        super().__init__(
            autoescape=False, optimized=False, undefined=StrictUndefined, finalize=text_of
        )
        self.globals.clear()
        self.filters = {name: OF_JINJA[name] for name in FILTERS} | _BOUNDED

    def template(self, text: str) -> Render:
        """A function that fills in the template from the fields of an object.

        Raises BadTemplate. The function raises whatever goes wrong in it: UndefinedError for a
        missing field, TooMuchWork, TypeError ...
        """
        code = self.compile(parse_template(text))
        parts = self.template_class.from_code(self, code, {}).root_render_func
        return partial(self._render, parts)

    def _render(
        self, parts: Callable[[Context], Iterator[str]], data: dict[str, Any], budget: Budget
    ) -> str:
        # Template.render would take five times as long to come to the same.
        context = _Context(self, data, None, {})
        context.budget = budget
        text = []
        for part in parts(context):
            budget.spend(len(part))
            text.append(part)
        return "".join(text)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """A field of the data, else one of the few methods."""
        if isinstance(obj, dict) and attribute in obj:
            return obj[attribute]
        if isinstance(obj, Undefined):  # so that default() can stand in for what is farther inside
            return obj
        if attribute in _ATTRIBUTES.get(type(obj), ()):
            return getattr(obj, attribute)
        return self.undefined(obj=obj, name=attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """What stands at a key or an index."""
        if isinstance(obj, Undefined):
            return obj
        try:
            return obj[argument]
        except (TypeError, LookupError):  # without the argument, which may be data
            return self.undefined(f"{type(obj).__name__} has no element there", obj=obj)

    def call(self, context: Context, obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Only methods that ``getattr`` gives."""
        _budget(context).tick()
        if not isinstance(obj, BuiltinMethodType) or obj.__name__ not in METHODS:
            raise SecurityError("only methods of text and mappings can be called")
        return context.call(obj, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Arithmetic is for numbers; text can be added to text."""
        _budget(context).tick()
        if isinstance(left, Undefined) or isinstance(right, Undefined):
            return _OPERATIONS[operator](left, right)  # raises, with the name of what is missing
        if isinstance(left, str) and isinstance(right, str) and operator == "+":
            _budget(context).spend(len(left) + len(right))
        elif not isinstance(left, int | float) or not isinstance(right, int | float):
            raise TypeError(f"{operator} is for numbers")
        elif _bits(left) + _bits(right) > _LARGEST:
            raise OverflowError("the number is too large")
        return _OPERATIONS[operator](left, right)


def _budget(context: Context) -> Budget:
    assert isinstance(context, _Context)  # noqa: S101 -- there are no others here
    return context.budget


def _bits(number: float) -> int:
    return number.bit_length() if isinstance(number, int) else 0


@pass_context
def _each(context: Context, values: Iterable[Any]) -> Iterator[Any]:
    """The values of a loop, each for a tick."""
    budget = _budget(context)
    for value in values:
        budget.tick()
        yield value


@pass_context
def _join(
    context: Context, value: Iterable[Any], d: Any = "", attribute: str | int | None = None
) -> str:
    if attribute is not None:
        value = map(make_attrgetter(context.environment, attribute), value)
    texts = [text_of(each) for each in _each(context, value)]
    separator = text_of(d)
    _budget(context).spend(sum(map(len, texts)) + len(separator) * len(texts))
    return separator.join(texts)


@pass_context
def _replace(context: Context, s: Any, old: Any, new: Any, count: int = -1) -> str:
    text, sought, instead = text_of(s), text_of(old), text_of(new)
    _budget(context).tick()
    _budget(context).spend(len(text) + text.count(sought) * len(instead))
    return text.replace(sought, instead, count)


def _round(value: float, precision: int = 0, method: Any = "common") -> float:
    if not isinstance(value, int | float) or abs(precision) > _MOST_DIGITS:
        raise ValueError(f"round is for numbers, and {_MOST_DIGITS} digits at most")
    return do_round(value, precision, method)


@pass_context
def _sum(context: Context, values: Iterable[Any], attribute: str | int | None = None) -> Any:
    """Of numbers: adding up lists would take the square of their length."""
    return do_sum(context.environment, _each(context, values), attribute)


# Those of Jinja2 that could make something out of all proportion to the data.
_BOUNDED: dict[str, Callable[..., Any]] = {
    JOIN: _join,
    LOOP: _each,
    "replace": _replace,
    "round": _round,
    "string": text_of,
    "sum": _sum,
}
