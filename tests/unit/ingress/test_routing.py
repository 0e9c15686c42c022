"""The most specific route that knows the method is found, as a naive reading would find it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.models.routes import Route
from config.models.services import Service
from config.snapshot import Snapshot
from ingress.problems import Refused
from ingress.routing import Router

SERVICE = Service.model_validate({"name": "s", "base_url": "http://upstream", "retry_count": 2})


def router(*routes: Route) -> Router:
    return Router(Snapshot(routes=routes, services={"s": SERVICE}))


def route(path: str, method: str | None = None, **more: object) -> Route:
    values = {"path": path, "service": "s", **more}
    return Route.model_validate(values if method is None else {**values, "method": method})


def label(found: Router, method: str, path: str) -> str:
    return found.match(method, path)[0].label


def test_most_specific_first() -> None:
    """A literal wins over a parameter, and that over the rest, in any order of listing."""
    found = router(
        route("/files/*"), route("/files/{id}"), route("/files/me"), route("/files/{id}/parts")
    )
    assert label(found, "GET", "/files/me") == "ANY /files/me"
    assert label(found, "GET", "/files/7") == "ANY /files/{id}"
    assert label(found, "GET", "/files/7/parts") == "ANY /files/{id}/parts"
    assert label(found, "GET", "/files/7/other") == "ANY /files/*"
    assert label(found, "GET", "/files/me/parts") == "ANY /files/{id}/parts"


def test_backs_out_of_dead_ends() -> None:
    """A literal that leads nowhere does not hide the parameter beside it."""
    found = router(route("/a/b/c"), route("/a/{x}/d"), route("/{y}/b/e"))
    assert label(found, "GET", "/a/b/d") == "ANY /a/{x}/d"
    assert found.match("GET", "/a/b/e")[1] == ("a",)


def test_trailing_slash_is_significant() -> None:
    """/users, /users/ and /users/{id} are three things, and the rest may be empty."""
    found = router(route("/users"), route("/users/{id}"), route("/files/*"))
    with pytest.raises(Refused):
        found.match("GET", "/users/")
    with pytest.raises(Refused):
        found.match("GET", "/files")
    assert found.match("GET", "/files/")[1] == ("",)


def test_other_method_goes_to_the_less_specific_route() -> None:
    """A path that only another method has does not hide a route that has the method."""
    found = router(route("/a/me", "POST"), route("/a/{id}", "GET"))
    assert label(found, "GET", "/a/me") == "GET /a/{id}"


def test_wrong_method_is_405_with_allow() -> None:
    """Allow lists the methods of all routes of the path, HEAD with GET."""
    found = router(route("/a/me", "POST"), route("/a/{id}", methods=["GET", "PUT"]))
    with pytest.raises(Refused) as refused:
        found.match("DELETE", "/a/me")
    assert refused.value.problem_type.status == 405
    assert refused.value.headers == ((b"Allow", b"GET, HEAD, POST, PUT"),)


def test_unknown_path_is_404() -> None:
    """A path that no route has is not found, even if another one begins like it."""
    with pytest.raises(Refused) as refused:
        router(route("/a/b")).match("GET", "/a")
    assert refused.value.problem_type.status == 404


def test_head_is_answered_by_get() -> None:
    """HEAD takes its own route, else that of GET, else that of every method."""
    found = router(route("/a", "GET"), route("/a"), route("/b", "HEAD"), route("/b", "GET"))
    assert label(found, "HEAD", "/a") == "GET /a"
    assert label(found, "HEAD", "/b") == "HEAD /b"
    assert label(found, "OPTIONS", "/a") == "ANY /a"


def test_first_listed_wins() -> None:
    """Of two routes that say the same, the first counts."""
    found = router(route("/a/{x}", "GET", name="first"), route("/a/{y}", "GET", name="second"))
    assert label(found, "GET", "/a/1") == "first"


@pytest.mark.parametrize(
    ("pattern", "upstream", "path", "target"),
    [
        ("/a/{x}", None, "/a/1%2F2", "/a/1%2F2"),
        ("/a/{x}/{y}", "/u/{y}/of/{x}", "/a/1/2", "/u/2/of/1"),
        ("/a/{x}/*", "/{x}/*", "/a/1%2F2/b/c;d/", "/1%2F2/b/c;d/"),
        ("/a/*", "/*", "/a/", "/"),
        ("/a/{x}", "/fixed", "/a/{x}", "/fixed"),
        ("/a/{x}", "/b/{x}", "/a/{x}", "/b/{x}"),
        ("/a%2fb", None, "/a%2Fb", "/a%2Fb"),
    ],
)
def test_upstream_path(pattern: str, upstream: str | None, path: str, target: str) -> None:
    """What was captured is put in as it stands, encoded or not."""
    found, captured = router(route(pattern, upstream_path=upstream)).match("GET", path)
    assert found.upstream_path(path, captured) == target


def test_what_the_route_leaves_open() -> None:
    """The service and the limits fill in, and a caller has to be known."""
    found, _ = router(route("/a")).match("GET", "/a")
    assert (found.retry_count, found.max_body, found.auth_required) == (2, 1024**2, True)
    found, _ = router(route("/a", retry_count=0, max_body=0, priority="PRO")).match("GET", "/a")
    assert (found.retry_count, found.max_body, found.tier) == (0, 0, "PRO")


@pytest.mark.parametrize(
    ("delivery", "method", "keyed", "idempotent"),
    [
        ("auto", "GET", False, True),
        ("auto", "DELETE", False, True),
        ("auto", "POST", False, False),
        ("auto", "PATCH", True, True),
        ("at_least_once", "POST", False, True),
        ("at_most_once", "GET", True, False),
    ],
)
def test_idempotent(delivery: str, method: str, keyed: bool, idempotent: bool) -> None:
    """The route's word counts, then the method, then the key."""
    found, _ = router(route("/a", delivery=delivery)).match(method, "/a")
    headers = {"Idempotency-Key": "k"} if keyed else {}
    assert found.is_idempotent(method, headers) is idempotent


SEGMENTS = st.sampled_from(["a", "b", "{p}"])
PATTERNS = st.tuples(
    st.lists(SEGMENTS, min_size=1, max_size=4), st.sampled_from(["", "/", "/*"])
).map(lambda parts: "/" + "/".join(_named(parts[0])) + parts[1])
METHODS = st.sampled_from(["GET", "POST", None])


def _named(segments: list[str]) -> list[str]:
    return [f"{{p{i}}}" if s == "{p}" else s for i, s in enumerate(segments)]


def _naive(routes: list[Route], method: str, path: str) -> Route | None:
    """Try every route; prefer, segment by segment, literal to parameter to rest."""
    best: tuple[list[int], int, int, Route] | None = None
    for position, each in enumerate(routes):
        if each.methods is not None and method not in each.methods:
            continue
        rank = _rank(each.path.split("/")[1:], path.split("/")[1:])
        if rank is not None:
            candidate = (rank, each.methods is None, position, each)
            best = candidate if best is None else min(best, candidate, key=lambda c: c[:3])
    return best[3] if best else None


def _rank(pattern: list[str], segments: list[str]) -> list[int] | None:
    if not pattern or not segments:
        return [] if pattern == segments else None
    head = pattern[0]
    if head == "*":
        return [2]
    if head.startswith("{"):
        kind = 1 if segments[0] else None
    else:
        kind = 0 if head == segments[0] else None
    rest = None if kind is None else _rank(pattern[1:], segments[1:])
    return None if kind is None or rest is None else [kind, *rest]


@given(
    st.lists(st.tuples(PATTERNS, METHODS), min_size=1, max_size=12),
    st.sampled_from(["GET", "POST"]),
    st.lists(st.sampled_from(["a", "b", "c", ""]), min_size=1, max_size=5),
)
def test_agrees_with_a_naive_reading(
    patterns: list[tuple[str, str | None]], method: str, segments: list[str]
) -> None:
    """For any set of routes the trie finds what trying them all finds."""
    routes = [route(path, method, name=str(n)) for n, (path, method) in enumerate(patterns)]
    path = "/" + "/".join(segments)
    expected = _naive(routes, method, path)
    try:
        found = router(*routes).match(method, path)[0].config
    except Refused:
        found = None
    assert found == expected
