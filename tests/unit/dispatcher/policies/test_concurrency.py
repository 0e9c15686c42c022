"""What tells a limit, and who keeps count."""

import pytest

from config.models import Concurrency
from dispatcher.policies.concurrency import (
    Ending,
    FixedLimit,
    Limiter,
    limiter_of,
    of_error,
    of_status,
)
from dispatcher.policies.gradient import GradientLimit
from dispatcher.upstream import (
    ConnectFailed,
    ConnectionLost,
    ConnectTimedOut,
    InvalidRequest,
    ProtocolError,
    ResponseTooLarge,
    TooManyCalls,
    UpstreamError,
    UpstreamTimeout,
)


class Heard:
    """A limit that keeps what it hears."""

    settled = current = upper = 5

    def __init__(self) -> None:
        self.calls: list[tuple[str, float, int, bool]] = []

    def ended(self, route: str, seconds: float, in_flight: int, dropped: bool) -> None:
        self.calls.append((route, seconds, in_flight, dropped))


@pytest.mark.parametrize(
    ("status", "ending"),
    [
        (200, Ending.SUCCESS),
        (304, Ending.SUCCESS),
        (404, Ending.SUCCESS),
        (429, Ending.DROPPED),
        (500, Ending.IGNORED),
        (502, Ending.IGNORED),
        (503, Ending.DROPPED),
        (504, Ending.DROPPED),
    ],
)
def test_responses(status: int, ending: Ending) -> None:
    """Refusals are drops; the time of an error of the service's own counts for nothing."""
    assert of_status(status) is ending


@pytest.mark.parametrize(
    ("error", "ending"),
    [
        (UpstreamTimeout, Ending.DROPPED),
        (ConnectTimedOut, Ending.DROPPED),
        (ConnectFailed, Ending.DROPPED),
        (ConnectionLost, Ending.DROPPED),
        (TooManyCalls, Ending.IGNORED),
        (InvalidRequest, Ending.IGNORED),
        (ProtocolError, Ending.IGNORED),
        (ResponseTooLarge, Ending.IGNORED),
    ],
)
def test_errors(error: type[UpstreamError], ending: Ending) -> None:
    """No connection and no answer in time are drops; what has nothing to do with load is not."""
    assert of_error(error("why", sent=True), patient=True) is ending


@pytest.mark.parametrize("error", [UpstreamTimeout, ConnectTimedOut])
def test_clients_in_a_hurry(error: type[UpstreamError]) -> None:
    """A timeout that is the client's own does not lower the limit for everybody."""
    assert of_error(error("why", sent=True), patient=False) is Ending.IGNORED


def test_the_count() -> None:
    """The limit hears how many calls were under way, that one included; not of ignored ones."""
    heard = Heard()
    limiter = Limiter(heard)
    for _ in range(3):
        limiter.began()
    limiter.ended("users", 0.5, Ending.SUCCESS)
    limiter.ended("users", 0.1, Ending.IGNORED)
    limiter.ended("orders", 0.2, Ending.DROPPED)

    assert heard.calls == [("users", 0.5, 3, False), ("orders", 0.2, 1, True)]
    assert limiter.in_flight == 0


def test_modes() -> None:
    """A fixed limit is what was set; an adaptive one has that as its upper bound."""
    fixed = limiter_of(Concurrency(limit=7)).limit
    adaptive = limiter_of(Concurrency(mode="adaptive", limit=49)).limit

    assert isinstance(fixed, FixedLimit)
    assert (fixed.current, fixed.upper) == (7, 7)
    assert isinstance(adaptive, GradientLimit)
    assert (adaptive.current, adaptive.upper) == (7, 49)
