"""The CORS protocol, rule by rule; each names its section of the Fetch standard."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from broker.messages import Headers
from config.models.origins import Cors
from ingress.policies.cors import CorsPolicy, Preflight, cors_policy, read_preflight
from ingress.problems import Refused

APP = "https://app.example"
PATTERN = "https://*.app.example"


def policy(*origins: str, **more: Any) -> CorsPolicy:
    rules = {"allow_origins": origins or (APP,), **more}
    return CorsPolicy(Cors.model_validate(rules))


def fields(headers: Headers) -> dict[str, str]:
    """By lowercase name, none twice."""
    found = {name.decode().lower(): value.decode() for name, value in headers}
    assert len(found) == len(headers)
    return found


def preflight(
    subject: CorsPolicy, origin: str = APP, method: str = "PUT", private: bool = False
) -> dict[str, str]:
    return fields(subject.preflight(Preflight(origin, method, private)))


def answer(subject: CorsPolicy, origin: str | None, *headers: tuple[bytes, bytes]) -> Headers:
    return subject.answered(origin, headers)


def allowed(subject: CorsPolicy, origin: str) -> str | None:
    return fields(answer(subject, origin)).get("access-control-allow-origin")


# --- which requests are preflights ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "headers", "expected"),
    [
        ("OPTIONS", {"origin": APP, "access-control-request-method": "PUT"}, True),
        ("OPTIONS", {"Origin": "null", "Access-Control-Request-Method": "GET"}, True),
        ("OPTIONS", {"Origin": APP}, False),
        ("OPTIONS", {"Access-Control-Request-Method": "PUT"}, False),
        ("GET", {"Origin": APP, "Access-Control-Request-Method": "PUT"}, False),
        ("OPTIONS", {"Origin": APP, "Access-Control-Request-Method": "PUT, GET"}, False),
        ("OPTIONS", {"Origin": APP, "Access-Control-Request-Method": ""}, False),
        ("OPTIONS", {"Origin": APP, "Access-Control-Request-Method": "X" * 33}, False),
    ],
)
def test_what_is_a_preflight(method: str, headers: dict[str, str], expected: bool) -> None:
    """Fetch, "HTTP requests": OPTIONS with Origin and one method in A-C-Request-Method."""
    lookup: Any = CIMultiDict(headers)
    assert (read_preflight(method, lookup) is not None) is expected


def test_what_a_preflight_asks() -> None:
    """Fetch, "CORS-preflight fetch": origin and method; private network by its own field."""
    asked: Any = CIMultiDict({"Origin": APP, "Access-Control-Request-Method": "PATCH"})
    assert read_preflight("OPTIONS", asked) == Preflight(APP, "PATCH", False)
    asked["Access-Control-Request-Private-Network"] = "true"
    assert read_preflight("OPTIONS", asked) == Preflight(APP, "PATCH", True)


# --- preflights ----------------------------------------------------------------------------------


def test_preflight_with_everything() -> None:
    """Fetch, "HTTP responses": each of the fields of a preflight's answer."""
    subject = policy(
        allow_methods=["GET", "PUT"],
        allow_headers=["Authorization", "X-Key"],
        expose_headers=["X-Total"],
        allow_credentials=True,
        max_age=60,
    )
    assert preflight(subject) == {
        "vary": "Origin, Access-Control-Request-Method, Access-Control-Request-Private-Network",
        "access-control-allow-origin": APP,
        "access-control-allow-credentials": "true",
        "access-control-allow-methods": "GET, PUT",
        "access-control-allow-headers": "Authorization, X-Key",
        "access-control-max-age": "60",
    }


def test_preflight_with_defaults() -> None:
    """Fetch, "CORS-preflight fetch": without a list, the method that has a route is allowed."""
    found = preflight(policy(), method="PATCH")
    assert found["access-control-allow-methods"] == "PATCH"
    assert found["access-control-max-age"] == "600"
    assert "access-control-allow-headers" not in found
    assert "access-control-allow-credentials" not in found


def test_preflight_for_another_method() -> None:
    """Fetch, "CORS-preflight fetch": the browser compares, so it is told what is allowed."""
    assert preflight(policy(allow_methods=["GET"]), method="PUT")[
        "access-control-allow-methods"
    ] == ("GET")


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "https://app.example.evil"])
def test_preflight_of_a_stranger(origin: str) -> None:
    """Fetch, "HTTP responses": 403, and none of the fields; but caches learn what it hung on."""
    with pytest.raises(Refused) as refused:
        preflight(policy(), origin)
    assert refused.value.problem_type.status == 403
    assert fields(refused.value.headers).keys() == {"vary"}


def test_wildcards_of_header_fields() -> None:
    """Fetch, "HTTP new-header syntax": `*` is any field but Authorization, which must be named."""
    subject = policy(allow_headers=["*", "Authorization"], expose_headers=["*"])
    assert preflight(subject)["access-control-allow-headers"] == "*, Authorization"
    assert fields(answer(subject, APP))["access-control-expose-headers"] == "*"


@pytest.mark.parametrize(("told", "asked"), [(True, True), (True, False), (False, True)])
def test_private_network(told: bool, asked: bool) -> None:
    """Private Network Access, "CORS preflight": allowed where it is asked for and configured."""
    found = preflight(policy(allow_private_network=told), private=asked)
    expected = "true" if told and asked else None
    assert found.get("access-control-allow-private-network") == expected


# --- which origins -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "origin",
    [
        *("https://app.example:8443", "http://app.example", "https://App.Example", "https://app"),
        *("https://app.example.", "https://app.example/", " https://app.example", "null", ""),
        *("https://evil.example", "https://evilapp.example", "https://app.example.evil.example"),
        *("https://app.example, https://app.example", "https://a.app.example", "*", "\udcff"),
    ],
)
def test_exact_origins(origin: str) -> None:
    """Fetch, "CORS check": byte for byte, as the browser serialised it."""
    assert allowed(policy(), origin) is None
    assert allowed(policy("https://other.example", APP), APP) == APP


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("https://a.app.example", True),
        ("https://a-1_b.app.example", True),
        ("https://a.b.app.example", False),
        ("https://app.example", False),
        ("https://.app.example", False),
        ("http://a.app.example", False),
        ("https://a.app.example:8443", False),
        ("https://a.app.example.evil.example", False),
        ("https://evilapp.example", False),
        ("https://evil.example/.app.example", False),
        ("https://evil.example#.app.example", False),
        ("https://u@.app.example", False),
        ("https://a\n.app.example", False),
        ("https://*.app.example", False),
        ("https://" + "a" * 64 + ".app.example", False),
    ],
)
def test_pattern_origins(origin: str, expected: bool) -> None:
    """Fetch, "CORS check": `*` is exactly one label, and the very origin is sent back."""
    assert allowed(policy(PATTERN), origin) == (origin if expected else None)


def test_pattern_with_port() -> None:
    """A pattern's port is a part of it."""
    subject = policy("http://*.test:3000")
    assert allowed(subject, "http://a.test:3000") == "http://a.test:3000"
    assert allowed(subject, "http://a.test") is None


def test_null_is_a_name() -> None:
    """Fetch, "CORS check": the origin null is allowed where it is named, not otherwise."""
    assert allowed(policy("null"), "null") == "null"
    assert allowed(policy("null"), APP) is None


# --- answers -------------------------------------------------------------------------------------


def test_answer_with_everything() -> None:
    """Fetch, "HTTP responses": origin, credentials, exposed fields; no fields of preflights."""
    subject = policy(
        allow_methods=["GET"],
        allow_headers=["X-Key"],
        expose_headers=["X-Total", "Link"],
        allow_credentials=True,
        allow_private_network=True,
    )
    assert fields(answer(subject, APP)) == {
        "access-control-allow-origin": APP,
        "access-control-allow-credentials": "true",
        "access-control-expose-headers": "X-Total, Link",
        "vary": "Origin",
    }


@pytest.mark.parametrize("origin", [None, "https://evil.example"])
def test_answer_to_a_stranger(origin: str | None) -> None:
    """Fetch, "CORS check" fails without the fields; Vary stands there all the same."""
    subject = policy(allow_credentials=True, expose_headers=["X-Total"])
    assert fields(answer(subject, origin)) == {"vary": "Origin"}


@pytest.mark.parametrize("origin", [None, "https://any.example", "null"])
def test_any_origin(origin: str | None) -> None:
    """Fetch, "CORS protocol and HTTP caches": `*` is the same for all, and needs no Vary."""
    assert fields(answer(policy("*", APP), origin)) == {"access-control-allow-origin": "*"}


def test_the_upstreams_own_rules_are_replaced() -> None:
    """Two values of A-C-Allow-Origin fail the "CORS check"; what else there is stays in order."""
    own = (
        (b"X-A", b"1"),
        (b"Access-Control-Allow-Origin", b"*"),
        (b"access-control-allow-credentials", b"true"),
        (b"ACCESS-CONTROL-EXPOSE-HEADERS", b"*"),
        (b"Access-Control-Max-Age", b"1"),
        (b"X-A", b"2"),
    )
    found = answer(policy(), APP, *own)
    assert found[:2] == ((b"X-A", b"1"), (b"X-A", b"2"))
    assert fields(found[2:]) == {"access-control-allow-origin": APP, "vary": "Origin"}
    assert answer(policy(), None, *own)[2:] == ((b"Vary", b"Origin"),)


@pytest.mark.parametrize(
    ("vary", "added"),
    [
        ([b"Accept"], True),
        ([b"Accept-Encoding", b"X-Origin"], True),
        ([b"Accept, origin"], False),
        ([b"Accept", b"ORIGIN"], False),
        ([b"*"], False),
    ],
)
def test_vary_of_the_upstream(vary: list[bytes], added: bool) -> None:
    """Fetch, "CORS protocol and HTTP caches": what the upstream varies by is kept."""
    own = tuple((b"Vary", value) for value in vary)
    expected = (*own, (b"Vary", b"Origin")) if added else own
    assert answer(policy(), None, *own) == expected


def test_no_rules_no_policy() -> None:
    """A route without rules has nothing to be asked."""
    assert cors_policy(None) is None


@given(st.text(max_size=40), st.sampled_from(["https://", "http://", ""]))
def test_only_what_was_allowed_is_sent_back(host: str, scheme: str) -> None:
    """Fetch, "CORS check": no other origin than those of the rules is ever allowed."""
    origin = scheme + host
    expected = origin if origin == APP else None
    assert allowed(policy(APP), origin) == expected
    sent = allowed(policy(PATTERN), origin + ".app.example")
    assert sent is None or (scheme == "https://" and host.isascii() and "." not in host)
