"""Settings that can be used, but beside the others do nothing, or never what they are for.

They are no faults, as one file may be changed before the other. Whoever relies on such a setting
must hear of it, above all when it protects something.
"""

from collections.abc import Iterator

from config.conditions import may_meet
from config.models import Delivery, Route
from config.snapshot import Snapshot

_IDEMPOTENT = frozenset(("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"))  # RFC 9110, 9.2.2


def ineffective(snapshot: Snapshot) -> list[str]:
    """What does nothing, each in words like ``routes.yaml: route "a": hedge: ...``."""
    found = [
        f'routes.yaml: route "{route.label}": {doubt}'
        for route in snapshot.routes
        for doubt in _of_route(route, snapshot)
    ]
    return found + [
        f'transforms.yaml: transform "{name}": condition: no route has such requests'
        for name in _without_route(snapshot)
    ]


def _of_route(route: Route, snapshot: Snapshot) -> Iterator[str]:
    service = snapshot.services[route.service]
    if route.when_open != "fallback" and service.circuit_breaker is None:
        yield f"when_open: without effect, as service {service.name} has no circuit_breaker"
    if route.hedge is None:
        return
    if route.delivery is Delivery.AT_MOST_ONCE:
        yield "hedge: without effect, as delivery is at_most_once"
    elif route.delivery is Delivery.AUTO and not _IDEMPOTENT & {*(route.methods or _IDEMPOTENT)}:
        yield "hedge: only for requests with an Idempotency-Key, as its methods may not be repeated"
    timeout = min(route.timeout, service.timeout)
    if route.hedge.delay >= timeout:
        yield f"hedge.delay: without effect, as calls end after {timeout:g} s"


def _without_route(snapshot: Snapshot) -> Iterator[str]:
    for transform in snapshot.transforms:
        if not any(may_meet(transform.condition, route) for route in snapshot.routes):
            yield transform.name
