"""Which exchanges a transform is for."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.models.routes import Route
from config.models.transforms import Condition
from dispatcher.transformation.conditions import Matcher


def matcher(**condition: Any) -> Matcher:
    return Matcher(Condition.model_validate(condition))


def route(path: str, *methods: str) -> Route:
    return Route.model_validate({"path": path, "service": "s", "methods": list(methods) or None})


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("/users", "/users", True),
        ("/users", "/users/", False),
        ("/users/*", "/users/1", True),
        ("/users/*", "/users/1/orders", True),
        ("/users/*", "/users/", True),
        ("/users/*", "/users", False),
        ("/users/{id}", "/users/1", True),
        ("/users/{id}", "/users/1/orders", False),
        ("/users/{id}", "/users/", False),
        ("/a.b", "/axb", False),
        ("/caf%c3%a9", "/caf%C3%A9", True),
    ],
)
def test_paths_match_as_those_of_routes_do(pattern: str, path: str, matches: bool) -> None:
    """``{id}`` is one segment, ``*`` the rest."""
    assert matcher(path=pattern).matches("GET", path) is matches


def test_methods() -> None:
    """GET stands for HEAD; absent, all are meant."""
    assert matcher(method="GET").matches("HEAD", "/")
    assert not matcher(method="GET").matches("POST", "/")
    assert matcher(methods=["PUT", "POST"]).matches("POST", "/")
    assert not matcher(method="HEAD").matches("GET", "/")
    assert matcher().matches("PURGE", "/")


def test_statuses() -> None:
    """Without any, the fields of all answers are meant, but the bodies of successful ones only."""
    everything, named = matcher(), matcher(status=[404, 200])
    assert all(map(everything.wants_fields_of, (200, 304, 404, 503)))
    assert [s for s in (199, 200, 206, 299, 300, 404) if everything.wants_body_of(s)] == [
        200,
        206,
        299,
    ]
    assert [s for s in (200, 201, 404) if named.wants_body_of(s)] == [200, 404]
    assert [s for s in (200, 201, 404) if named.wants_fields_of(s)] == [200, 404]


@pytest.mark.parametrize(
    ("condition", "of_route", "meets"),
    [
        ({}, ("/a",), True),
        ({"path": "/a"}, ("/a",), True),
        ({"path": "/a"}, ("/b",), False),
        ({"path": "/a/1"}, ("/a/{id}",), True),
        ({"path": "/a/*"}, ("/a/{id}/b",), True),
        ({"path": "/a/b/c"}, ("/a/*",), True),
        ({"path": "/a/b"}, ("/a/{id}/b",), False),
        ({"method": "GET"}, ("/a", "POST"), False),
        ({"method": "HEAD"}, ("/a", "GET"), True),
        ({"method": "GET"}, ("/a",), True),
    ],
)
def test_routes_that_a_transform_can_not_meet(
    condition: dict[str, Any], of_route: tuple[str, ...], meets: bool
) -> None:
    """They are told by path and method, so that their requests need not be looked at."""
    assert matcher(**condition).may_meet(route(*of_route)) is meets


segments = st.sampled_from(["a", "b", "{x}", "{y}"])
patterns = st.builds(
    lambda parts, rest: "/" + "/".join([f"{part}" for part in parts] + ["*"] * rest),
    st.lists(segments, max_size=3, unique=True),
    st.booleans(),
)
asked = st.lists(st.sampled_from(["a", "b", "c"]), max_size=4).map(
    lambda parts: "/" + "/".join(parts)
)


@given(patterns, patterns, asked)
def test_no_request_is_overlooked(one: str, other: str, path: str) -> None:
    """A path that both patterns match is one where they meet."""
    both = matcher(path=one).matches("GET", path) and matcher(path=other).matches("GET", path)
    assert matcher(path=one).may_meet(route(other)) or not both
