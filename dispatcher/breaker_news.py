"""What dispatchers tell each other of their circuit breakers."""

import time
from collections.abc import Callable, Mapping
from typing import Literal
from uuid import uuid4

from broker.contract import Broker, ConnectionState
from broker.events import BreakerChanged, Event, StateWanted
from dispatcher.policies.circuit_breaker import CircuitBreaker, State, Transition

_WORDS: Mapping[State, Literal["closed", "open", "half_open"]] = {
    State.CLOSED: "closed",
    State.OPEN: "open",
    State.HALF_OPEN: "half_open",
}


class BreakerNews:
    """Says what this dispatcher's breakers do, and has them hear what others' do.

    Only what own calls have shown is said: hearsay that was passed on would never end. ``breakers``
    gives those of now, by service; ``now`` is Unix seconds.
    """

    def __init__(
        self,
        broker: Broker,
        breakers: Callable[[], Mapping[str, CircuitBreaker]],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._broker = broker
        self._breakers = breakers
        self._now = now
        self._node = uuid4().hex
        self._opened: dict[str, BreakerChanged] = {}  # by service, what was said of it

    async def start(self) -> None:
        """Hear the others from now on, and ask what they know."""
        await self._broker.subscribe((BreakerChanged, StateWanted), self._heard)
        self._broker.watch(self._on_state)
        self._on_state(self._broker.state)

    def changed(self, service: str, transition: Transition) -> None:
        """An own breaker went over to another state.

        The last calls of a breaker that another configuration has replaced are nobody's news.
        """
        breaker = self._breakers().get(service)
        if breaker is None or breaker.state is not transition.state:
            return
        self._opened.pop(service, None)
        if transition.told:
            return
        is_open = transition.state is State.OPEN
        event = BreakerChanged(
            service=service,
            node=self._node,
            state=_WORDS[transition.state],
            until=self._now() + transition.reset_after if is_open else 0.0,
        )
        if is_open:
            self._opened[service] = event
        self._broker.publish_event(event)

    def _heard(self, event: Event) -> None:
        if isinstance(event, StateWanted):
            if event.kind == "breaker":
                self._say_again()
        elif isinstance(event, BreakerChanged) and event.node != self._node:
            breaker = self._breakers().get(event.service)
            if breaker is not None and event.state == "open":
                breaker.peer_opened(event.until - self._now())

    def _say_again(self) -> None:
        now = self._now()
        self._opened = {name: event for name, event in self._opened.items() if event.until > now}
        for event in self._opened.values():
            self._broker.publish_event(event)

    def _on_state(self, state: ConnectionState) -> None:
        if state is ConnectionState.CONNECTED:
            self._broker.publish_event(StateWanted(kind="breaker"))
