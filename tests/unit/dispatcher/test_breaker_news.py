"""What dispatchers tell each other of their breakers."""

from typing import Literal

import pytest

from broker.contract import ConnectionState
from broker.events import BreakerChanged, StateWanted
from dispatcher.breaker_news import BreakerNews
from dispatcher.policies.circuit_breaker import CircuitBreaker, State
from tests.unit.dispatcher.doubles import NOW, Clock, RecordingBroker


class Bench:
    """News of one breaker, which one failure opens for a minute."""

    def __init__(self) -> None:
        self.broker = RecordingBroker()
        self.clock = Clock()
        self.breaker = CircuitBreaker(
            1, 60, listener=lambda change: self.news.changed("users", change), clock=self.clock
        )
        self.news = BreakerNews(self.broker, lambda: {"users": self.breaker}, self.clock)

    def said(self) -> list[tuple[str, float]]:
        """State and time of what was told of the breaker, since the last time."""
        events, self.broker.events = self.broker.events, []
        return [(e.state, e.until) for e in events if isinstance(e, BreakerChanged)]

    def hear(
        self,
        state: Literal["closed", "open", "half_open"],
        until: float = 0.0,
        service: str = "users",
        node: str = "n2",
    ) -> None:
        self.broker.tell(BreakerChanged(service=service, node=node, state=state, until=until))

    def fail(self) -> None:
        permit = self.breaker.acquire()
        assert permit is not None
        self.breaker.failed(permit)


@pytest.fixture
async def bench() -> Bench:
    """Started, with a broker that is there."""
    bench = Bench()
    await bench.news.start()
    return bench


async def test_each_change_is_told(bench: Bench) -> None:
    """OPEN with the time until which it is, in Unix seconds."""
    bench.fail()
    bench.clock.now += 60
    permit = bench.breaker.acquire()
    assert permit is not None
    bench.breaker.succeeded(permit)

    assert bench.said() == [("open", NOW + 60), ("half_open", 0.0), ("closed", 0.0)]


async def test_a_peers_news_opens_it(bench: Bench) -> None:
    """For the time that is left; and it is not told on, or the echo would never end."""
    bench.hear("open", NOW + 20)

    assert bench.breaker.state is State.OPEN
    assert bench.breaker.retry_after == 20
    assert bench.said() == []


async def test_what_changes_nothing(bench: Bench) -> None:
    """Other states, other services, times that are over, and what it said itself."""
    bench.hear("closed")
    bench.hear("half_open")
    bench.hear("open", NOW + 20, service="orders")
    bench.hear("open", NOW - 1)
    bench.fail()
    own = bench.broker.events[-1]
    bench.breaker = CircuitBreaker(clock=bench.clock)  # as after a change of its settings
    bench.broker.tell(own)

    assert bench.breaker.state is State.CLOSED


async def test_a_breaker_that_was_replaced_is_not_told_of(bench: Bench) -> None:
    """Its last calls may still fail, at an address that is not the service's any more."""
    replaced, bench.breaker = bench.breaker, CircuitBreaker(1, 60, clock=bench.clock)
    permit = replaced.acquire()
    assert permit is not None
    replaced.failed(permit)
    bench.broker.tell(StateWanted(kind="breaker"))

    assert replaced.state is State.OPEN
    assert bench.said() == []


async def test_who_comes_late_is_told(bench: Bench) -> None:
    """What is open by own calls is said again, as long as it is; nothing else is."""
    bench.broker.tell(StateWanted(kind="breaker"))
    assert bench.said() == []
    bench.fail()
    bench.said()
    bench.broker.tell(StateWanted(kind="health"))
    assert bench.said() == []

    bench.broker.tell(StateWanted(kind="breaker"))
    assert bench.said() == [("open", NOW + 60)]
    bench.clock.now += 60
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
