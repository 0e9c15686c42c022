"""When an ingress node takes requests, and how it stops without failing one.

1. A signal comes. The node says that it is not ready, so that whoever balances load sends new
   requests elsewhere. It goes on taking those that still come, for ``drain.delay`` seconds; every
   answer from now on asks its client to connect anew.
2. The listener closes, and with it the connections that nobody uses. New ones are refused by the
   system, and go to another node.
3. What is in flight is finished, within ``drain.timeout`` seconds.
4. What is not finished by then is cut off.

A second signal goes to step 4 at once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from config.models.gateway import Drain

Check = Callable[[], bool]
Sleep = Callable[[float], Awaitable[None]]


class Drainable(Protocol):
    """What a server must be able to do to end well."""

    @property
    def connections(self) -> int:
        """How many are open."""

    def announce_end(self) -> None:
        """Let every answer end its connection."""

    def stop_listening(self) -> None:
        """Take no more connections, end idle ones."""

    async def all_gone(self) -> None:
        """Return when no connection is left."""

    def abort(self) -> None:
        """Cut off what is left."""


class Lifecycle:
    """Readiness and orderly end of a node.

    ``checks`` are what it depends on, by name: each tells whether it is fine at the moment.
    ``drain`` holds as it is when a step begins.
    """

    def __init__(
        self,
        server: Drainable,
        drain: Drain,
        checks: Mapping[str, Check],
        *,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._server = server
        self.drain = drain
        self._checks = checks
        self._sleep = sleep
        self._stopping = asyncio.Event()
        self._forced = asyncio.Event()

    @property
    def stopping(self) -> bool:
        """Whether a signal has come."""
        return self._stopping.is_set()

    @property
    def ready(self) -> bool:
        """Whether this node should be sent requests."""
        return not self.stopping and all(self.states().values())

    def states(self) -> dict[str, bool]:
        """Each dependency by name, and whether it is fine."""
        return {name: check() for name, check in self._checks.items()}

    def stop(self) -> None:
        """What a signal does: begin to stop, and the second time, stop at once."""
        if self._stopping.is_set():
            self._forced.set()
        self._stopping.set()

    async def run(self) -> bool:
        """Return when the node has stopped; True if nothing had to be cut off."""
        await self._stopping.wait()
        # 1. Whoever balances load is given time to see that this node is not ready any more.
        self._server.announce_end()
        await _first_of(self._sleep(self.drain.delay), self._forced.wait())
        # 2. No new connections, no idle ones.
        self._server.stop_listening()
        # 3. What is in flight is answered.
        await _first_of(
            self._server.all_gone(), self._sleep(self.drain.timeout), self._forced.wait()
        )
        # 4. What takes longer is cut off.
        drained = self._server.connections == 0
        self._server.abort()
        await self._server.all_gone()
        return drained


async def _first_of(*events: Awaitable[object]) -> None:
    """Wait for one of them, and give up the others."""
    waiting = [asyncio.ensure_future(event) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
