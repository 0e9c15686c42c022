"""What routes say about the calls that are made for them."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from config.models.routes import Hedge, Route


class RouteRules(msgspec.Struct, frozen=True, gc=False):
    """Those of one route; ``timeout`` is seconds for all of a request."""

    when_open: Literal["hold", "fallback", "fail"] = "fallback"
    retry_on: frozenset[int] = frozenset()
    hedge: Hedge | None = None
    timeout: float = math.inf


# Of a route that is not known here: its ingress has another version of the configuration.
NO_RULES = RouteRules()


def rules_by_service(routes: Iterable[Route]) -> Mapping[str, Mapping[str, RouteRules]]:
    """The rules of each service's routes by their labels, as envelopes have them."""
    rules: defaultdict[str, dict[str, RouteRules]] = defaultdict(dict)
    for route in routes:
        rules[route.service][route.label] = RouteRules(
            route.when_open, frozenset(route.retry_on), route.hedge, route.timeout
        )
    return rules
