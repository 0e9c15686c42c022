"""Which transforms a request has to look at, and how often they are compiled."""

from typing import Any

from config.loader import replace
from config.models.routes import Route
from config.models.services import Service
from config.models.transforms import Transform
from config.snapshot import Snapshot
from dispatcher.transformation.plans import Compiler, Plans
from tests.unit.dispatcher.doubles import envelope

NAMES = ("orders", "user", "large")


def transform(name: str, **condition: Any) -> Transform:
    part = {"jsonpath": {"a": "$.a"}}
    return Transform.model_validate(
        {"name": name, "condition": condition, "response_transform": part}
    )


def snapshot(*transforms: Transform) -> Snapshot:
    routes = (
        Route.model_validate({"path": "/users/{id}", "service": "users", "name": "user"}),
        Route.model_validate(
            {"path": "/orders", "service": "users", "name": "orders", "max_body": 7}
        ),
        Route.model_validate(
            {"path": "/large", "service": "users", "name": "large", "max_body": "2MiB"}
        ),
    )
    services = {"users": Service.model_validate({"name": "users", "base_url": "http://u"})}
    return Snapshot(routes=routes, services=services, transforms=transforms)


def matching(of: Snapshot, route: str, path: str, method: str = "GET") -> list[str]:
    plan = Plans(of, Compiler().compile(of))[route]
    found = plan.matching(envelope(route=route, path=path, method=method))
    return [each.config.name for each in found]


def test_they_match_in_the_order_of_the_file() -> None:
    """All that meet path and method, none that does not."""
    of = snapshot(
        transform("b", path="/users/*"),
        transform("other", path="/orders"),
        transform("post", method="POST"),
        transform("one", path="/users/1"),
        transform("a"),
    )
    assert matching(of, "user", "/users/1") == ["b", "one", "a"]
    assert matching(of, "user", "/users/2", "POST") == ["b", "post", "a"]
    assert matching(of, "orders", "/orders") == ["other", "a"]


def test_a_route_of_another_configuration_looks_at_all() -> None:
    """An ingress may be ahead of this dispatcher; its labels are not kept."""
    of = snapshot(transform("a", path="/users/*"))
    plans = Plans(of, Compiler().compile(of))
    assert plans["unknown"].matching(envelope(path="/users/1"))
    assert "unknown" not in plans


def test_the_limits_are_those_for_bodies() -> None:
    """Of the route, or else of the gateway; a route's smaller one is for requests only."""
    plans = Plans(snapshot(), ())
    limits = [(plan.max_request, plan.max_response) for plan in map(plans.__getitem__, NAMES)]
    assert limits == [(7, 1024**2), (1024**2, 1024**2), (2 * 1024**2, 2 * 1024**2)]


def test_what_stays_is_compiled_once() -> None:
    """A change of other parts compiles nothing; a changed transform is compiled anew."""
    first = snapshot(transform("a"), transform("b"))
    compiler = Compiler()
    compiled = compiler.compile(first)
    same = compiler.compile(replace(first, "routes", list(first.routes)))
    changed = replace(
        first,
        "transforms",
        [{"name": "b", "response_transform": {"template": {"a": "b"}}}, first.transforms[0]],
    )
    assert [after is before for after, before in zip(same, compiled, strict=True)] == [True, True]
    assert compiler.compile(changed)[1] is compiled[0]
    assert [each.config.name for each in compiler.compile(changed)] == ["b", "a"]
