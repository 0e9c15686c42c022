"""Whether a transform's condition and a route can meet in one request."""

from config.models.routes import Route
from config.models.transforms import Condition
from config.paths import ANY_SEGMENT, REST, shape


def may_meet(condition: Condition, route: Route) -> bool:
    """Whether a request of this route can match. ``GET`` stands for HEAD too, as in routes."""
    asked, served = condition.methods, route.methods
    if asked and served and _with_head(asked).isdisjoint(_with_head(served)):
        return False
    return condition.path is None or overlap(condition.path, route.path)


def _with_head(methods: tuple[str, ...]) -> set[str]:
    return {*methods, "HEAD"} if "GET" in methods else {*methods}


def overlap(one: str, other: str) -> bool:
    """Whether there are paths that both patterns match."""
    ones, others = shape(one).split("/"), shape(other).split("/")
    for a, b in zip(ones, others, strict=False):
        if REST in (a, b):
            return True
        if a != b and ANY_SEGMENT not in (a, b):
            return False
    return len(ones) == len(others)
