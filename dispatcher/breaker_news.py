"""What dispatchers tell each other of their circuit breakers."""

import os
import socket
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

    A breaker opens by its own calls only, so what is said is never hearsay, and news can't go round
    in circles. ``breakers`` gives those of now, by service.
    """

    def __init__(
        self, broker: Broker, breakers: Callable[[], Mapping[str, CircuitBreaker]]
    ) -> None:
        self._broker = broker
        self._breakers = breakers
        # Host and process are for people; containers may have both alike, and must not mix up
        # each other's words with their own.
        self._node = f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:8]}"

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
        if breaker is not None and breaker.state is transition.state:
            self._say(service, breaker)

    def _say(self, service: str, breaker: CircuitBreaker) -> None:
        is_open = breaker.state is State.OPEN
        self._broker.publish_event(
            BreakerChanged(
                service=service,
                node=self._node,
                state=_WORDS[breaker.state],
                failing_for=breaker.failing_for if is_open else 0.0,
            )
        )

    def _heard(self, event: Event) -> None:
        if isinstance(event, StateWanted):
            if event.kind == "breaker":
                self._say_again()
        elif isinstance(event, BreakerChanged) and event.node != self._node:
            breaker = self._breakers().get(event.service)
            if breaker is not None and event.state == "open":
                breaker.peer_opened(event.node, event.failing_for)

    def _say_again(self) -> None:
        """What is open; but for one whose time is over, as nobody knows how the service is now."""
        for service, breaker in self._breakers().items():
            if breaker.state is State.OPEN and not breaker.probe_due:
                self._say(service, breaker)

    def _on_state(self, state: ConnectionState) -> None:
        if state is ConnectionState.CONNECTED:
            self._broker.publish_event(StateWanted(kind="breaker"))
