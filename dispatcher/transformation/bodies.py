"""One body through several rules: read once, changed, written once, or left alone."""

from collections.abc import Sequence

from jinja2.exceptions import SecurityError, UndefinedError

from broker.problems import ProblemType
from dispatcher.transformation.budget import Budget, TooMuchWork
from dispatcher.transformation.coding import BadCoding, unpacked
from dispatcher.transformation.documents import NotJson, decode, encode
from dispatcher.transformation.rules import Rules

# Their words have names and types in them, and no values.
_SAID_AS_IT_IS = (
    *(UndefinedError, SecurityError, TooMuchWork, BadCoding),
    *(TypeError, OverflowError, RecursionError),
)


class Untouched(Exception):
    """A body has nothing that rules could change: it is no JSON, or no object and no list."""


class Unreadable(Untouched):
    """It is no JSON."""


class TransformFailed(Exception):
    """A transform could not be applied; ``name`` is whose. The reason is for logs only."""

    problem_type = ProblemType.TRANSFORM_FAILED

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(reason)
        self.name = name


class TransformExpired(TransformFailed):
    """The deadline of the request came first."""

    problem_type = ProblemType.DEADLINE_EXCEEDED

    def __init__(self, name: str) -> None:
        super().__init__(name, "the deadline of the request has passed")


def changed(
    body: bytes, coding: bytes, rules: Sequence[Rules], limit: int, budget: Budget
) -> bytes:
    """The body as all rules, one after the other, want it; unpacked, if it was in a coding.

    ``limit`` is bytes, before and after. Raises Untouched and TransformFailed. It may run on any
    thread.
    """
    rule = rules[0]
    try:
        value = decode(unpacked(body, coding, limit))
        if not isinstance(value, dict | list):
            raise Untouched
        for rule in rules:
            value = rule.apply(value, budget)
        new = encode(value)
    except NotJson as error:
        raise Unreadable from error
    except Untouched:
        raise
    except Exception as error:  # a template may raise anything
        raise TransformFailed(rule.name, _reason(error)) from error
    if len(new) > limit:
        raise TransformFailed(rule.name, "the body becomes too large")
    return new


def _reason(error: Exception) -> str:
    """Which field, and what may be logged: other errors may have the data in their words."""
    kind = type(error).__name__
    words = f"{kind}: {error}" if isinstance(error, _SAID_AS_IT_IS) else kind
    return ": ".join((*getattr(error, "__notes__", ()), words))
