"""Plain data in and out; test_library.py in tests/integration has what lies between."""

from typing import Any

import pytest

from api_gateway.plain import read_request, write_response
from broker.messages import Principal
from ingress.problems import Refused
from ingress.request import Response


def test_what_is_left_out() -> None:
    """Only the path is needed; the rest is a GET by nobody from nowhere."""
    request = read_request({"path": "/a"}, {})

    assert (request.method, request.target, request.raw_headers) == ("GET", "/a", ())
    assert (request.peer, request.principal) == ("", None)


def test_header_fields_keep_order_and_duplicates() -> None:
    """As a mapping with lists, or as pairs; they are looked up in any case."""
    mapping = read_request({"path": "/", "headers": {"X-A": ["1", "2"], "x-b": "3"}}, {})
    pairs = [("X-A", "1"), ("X-A", "2"), ("x-b", "3")]

    assert mapping.raw_headers == ((b"X-A", b"1"), (b"X-A", b"2"), (b"x-b", b"3"))
    assert read_request({"path": "/", "headers": pairs}, {}).raw_headers == mapping.raw_headers
    assert mapping.headers.get("x-A") == "1"
    assert mapping.headers.get("X-B") == "3"


def test_a_content_type_of_the_application_stays() -> None:
    """Data is JSON, but it may be called by another name."""
    fields = {"content-type": "application/merge-patch+json"}

    request = read_request({"path": "/", "headers": fields, "body": {"a": 1}}, {})

    assert request.raw_headers == ((b"content-type", b"application/merge-patch+json"),)


async def test_a_body_over_the_limit_is_refused() -> None:
    """The limit counts bytes."""
    request = read_request({"path": "/", "body": "ü"}, {})

    assert await request.read_body(2) == "ü".encode()
    with pytest.raises(Refused):
        await request.read_body(1)


def test_the_caller_of_the_context() -> None:
    """Everything that the application says of it; nothing where there is an Authorization."""
    context = {"user_id": 7, "tier": "PRO", "roles": ["admin"], "scopes": ["users:read"]}

    vouched = read_request({"path": "/"}, context)
    with_token = read_request({"path": "/", "headers": {"authorization": "Bearer x"}}, context)

    assert vouched.principal == Principal("7", "PRO", ("admin",), ("users:read",))
    assert with_token.principal is None


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        (b"application/json", b'{"a": 1}', {"a": 1}),
        (b"application/problem+json; charset=utf-8", b"[1]", [1]),
        (b"application/json", b"", b""),
        (b"application/json", b"{", b"{"),
        (b"application/json", b"[" * 100_000, b"[" * 100_000),
        (b"text/plain", "ü".encode(), "ü"),
        (b"text/plain; charset=latin-1", b"\xfc", "ü"),
        (b"text/plain; charset=klingon", b"\xfc", b"\xfc"),
        (b"text/plain", b"\xfc", b"\xfc"),
        (b"image/png", b"\x89", b"\x89"),
        (b"nonsense", b"a", "a"),
    ],
)
def test_bodies_by_their_type(content_type: bytes, body: bytes, expected: Any) -> None:
    """JSON and text are decoded, if they are what they are said to be; else bytes are bytes."""
    response = write_response(Response(200, ((b"Content-Type", content_type),), body))

    assert response["body"] == expected


def test_a_body_without_a_type_is_bytes() -> None:
    """Nothing is guessed."""
    assert write_response(Response(200, (), b"[1]"))["body"] == b"[1]"


def test_a_compressed_body_is_left_alone() -> None:
    """What is encoded is bytes, whatever the type of what is inside."""
    headers = ((b"Content-Type", b"application/json"), (b"Content-Encoding", b"gzip"))

    assert write_response(Response(200, headers, b"\x1f\x8b"))["body"] == b"\x1f\x8b"


def test_repeated_fields() -> None:
    """Joined under the first spelling, but cookies are a list even if there is one."""
    headers = ((b"X-A", b"1"), (b"x-a", b"2"), (b"Set-Cookie", b"a=1, b"))

    written = write_response(Response(200, headers))["headers"]

    assert written == {"X-A": "1, 2", "Set-Cookie": ["a=1, b"]}
