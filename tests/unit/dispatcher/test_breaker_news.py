"""What dispatchers tell each other of their breakers."""

import os
import socket
from typing import Literal

import pytest

from broker.contract import ConnectionState
from broker.events import BreakerChanged, StateWanted
from dispatcher.breaker_news import BreakerNews
from dispatcher.policies.circuit_breaker import CircuitBreaker, State
from tests.unit.dispatcher.doubles import Clock, RecordingBroker


class Bench:
    """News of one breaker, which two failures in a row open for a minute."""

    def __init__(self) -> None:
        self.broker = RecordingBroker()
        self.clock = Clock()
        self.breaker = CircuitBreaker(
            2, 60, listener=lambda change: self.news.changed("users", change), clock=self.clock
        )
        self.news = BreakerNews(self.broker, lambda: {"users": self.breaker})

    def said(self) -> list[tuple[str, float]]:
        """State, and time for which it is failing, of what was told since the last time."""
        events, self.broker.events = self.broker.events, []
        return [(e.state, e.failing_for) for e in events if isinstance(e, BreakerChanged)]

    def hear(
        self,
        state: Literal["closed", "open", "half_open"],
        failing_for: float = 0.0,
        service: str = "users",
        node: str = "n2",
    ) -> None:
        self.broker.tell(
            BreakerChanged(service=service, node=node, state=state, failing_for=failing_for)
        )

    def call(self, well: bool) -> None:
        permit = self.breaker.acquire()
        assert permit is not None
        (self.breaker.succeeded if well else self.breaker.failed)(permit)

    def open(self) -> None:
        """By two failures, 3 seconds apart."""
        self.call(well=False)
        self.clock.now += 3
        self.call(well=False)


@pytest.fixture
async def bench() -> Bench:
    """Started, with a broker that is there."""
    bench = Bench()
    await bench.news.start()
    return bench


async def test_each_change_is_told(bench: Bench) -> None:
    """OPEN with the seconds for which no call has gone well."""
    bench.open()
    bench.clock.now += 60
    bench.call(well=False)
    bench.clock.now += 60
    bench.call(well=True)

    assert bench.said() == [
        ("open", 3.0),
        ("half_open", 0.0),
        ("open", 63.0),
        ("half_open", 0.0),
        ("closed", 0.0),
    ]


async def test_it_says_who_it_is(bench: Bench) -> None:
    """Host and process, for people to find, and something that no other dispatcher has."""
    other = Bench()
    await other.news.start()
    for each in bench, other:
        each.open()
    names = [each.broker.events[-1].node for each in (bench, other)]  # type: ignore[union-attr]

    assert all(name.startswith(f"{socket.gethostname()}-{os.getpid()}-") for name in names)
    assert names[0] != names[1]


async def test_a_peers_news_is_heeded(bench: Bench) -> None:
    """By the breaker's own rule; and no opening comes of it that would be told on."""
    bench.hear("open", 5)

    assert bench.breaker.state is State.HALF_OPEN
    assert bench.breaker.reason == "that of n2 has opened, a call is tried"
    assert bench.said() == [("half_open", 0.0)]


async def test_a_peers_failures_are_as_long_as_it_says(bench: Bench) -> None:
    """A call that went well here meanwhile speaks against it, one from before does not."""
    bench.call(well=True)
    bench.clock.now += 5
    bench.hear("open", 6)
    assert bench.said() == []

    bench.hear("open", 4)
    assert bench.said() == [("half_open", 0.0)]


async def test_what_changes_nothing(bench: Bench) -> None:
    """Other states, other services, and what it said itself."""
    bench.hear("closed")
    bench.hear("half_open")
    bench.hear("open", 20, service="orders")
    bench.open()
    own = bench.broker.events[-1]
    bench.breaker = CircuitBreaker(clock=bench.clock)  # as after a change of its settings
    bench.broker.tell(own)

    assert bench.breaker.state is State.CLOSED


async def test_a_breaker_that_was_replaced_is_not_told_of(bench: Bench) -> None:
    """Its last calls may still fail, at an address that is not the service's any more."""
    replaced, bench.breaker = bench.breaker, CircuitBreaker(1, 60, clock=bench.clock)
    for _ in range(2):
        permit = replaced.acquire()
        assert permit is not None
        replaced.failed(permit)
    bench.broker.tell(StateWanted(kind="breaker"))

    assert replaced.state is State.OPEN
    assert bench.said() == []


async def test_who_comes_late_is_told(bench: Bench) -> None:
    """What is open is said again until its time is over, with the seconds as they are by then."""
    bench.broker.tell(StateWanted(kind="breaker"))
    assert bench.said() == []
    bench.open()
    bench.said()
    bench.broker.tell(StateWanted(kind="health"))
    assert bench.said() == []

    bench.clock.now += 10
    bench.broker.tell(StateWanted(kind="breaker"))
    assert bench.said() == [("open", 13.0)]
    bench.clock.now += 50
    bench.broker.tell(StateWanted(kind="breaker"))
    assert bench.said() == []


async def test_it_asks_when_it_is_connected() -> None:
    """At the start, and after each loss of the connection, as news may have passed meanwhile."""
    bench = Bench()
    bench.broker.state = ConnectionState.DISCONNECTED
    await bench.news.start()
    assert bench.broker.events == []

    bench.broker.become(ConnectionState.CONNECTED)

    assert bench.broker.events == [StateWanted(kind="breaker")]
