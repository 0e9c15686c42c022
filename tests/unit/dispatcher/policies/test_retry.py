"""What is repeated, when, and how often at all."""

import math

import pytest

from broker.messages import Headers
from config.models.services import Backoff
from dispatcher.attempt import NO_INSTANCE, Attempt, failed, responded
from dispatcher.call_end import Verdict, of_status
from dispatcher.policies.retry import Retry, RetryBudget, retry_after
from dispatcher.upstream import (
    BodyTooLarge,
    ConnectFailed,
    ConnectionLost,
    InvalidRequest,
    ProtocolError,
    ResponseTooLarge,
    UpstreamError,
    UpstreamResponse,
    UpstreamTimeout,
)
from tests.unit.dispatcher.doubles import NOW, Clock, envelope, post

NEVER = NOW + 1e6


def answered(status: int, *headers: tuple[bytes, bytes]) -> Attempt:
    response = UpstreamResponse(status, b"", headers, b"")
    return responded(response, "a", 1.0, of_status(status).service)


def broken(error: type[UpstreamError], sent: bool = True) -> Attempt:
    return failed(error("broken", sent=sent), "a", 1.0, Verdict.FAILURE)


def retry(clock: Clock | None = None) -> Retry:
    """Waits are as long as they may be."""
    return Retry(Backoff(), uniform=lambda _, bound: bound, now=clock or Clock())


@pytest.mark.parametrize(
    ("last", "wanted"),
    [
        *((answered(status), False) for status in (200, 304, 404, 429, 500, 501)),
        *((answered(status), True) for status in (502, 503, 504)),
        *((broken(error), True) for error in (ConnectionLost, ProtocolError, UpstreamTimeout)),
        *((broken(error), False) for error in (ResponseTooLarge, BodyTooLarge, InvalidRequest)),
        (NO_INSTANCE, False),
    ],
)
def test_what_is_worth_another_try(last: Attempt, wanted: bool) -> None:
    """Broken connections, timeouts and 502, 503 and 504; not what would end the same way again."""
    assert retry().wanted(last, envelope(), frozenset()) is wanted


def test_a_route_may_name_more() -> None:
    """Statuses of ``retry_on`` come on top."""
    statuses = frozenset({429, 500})
    assert retry().wanted(answered(429), envelope(), statuses)
    assert retry().wanted(answered(500), envelope(), statuses)
    assert retry().wanted(answered(503), envelope(), statuses)
    assert not retry().wanted(answered(404), envelope(), statuses)


@pytest.mark.parametrize(
    ("last", "wanted"),
    [
        (answered(503), False),
        (broken(ConnectionLost), False),
        (broken(ConnectFailed), False),
        (broken(ConnectFailed, sent=False), True),
        (broken(InvalidRequest, sent=False), False),
        (NO_INSTANCE, False),
    ],
)
def test_what_must_not_happen_twice(last: Attempt, wanted: bool) -> None:
    """A POST is repeated only when the upstream has surely seen nothing of it."""
    assert retry().wanted(last, post(), frozenset({503})) is wanted


def test_waits_double_up_to_their_bound() -> None:
    """Between 0 and base, then twice that, then four times, never above max."""
    bounds: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        bounds.append((low, high))
        return low

    policy = Retry(Backoff(base=0.025, max=0.25), uniform=uniform, now=Clock())
    for retries in (0, 1, 2, 3, 4, 1000):
        assert policy.delay(retries, broken(ConnectionLost), NEVER) == 0.0

    assert bounds == [(0.0, bound) for bound in (0.025, 0.05, 0.1, 0.2, 0.25, 0.25)]


def test_nothing_begins_too_late() -> None:
    """A try that would begin at the deadline, or just before, is not made."""
    lost = broken(ConnectionLost)
    assert retry().delay(0, lost, NOW + 0.029) is None
    assert retry().delay(0, lost, NOW + 0.031) == 0.025


def test_retry_after_is_honoured() -> None:
    """A longer time is waited, a shorter one is no reason to hurry; one too long ends the tries."""
    policy = retry()
    assert policy.delay(0, answered(503, (b"retry-after", b"2")), NEVER) == 2.0
    assert policy.delay(0, answered(503, (b"Retry-After", b"0")), NEVER) == 0.025
    assert policy.delay(0, answered(503, (b"Retry-After", b"2")), NOW + 2.0) is None
    assert policy.delay(0, answered(503, (b"Retry-After", b"6")), NEVER) is None
    assert policy.delay(0, answered(503, (b"Retry-After", b"9" * 400)), NEVER) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"120", 120.0),
        (b"Mon, 12 Jan 1970 13:46:50 GMT", 10.0),  # NOW is 1,000,000 seconds after 1970
        (b"Monday, 12-Jan-70 13:46:50 GMT", 10.0),
        (b"Mon Jan 12 13:46:50 1970", 10.0),
        (b"Mon, 12 Jan 1970 13:46:30 GMT", 0.0),
        (b"99999999999", math.inf),
        (b"", 0.0),
        (b"-5", 0.0),
        (b"1.5", 0.0),
        (b"soon", 0.0),
        (b"\xff", 0.0),
        (b"Mon, 12 Jan 99999 13:46:30 GMT", 0.0),
    ],
)
def test_reading_retry_after(value: bytes, seconds: float) -> None:
    """Seconds, and dates in the three forms of RFC 9110; anything else counts as absent."""
    headers: Headers = ((b"X", b"7"), (b"RETRY-AFTER", value))
    assert retry_after(headers, NOW) == seconds
    assert retry_after((), NOW) == 0.0


def test_a_budget_has_a_minimum() -> None:
    """A service with next to no calls has three retries in ten seconds."""
    clock = Clock()
    budget = RetryBudget(clock=clock)
    budget.count()

    assert [budget.take() for _ in range(5)] == [True, True, True, False, False]
    clock.now += 11.0
    assert budget.take()


def test_a_budget_is_a_part_of_the_calls() -> None:
    """A hundred calls allow twenty retries; retries do not allow more of themselves."""
    clock = Clock()
    budget = RetryBudget(clock=clock)
    for _ in range(100):
        budget.count()

    assert sum(budget.take() for _ in range(100)) == 20
    clock.now += 11.0
    assert sum(budget.take() for _ in range(100)) == 3
