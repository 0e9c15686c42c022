"""Problems as clients see them."""

import json

import pytest

from broker.problems import ProblemType
from ingress.problems import Refused, problem_page, problem_response


def test_all_members() -> None:
    """The members of RFC 9457 first, then ours, and fields to match."""
    response = problem_response(
        ProblemType.QUEUE_FULL,
        "Come back.",
        request_id="r1",
        instance="/a",
        headers=((b"X", b"y"),),
        executed="no",
        retry_after=7,
        queue_ms=1.5,
        attempts=2,
        service="users",
    )
    assert response.status == 503
    assert json.loads(response.body) == {
        "type": "/problems/queue-full",
        "title": "The queue is full",
        "status": 503,
        "detail": "Come back.",
        "instance": "/a",
        "request_id": "r1",
        "executed": "no",
        "queue_ms": 1.5,
        "attempts": 2,
        "service": "users",
    }
    assert list(json.loads(response.body))[:5] == ["type", "title", "status", "detail", "instance"]
    assert dict(response.headers) == {
        b"Content-Type": b"application/problem+json",
        b"X-Request-ID": b"r1",
        b"Cache-Control": b"no-store",
        b"X": b"y",
        b"Retry-After": b"7",
    }


def test_what_is_not_known_is_not_said() -> None:
    """Members without a value are left out."""
    response = problem_response(ProblemType.NO_ROUTE, "", request_id="r1")
    assert json.loads(response.body).keys() == {"type", "title", "status", "request_id"}


@pytest.mark.parametrize("kind", [kind for kind in ProblemType if kind.status == 503])
def test_every_503_says_when_to_come_back(kind: ProblemType) -> None:
    """Retry-After is there even where nobody gave one."""
    response = problem_response(kind, "", request_id="r1")
    assert (b"Retry-After", b"1") in response.headers


def test_other_problems_do_not() -> None:
    """A request that is wrong does not become right by waiting."""
    response = problem_response(ProblemType.BAD_REQUEST, "", request_id="r1")
    assert b"Retry-After" not in dict(response.headers)


@pytest.mark.parametrize("text", ["ä€😀", "\udcff", 'a"b\\c\n\x00', "<script>"])
def test_any_text_can_be_a_detail(text: str) -> None:
    """Whatever a client sent may be quoted without breaking the JSON."""
    response = problem_response(ProblemType.BAD_REQUEST, text, request_id="r1", instance=text)
    assert json.loads(response.body)["detail"] == text.encode(errors="replace").decode()


def test_a_refusal_becomes_its_problem() -> None:
    """All that was said at the place of refusal is in the answer."""
    refused = Refused(
        ProblemType.RATE_LIMITED, "Slower.", headers=((b"X", b"y"),), retry_after=3, close=True
    )
    response = refused.response(request_id="r1", instance="/a", service="users")
    members = json.loads(response.body)
    assert (members["detail"], members["executed"]) == ("Slower.", "no")
    assert (members["instance"], members["service"]) == ("/a", "users")
    assert {b"X": b"y", b"Retry-After": b"3"}.items() <= dict(response.headers).items()
    assert response.close
    assert str(refused) == "Slower."


@pytest.mark.parametrize("kind", ProblemType)
def test_every_type_has_its_page(kind: ProblemType) -> None:
    """The type URI of a problem leads to what it means."""
    page = problem_page(kind.slug, request_id="r1")
    assert page is not None
    assert page.status == 200
    assert page.body.startswith(f"{kind.status} {kind.title}\n\n".encode())
    assert dict(page.headers)[b"X-Request-ID"] == b"r1"


@pytest.mark.parametrize("slug", ["", "nothing", "bad-request/", "BAD-REQUEST"])
def test_no_page(slug: str) -> None:
    """Other names have none."""
    assert problem_page(slug, request_id="r1") is None
