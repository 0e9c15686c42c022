"""What the log tells of circuit breakers."""

from typing import Any

import pytest

from dispatcher.breaker_log import log_change
from dispatcher.policies.circuit_breaker import CircuitBreaker, Transition
from tests.unit.dispatcher.doubles import NOW, Clock


class Logged:
    """A breaker of `users` whose changes are logged."""

    def __init__(self, caplog: pytest.LogCaptureFixture, **options: Any) -> None:
        caplog.set_level("INFO", "dispatcher.breaker_log")
        self.caplog = caplog
        self.clock = Clock()
        self.breaker = CircuitBreaker(**options, listener=self.log, clock=self.clock)

    def log(self, transition: Transition) -> None:
        log_change("users", transition, self.clock())

    def call(self, well: bool, seconds: float = 0.0) -> None:
        permit = self.breaker.acquire()
        assert permit is not None
        (self.breaker.succeeded if well else self.breaker.failed)(permit, seconds)

    @property
    def lines(self) -> list[tuple[str, str]]:
        return [(record.levelname, record.getMessage()) for record in self.caplog.records]


def test_each_change_is_a_line(caplog: pytest.LogCaptureFixture) -> None:
    """With the service, the reason, and until when it is open."""
    assert NOW == 1_000_000
    logged = Logged(caplog, failure_threshold=2, reset_timeout=30)
    for _ in range(2):
        logged.call(well=False)
    logged.clock.now += 30
    logged.call(well=False)
    logged.clock.now += 30
    logged.call(well=True)

    opened = "circuit breaker of users OPEN until 1970-01-12T13:47"
    assert logged.lines == [
        ("WARNING", f"{opened}:10.000+00:00: failures in a row: 2"),
        ("INFO", "circuit breaker of users HALF_OPEN: a call is tried"),
        ("WARNING", f"{opened}:40.000+00:00: a probe failed"),
        ("INFO", "circuit breaker of users HALF_OPEN: a call is tried"),
        ("INFO", "circuit breaker of users CLOSED: all probes succeeded"),
    ]


@pytest.mark.parametrize(
    ("options", "well", "seconds", "reason"),
    [
        ({"failure_rate": 0.5}, False, 0.0, "4 of 4 calls failed"),
        ({"slow_call_rate": 0.5}, True, 2.0, "4 of 4 calls were slow"),
    ],
)
def test_rates_are_reasons(
    caplog: pytest.LogCaptureFixture,
    options: dict[str, Any],
    well: bool,
    seconds: float,
    reason: str,
) -> None:
    """Which one it was, and in figures."""
    logged = Logged(caplog, failure_threshold=10, minimum_calls=4, **options)
    for _ in range(4):
        logged.call(well, seconds)
    [(_, line)] = logged.lines
    assert line.endswith(f": {reason}")


def test_a_peers_word_is_a_reason(caplog: pytest.LogCaptureFixture) -> None:
    """What a dispatcher has not seen itself is told apart, with the name of who has."""
    logged = Logged(caplog)
    logged.breaker.peer_opened("host-7-1f2e", 10)
    reason = "that of host-7-1f2e has opened, a call is tried"
    assert logged.lines == [("INFO", f"circuit breaker of users HALF_OPEN: {reason}")]
