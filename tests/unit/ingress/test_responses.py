"""Replies as responses."""

import json

import pytest

from broker.messages import Problem, Reply
from broker.problems import ProblemType, ProxyError
from ingress.responses import reply_response


def test_an_upstreams_answer() -> None:
    """Status, reason, body and fields pass; ours come behind them."""
    fields = ((b"set-cookie", b"a"), (b"X", b"\xff"), (b"Set-Cookie", b"b"), (b"Via", b"1.1 x"))
    reply = Reply(
        id="c1", status=201, reason=b"Made", headers=fields, body=b"\x00body", instance="http://a"
    )
    response = reply_response(reply, request_id="r1", service="users")
    assert (response.status, response.reason, response.body) == (201, b"Made", b"\x00body")
    assert response.headers == (
        *fields,
        (b"X-Request-ID", b"r1"),
        (b"Via", b"1.1 api-gateway"),
        (b"Proxy-Status", b"api-gateway;received-status=201"),
    )
    assert not response.close


def test_a_fallback_is_told_from_an_upstreams_answer() -> None:
    """What no instance gave says in Proxy-Status why that is so (RFC 9209 section 2.3.2)."""
    response = reply_response(Reply(id="c1", status=200, body=b"{}"), request_id="r1")
    assert (response.status, response.body) == (200, b"{}")
    assert (b"Proxy-Status", b"api-gateway;error=destination_unavailable") in response.headers


def test_the_request_id_is_ours() -> None:
    """What the upstream says under that name, in any case, is dropped."""
    fields = ((b"x-request-ID", b"theirs"), (b"X-REQUEST-IX", b"stays"))
    response = reply_response(Reply(id="c1", status=200, headers=fields), request_id="r1")
    assert [v for k, v in response.headers if k.lower() == b"x-request-id"] == [b"r1"]
    assert (b"X-REQUEST-IX", b"stays") in response.headers


def test_a_problem() -> None:
    """A problem of the other side has all that is known of it."""
    problem = Problem("upstream-protocol", "It lied.", "unknown", None)
    reply = Reply(id="c1", problem=problem, queue_ms=2.5, attempts=3)
    response = reply_response(reply, request_id="r1", service="users", instance="/a")
    assert response.status == 502
    assert json.loads(response.body) == {
        "type": "/problems/upstream-protocol",
        "title": "The upstream broke the protocol",
        "status": 502,
        "detail": "It lied.",
        "instance": "/a",
        "request_id": "r1",
        "executed": "unknown",
        "queue_ms": 2.5,
        "attempts": 3,
        "service": "users",
    }


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (ProblemType.UPSTREAM_CONNECTION, b"connection_terminated"),
        (ProblemType.UPSTREAM_PROTOCOL, b"http_protocol_error"),
        (ProblemType.NO_INSTANCE, b"destination_unavailable"),
        (ProblemType.CIRCUIT_OPEN, b"destination_unavailable"),
        (ProblemType.DEADLINE_EXCEEDED, b"http_response_timeout"),
        (ProblemType.OUTCOME_UNKNOWN, b"proxy_internal_error"),
        (ProblemType.DELIVERY_LIMIT, b"proxy_internal_error"),
        (ProblemType.QUEUE_FULL, None),
    ],
)
def test_proxy_status_of_problems(kind: ProblemType, error: bytes | None) -> None:
    """What failed behind the gateway is named in the terms of RFC 9209."""
    reply = Reply(id="c1", problem=Problem(kind.slug, ""))
    response = reply_response(reply, request_id="r1")
    expected = b"api-gateway;error=" + error if error else None
    assert dict(response.headers).get(b"Proxy-Status") == expected
    assert response.status == kind.status


@pytest.mark.parametrize("error", ProxyError)
def test_proxy_status_of_a_known_cause(error: ProxyError) -> None:
    """Where the dispatcher knows more than the type of the problem, that is told."""
    problem = Problem(ProblemType.UPSTREAM_CONNECTION.slug, "", proxy_error=error)
    response = reply_response(Reply(id="c1", problem=problem), request_id="r1")
    assert dict(response.headers)[b"Proxy-Status"] == b"api-gateway;error=" + error.encode()


@pytest.mark.parametrize("error", ["", "from_the_future", "a\r\nb"])
def test_proxy_status_of_an_unknown_cause(error: str) -> None:
    """What is not known here, as from another version, is replaced by what the type tells."""
    problem = Problem(ProblemType.UPSTREAM_CONNECTION.slug, "", proxy_error=error)
    response = reply_response(Reply(id="c1", problem=problem), request_id="r1")
    assert dict(response.headers)[b"Proxy-Status"] == b"api-gateway;error=connection_terminated"


def test_retry_after_of_a_problem() -> None:
    """It is passed on."""
    problem = Problem("queue-full", "", "no", 9)
    response = reply_response(Reply(id="c1", problem=problem), request_id="r1")
    assert dict(response.headers)[b"Retry-After"] == b"9"


def test_a_problem_of_another_version() -> None:
    """A slug that is not known here is our fault, not the client's."""
    reply = Reply(id="c1", problem=Problem("from-the-future", "Odd."))
    assert reply_response(reply, request_id="r1").status == 500


@pytest.mark.parametrize("status", [0, 100, 101, 199, 600])
def test_a_status_that_can_not_be_passed_on(status: int) -> None:
    """No final status, no answer of the upstream."""
    response = reply_response(Reply(id="c1", status=status), request_id="r1")
    assert response.status == 502
    assert json.loads(response.body)["executed"] == "unknown"
