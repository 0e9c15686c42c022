"""Settings that do nothing beside the others are told."""

from typing import Any

import pytest

from config.ineffective import ineffective
from config.models import Route, Service, Transform
from config.snapshot import Snapshot

BREAKER: dict[str, Any] = {"circuit_breaker": {}}
HEDGE = {"hedge": {"delay": 0.1}}


def told(
    route: dict[str, Any],
    service: dict[str, Any] | None = None,
    condition: dict[str, Any] | None = None,
) -> list[str]:
    of = {"name": "s", "base_url": "http://s", **(service or {})}
    transform = {"name": "mask", "condition": condition or {}}
    transform["response_transform"] = {"jsonpath": {"a": "$.a"}}
    return ineffective(
        Snapshot(
            routes=(Route.model_validate({"path": "/a", "service": "s", "name": "r", **route}),),
            services={"s": Service.model_validate(of)},
            transforms=(Transform.model_validate(transform),),
        )
    )


@pytest.mark.parametrize(
    ("route", "service", "words"),
    [
        ({"when_open": "hold"}, {}, "when_open: without effect, as service s has no circuit_br"),
        ({"when_open": "fail"}, {}, "when_open: without effect"),
        ({**HEDGE, "method": "POST"}, {}, "hedge: only for requests with an Idempotency-Key"),
        ({**HEDGE, "delivery": "at_most_once"}, {}, "hedge: without effect, as delivery is"),
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
    ("route", "service"),
    [
        ({}, {}),
        ({"when_open": "hold"}, BREAKER),
        ({**HEDGE, "methods": ["GET", "POST"]}, {}),
        (HEDGE, {}),
        ({**HEDGE, "method": "POST", "delivery": "at_least_once"}, {}),
    ],
)
def test_what_does_something(route: dict[str, Any], service: dict[str, Any]) -> None:
    """Is not told."""
    assert told(route, service) == []


def test_a_transform_that_no_request_meets() -> None:
    """A slip in its path must not pass unseen where it hides something."""
    assert told({}, condition={"path": "/aa"}) == [
        'transforms.yaml: transform "mask": condition: no route has such requests'
    ]
    assert told({"method": "GET"}, condition={"path": "/a", "method": "POST"}) != []
    assert told({"path": "/a/{id}"}, condition={"path": "/a/*"}) == []
