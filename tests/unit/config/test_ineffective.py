"""Settings that do nothing beside the others are told."""

from typing import Any

import pytest

from config.ineffective import ineffective
from config.models.gateway import GatewayOptions
from config.models.routes import Route
from config.models.services import Service
from config.models.transforms import Transform
from config.snapshot import Snapshot

BREAKER: dict[str, Any] = {"circuit_breaker": {}}
HEDGE = {"hedge": {"delay": 0.1}}
KEY = {"id": "k", "key_hash": "0" * 64}


def told(
    route: dict[str, Any],
    service: dict[str, Any] | None = None,
    condition: dict[str, Any] | None = None,
    gateway: dict[str, Any] | None = None,
) -> list[str]:
    of = {"name": "s", "base_url": "http://s", **(service or {})}
    transform = {"name": "mask", "condition": condition or {}}
    transform["response_transform"] = {"jsonpath": {"a": "$.a"}}
    return ineffective(
        Snapshot(
            routes=(Route.model_validate({"path": "/a", "service": "s", "name": "r", **route}),),
            services={"s": Service.model_validate(of)},
            transforms=(Transform.model_validate(transform),),
            options=GatewayOptions.model_validate(gateway or {}),
        )
    )


@pytest.mark.parametrize(
    ("route", "service", "words"),
    [
        ({"when_open": "hold"}, {}, "when_open: without effect, as service s has no circuit_br"),
        ({"when_open": "fail"}, {}, "when_open: without effect"),
        ({**HEDGE, "method": "POST"}, {}, "hedge: only for requests with an Idempotency-Key"),
        ({**HEDGE, "delivery": "at_most_once"}, {}, "hedge: without effect, as delivery is"),
        ({"retry_on": [429]}, {}, "retry_on: without effect, as retry_count is 0"),
        ({"retry_on": [429], "retry_count": 0}, {"retry_count": 2}, "retry_on: without effect"),
        ({"hedge": {"delay": 5}, "timeout": 5}, {}, "hedge.delay: without effect, as calls end"),
        ({"hedge": {"delay": 5}}, {"timeout": 2}, "as calls end after 2 s"),
    ],
)
def test_what_does_nothing(route: dict[str, Any], service: dict[str, Any], words: str) -> None:
    """With its file, its entry, and why."""
    (doubt,) = told(route, service)
    assert doubt.startswith('routes.yaml: route "r": ')
    assert words in doubt


@pytest.mark.parametrize(
    ("service", "words"),
    [
        ({"base_url": None, "instances": [{"url": "http://s", "weight": 2}]}, "weight: without ef"),
        (
            {"connections": {"connect_timeout": 31}},
            "connections.connect_timeout: without effect on",
        ),
        ({"timeout": 2, "connections": {"read_timeout": 2}}, "on calls, as they end after 2 s"),
        ({"health_check": {"interval": 1}}, "health_check.timeout: above interval, so"),
        ({"circuit_breaker": {"minimum_calls": 9}}, "circuit_breaker.minimum_calls: without effe"),
        ({"circuit_breaker": {"window": 9}}, "circuit_breaker.window: without effect, as there is"),
        (
            {"circuit_breaker": {"failure_rate": 0.5, "slow_call_duration": 2}},
            "circuit_breaker.slow_call_duration: without effect, as there is no slow_call_rate",
        ),
        ({"circuit_breaker": {"fallback_status": 204}}, "circuit_breaker.fallback_status: without"),
    ],
)
def test_what_does_nothing_in_a_service(service: dict[str, Any], words: str) -> None:
    """Each such key alone."""
    (doubt,) = told({}, service)
    assert doubt.startswith('services.yaml: service "s": ')
    assert words in doubt


@pytest.mark.parametrize(
    "service",
    [
        {"timeout": 1},  # defaults promise nothing
        {
            "base_url": None,
            "strategy": "adaptive",
            "instances": [{"url": "http://s", "weight": 2}],
            "connections": {"connect_timeout": 5, "read_timeout": None},
            "health_check": {"interval": 5, "timeout": 5},
            "circuit_breaker": {
                "slow_call_rate": 0.5,
                "slow_call_duration": 2,
                "minimum_calls": 9,
                "window": 9,
                "fallback_response": {},
                "fallback_status": 200,
            },
        },
        {"circuit_breaker": {"failure_rate": 0.5, "minimum_calls": 9, "window": 9}},
    ],
)
def test_what_does_something_in_a_service(service: dict[str, Any]) -> None:
    """Is not told, nor are defaults."""
    assert told({}, service) == []


@pytest.mark.parametrize(
    ("route", "service"),
    [
        ({}, {}),
        ({"when_open": "hold"}, BREAKER),
        ({"retry_on": [429]}, {"retry_count": 1}),
        ({"retry_on": [429], "retry_count": 1}, {}),
        ({**HEDGE, "methods": ["GET", "POST"]}, {}),
        (HEDGE, {}),
        ({**HEDGE, "method": "POST", "delivery": "at_least_once"}, {}),
    ],
)
def test_what_does_something(route: dict[str, Any], service: dict[str, Any]) -> None:
    """Is not told."""
    assert told(route, service) == []


@pytest.mark.parametrize(
    ("name", "gateway", "words"),
    [
        ("Content_Length", {}, "Content_Length is never there, as the gateway takes it off"),
        ("X-API-Key", {"auth": {"api_keys": [KEY]}}, "X-API-Key is never there, as the gateway"),
        ("X-API-Key", {}, ""),
        ("X-Real-IP", {}, "X-Real-IP is never there, as it goes on from trusted_proxies only"),
        ("X-Forwarded-By", {}, "X-Forwarded-By is never there, as it goes on from trusted_"),
        ("X-Real-IP", {"trusted_proxies": 1}, ""),
        ("X-Forwarded-For", {}, ""),
        ("Via", {}, "Via: of another type than array, which refuses whoever sends it"),
        ("X-Tenant", {}, ""),
    ],
)
def test_header_fields_that_do_not_come(name: str, gateway: dict[str, Any], words: str) -> None:
    """Whoever names one in a schema hears that no request has it there."""
    schema = {"properties": {name: {"type": "string"}}}
    found = told({"validate": {"headers": schema}}, gateway=gateway)
    assert len(found) == bool(words)
    assert f'route "r": validate.headers: {words}' in "".join(found) or not words


def test_via_as_the_list_that_it_is() -> None:
    """Is not told of."""
    schema = {"properties": {"Via": {"type": "array"}}}
    assert told({"validate": {"headers": schema}}) == []


def test_bodies_larger_than_messages() -> None:
    """Each key that lets more pass than the broker is said to take."""
    route = Route.model_validate({"path": "/a", "service": "s", "name": "r", "max_body": "64MiB"})
    service = Service.model_validate({"name": "s", "base_url": "http://s", "max_response": "16MiB"})

    def of(**limits: str) -> list[str]:
        options = GatewayOptions.model_validate({"limits": limits})
        return ineffective(Snapshot(routes=(route,), services={"s": service}, options=options))

    assert of(max_message="65MiB") == []
    assert of(max_body="17MiB") == [
        f"{key} bytes do not fit into a message of 16777216, head and all (limits.max_message of "
        "gateway.yaml)"
        for key in (
            "gateway.yaml: limits.max_body: 17825792",
            'routes.yaml: route "r": max_body: 67108864',
            'services.yaml: service "s": max_response: 16777216',
        )
    ]


def test_a_transform_that_no_request_meets() -> None:
    """A slip in its path must not pass unseen where it hides something."""
    assert told({}, condition={"path": "/aa"}) == [
        'transforms.yaml: transform "mask": condition: no route has such requests'
    ]
    assert told({"method": "GET"}, condition={"path": "/a", "method": "POST"}) != []
    assert told({"path": "/a/{id}"}, condition={"path": "/a/*"}) == []
