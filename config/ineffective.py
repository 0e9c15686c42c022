"""Settings that can be used, but beside the others do nothing, or not what they are for.

They are no faults, as one file may be changed before the other. Whoever relies on such a setting
must hear of it, above all when it protects something.
"""

from collections.abc import Iterator

from config.conditions import may_meet
from config.header_fields import is_of_api_keys, is_of_proxies, never_goes_on
from config.models.routes import Delivery, Route
from config.models.services import CircuitBreakerOptions, Connections, Service
from config.schemas import names_in, subschemas
from config.snapshot import Snapshot

_IDEMPOTENT = frozenset(("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"))  # RFC 9110, 9.2.2


def ineffective(snapshot: Snapshot) -> list[str]:
    """What does nothing, each in words like ``routes.yaml: route "a": hedge: ...``."""
    found = [
        f'services.yaml: service "{service.name}": {doubt}'
        for service in snapshot.services.values()
        for doubt in _of_service(service)
    ]
    found += [
        f'routes.yaml: route "{route.label}": {doubt}'
        for route in snapshot.routes
        for doubt in _of_route(route, snapshot)
    ]
    found += _larger_than_messages(snapshot)
    return found + [
        f'transforms.yaml: transform "{name}": condition: no route has such requests'
        for name in _without_route(snapshot)
    ]


def _of_route(route: Route, snapshot: Snapshot) -> Iterator[str]:
    yield from _header_fields_that_do_not_come(route, snapshot)
    service = snapshot.services[route.service]
    if route.when_open != "fallback" and service.circuit_breaker is None:
        yield f"when_open: without effect, as service {service.name} has no circuit_breaker"
    retries = service.retry_count if route.retry_count is None else route.retry_count
    if route.retry_on and not retries:
        yield "retry_on: without effect, as retry_count is 0"
    if route.hedge is None:
        return
    if route.delivery is Delivery.AT_MOST_ONCE:
        yield "hedge: without effect, as delivery is at_most_once"
    elif route.delivery is Delivery.AUTO and not _IDEMPOTENT & {*(route.methods or _IDEMPOTENT)}:
        yield "hedge: only for requests with an Idempotency-Key, as its methods may not be repeated"
    timeout = min(route.timeout, service.timeout)
    if route.hedge.delay >= timeout:
        yield f"hedge.delay: without effect, as calls end after {timeout:g} s"


def _header_fields_that_do_not_come(route: Route, snapshot: Snapshot) -> Iterator[str]:
    """What a schema names, and requests never have where they are validated: behind forwarding."""
    schema = route.validation and route.validation.headers
    names = (name for _, part in subschemas(schema) for name in names_in(part))
    for name in dict.fromkeys(names):
        where = f"validate.headers: {name} is never there"
        if never_goes_on(name) or (is_of_api_keys(name) and snapshot.options.auth.api_keys):
            yield f"{where}, as the gateway takes it off"
        elif is_of_proxies(name) and not snapshot.options.trusted_proxies:
            yield f"{where}, as it goes on from trusted_proxies only"
        elif name.lower() == "via" and not _is_an_array(name, schema):
            yield (
                f"validate.headers: {name}: of another type than array, which refuses whoever "
                "sends it, as the gateway adds its own"
            )


def _is_an_array(name: str, schema: object) -> bool:
    declared = [part.get("properties", {}).get(name) for _, part in subschemas(schema)]
    return any("array" in each.get("type", ()) for each in declared if isinstance(each, dict))


def _of_service(service: Service) -> Iterator[str]:
    if service.strategy == "round_robin" and any(each.weight != 1 for each in service.instances):
        yield "instances: weight: without effect, as strategy is round_robin"
    yield from _of_connections(service.connections, service.timeout)
    check = service.health_check
    if check is not None and check.timeout > check.interval:
        yield (
            "health_check.timeout: above interval, so that one instance that hangs makes the "
            "rounds of all less than half as frequent"
        )
    if service.circuit_breaker is not None:
        yield from _of_breaker(service.circuit_breaker)


def _of_connections(connections: Connections, timeout: float) -> Iterator[str]:
    for key in ("connect_timeout", "read_timeout"):
        if key in connections.model_fields_set and (getattr(connections, key) or 0.0) >= timeout:
            yield f"connections.{key}: without effect on calls, as they end after {timeout:g} s"


def _of_breaker(breaker: CircuitBreakerOptions) -> Iterator[str]:
    said = breaker.model_fields_set
    if "slow_call_duration" in said and breaker.slow_call_rate is None:
        yield "circuit_breaker.slow_call_duration: without effect, as there is no slow_call_rate"
    if breaker.failure_rate is None and breaker.slow_call_rate is None:
        for key in ("window", "minimum_calls"):
            if key in said:
                yield (
                    f"circuit_breaker.{key}: without effect, as there is neither failure_rate nor "
                    "slow_call_rate"
                )
    if "fallback_status" in said and breaker.fallback_response is None:
        yield "circuit_breaker.fallback_status: without effect, as there is no fallback_response"


def _larger_than_messages(snapshot: Snapshot) -> Iterator[str]:
    """Bodies that may pass, but for the message that has to carry them."""
    limits = snapshot.options.limits
    sizes = [("gateway.yaml: limits.max_body", limits.max_body)]
    sizes += [
        (f'routes.yaml: route "{route.label}": max_body', route.max_body)
        for route in snapshot.routes
        if route.max_body is not None
    ]
    sizes += [
        (f'services.yaml: service "{name}": max_response', service.max_response)
        for name, service in snapshot.services.items()
    ]
    for key, size in sizes:
        if size >= limits.max_message:
            yield (
                f"{key}: {size} bytes do not fit into a message of {limits.max_message}, head and "
                "all (limits.max_message of gateway.yaml)"
            )


def _without_route(snapshot: Snapshot) -> Iterator[str]:
    for transform in snapshot.transforms:
        if not any(may_meet(transform.condition, route) for route in snapshot.routes):
            yield transform.name
