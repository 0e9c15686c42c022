"""Forms and credentials, as RFC 6749 has them on the wire."""

import json
from base64 import b64encode

import pytest

from broker.problems import ProblemType
from ingress.identity.clients import Credentials
from ingress.identity.sessions import Tokens
from ingress.oauth import (
    OAuthError,
    invalid_client,
    read_credentials,
    read_form,
    read_scope,
    tokens_response,
)
from ingress.problems import Refused
from tests.unit.ingress.requests import make_request

FORM = b"application/x-www-form-urlencoded"


async def form(body: bytes, media_type: bytes = FORM) -> dict[str, str]:
    request = make_request("POST", "/", ((b"Content-Type", media_type),), body=body)
    return dict(await read_form(request))


def basic(pair: str) -> dict[str, str]:
    return {"Authorization": "Basic " + b64encode(pair.encode()).decode()}


@pytest.mark.parametrize(
    ("body", "read"),
    [
        (b"", {}),
        (b"a=1&b=2", {"a": "1", "b": "2"}),
        (b"a=x+y%26z%C3%A9", {"a": "x y&zé"}),
        (b"a=&b=1", {"b": "1"}),
        (b"a", {}),
        (b"a=1;b=2", {"a": "1;b=2"}),
    ],
)
async def test_forms(body: bytes, read: dict[str, str]) -> None:
    """Names and values decoded; those without a value count as absent."""
    assert await form(body) == read


async def test_the_media_type_may_have_parameters() -> None:
    """And is written in any case."""
    media_type = b"Application/X-WWW-Form-Urlencoded ; charset=UTF-8"
    assert await form(b"a=1", media_type) == {"a": "1"}


@pytest.mark.parametrize("media_type", [b"application/json", b"multipart/form-data", b""])
async def test_other_media_types(media_type: bytes) -> None:
    """415, before the body is read."""
    with pytest.raises(Refused) as refused:
        await form(b"a=1", media_type)
    assert refused.value.problem_type is ProblemType.UNSUPPORTED_MEDIA_TYPE


@pytest.mark.parametrize(
    "body", [b"a=1&a=2", b"a=1&a=1", b"a=%ff", b"\xff=1", b"&".join([b"a=1"] * 33)]
)
async def test_bad_forms(body: bytes) -> None:
    """Twice the same parameter, what is no UTF-8, too many: invalid_request."""
    with pytest.raises(OAuthError) as error:
        await form(body)
    assert (error.value.code, error.value.status) == ("invalid_request", 400)


@pytest.mark.parametrize(
    ("headers", "given", "read"),
    [
        (basic("a:b"), {}, ("a", "b")),
        (basic("a:b:c"), {}, ("a", "b:c")),
        (basic("a%3Ab:x+%2B%C3%A9"), {}, ("a:b", "x +é")),
        (basic("a:"), {}, ("a", "")),
        ({"Authorization": "bASIC  YTpi"}, {}, ("a", "b")),
        (basic("a:b"), {"client_id": "a"}, ("a", "b")),
        ({}, {"client_id": "a", "client_secret": "b"}, ("a", "b")),
    ],
)
def test_credentials(headers: dict[str, str], given: dict[str, str], read: tuple[str, str]) -> None:
    """In the field or in the form; form-encoded within Basic (section 2.3.1)."""
    assert read_credentials(headers, given) == Credentials(*read)


@pytest.mark.parametrize(
    ("headers", "given"),
    [
        ({}, {}),
        ({}, {"client_id": "a"}),
        ({}, {"client_secret": "a"}),
        ({"Authorization": "Basic"}, {}),
        ({"Authorization": "Basic YQ=="}, {}),
        ({"Authorization": "Basic YTpi*"}, {}),
        ({"Authorization": "Basic YTpi=x"}, {}),
        ({"Authorization": "Basic é"}, {}),
        ({"Authorization": "Bearer YTpi"}, {}),
        (basic("a:%ff"), {}),
    ],
)
def test_no_credentials(headers: dict[str, str], given: dict[str, str]) -> None:
    """What is not there or can't be read is nobody's."""
    assert read_credentials(headers, given) is None


@pytest.mark.parametrize(
    "given", [{"client_id": "a", "client_secret": "b"}, {"client_secret": "b"}, {"client_id": "c"}]
)
def test_two_ways_at_once(given: dict[str, str]) -> None:
    """A client authenticates in one way, under one id."""
    with pytest.raises(OAuthError) as error:
        read_credentials(basic("a:b"), given)
    assert error.value.code == "invalid_request"


def test_scopes() -> None:
    """A list in which order and repetition mean nothing; absent is not empty."""
    assert read_scope({"scope": "b a b"}) == frozenset({"a", "b"})
    assert read_scope({}) is None


def test_tokens() -> None:
    """The answer of section 5.1, which nobody may keep."""
    response = tokens_response(Tokens("access", 900, "refresh", ("a", "b")))
    assert json.loads(response.body) == {
        "access_token": "access",
        "token_type": "Bearer",
        "expires_in": 900,
        "refresh_token": "refresh",
        "scope": "a b",
    }
    assert dict(response.headers) == {
        b"Content-Type": b"application/json",
        b"Cache-Control": b"no-store",
        b"Pragma": b"no-cache",
    }
    without = tokens_response(Tokens("access", 900, "refresh", ()))
    assert "scope" not in json.loads(without.body)


def test_errors() -> None:
    """The answer of section 5.2, which nobody may keep."""
    response = invalid_client().response()
    assert response.status == 401
    assert json.loads(response.body)["error"] == "invalid_client"
    fields = dict(response.headers)
    assert fields[b"WWW-Authenticate"].startswith(b"Basic realm=")
    assert fields[b"Cache-Control"] == b"no-store"
