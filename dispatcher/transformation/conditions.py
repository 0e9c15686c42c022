"""Which requests and answers a transform is for."""

import re
from collections.abc import Callable

from config.conditions import may_meet
from config.models.routes import Route
from config.models.transforms import Condition
from config.paths import ANY_SEGMENT, REST, shape


class Matcher:
    """A condition, compiled. What it leaves out it does not ask for.

    ``GET`` stands for HEAD too, as in routes.
    """

    def __init__(self, condition: Condition) -> None:
        self._condition = condition
        self._path = _path_matcher(condition.path) if condition.path else None
        methods = condition.methods
        self._methods = None if methods is None else frozenset(methods)
        if methods is not None and "GET" in methods:
            self._methods = frozenset((*methods, "HEAD"))
        self._statuses = None if condition.status is None else frozenset(condition.status)

    def may_meet(self, route: Route) -> bool:
        """Whether a request of this route can match: spares the others the look at their path."""
        return may_meet(self._condition, route)

    def matches(self, method: str, path: str) -> bool:
        """Whether it is for this request; ``path`` is the normalised one of the client."""
        if self._methods is not None and method not in self._methods:
            return False
        return self._path is None or self._path(path) is not None

    def wants_fields_of(self, status: int) -> bool:
        """Whether the header fields of an answer of this status are changed."""
        return self._statuses is None or status in self._statuses

    def wants_body_of(self, status: int) -> bool:
        """Whether its body is: that of a failure has another shape, so it must be asked for."""
        return 200 <= status < 300 if self._statuses is None else status in self._statuses


def _path_matcher(pattern: str) -> Callable[[str], re.Match[str] | None]:
    segments = [_segment(segment) for segment in shape(pattern).split("/")]
    return re.compile("/".join(segments), re.DOTALL).fullmatch


def _segment(segment: str) -> str:
    if segment == REST:
        return ".*"
    return "[^/]+" if segment == ANY_SEGMENT else re.escape(segment)
