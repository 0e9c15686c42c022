"""Keeps one link to RabbitMQ open: connects, watches, and connects anew when it is lost.

A plain connection and this loop, not aio-pika's robust one: a new link is set up from nothing, so
that there is one way to become connected and not two.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from broker.contract import ConnectionState, OnState
from broker.link import Link, LinkError

log = logging.getLogger(__name__)

BACKOFF_FIRST, BACKOFF_MOST = 0.1, 2.0  # seconds between attempts to connect, before jitter
WATCH_INTERVAL = 1.0  # seconds between looks for overdue confirms


class Supervisor:
    """Runs for as long as its broker lives; ``link`` is the one that is ready for use, or None.

    ``open_link`` connects and sets up all that was declared and subscribed, or raises LinkError.
    ``check`` runs beside an open link until it ends. ``jitter`` gives numbers from 0 to 1.
    """

    def __init__(
        self,
        open_link: Callable[[], Awaitable[Link]],
        check: Callable[[Link], Coroutine[Any, Any, None]],
        on_reconnected: Callable[[], None],
        jitter: Callable[[], float],
    ) -> None:
        self.link: Link | None = None
        self.state = ConnectionState.DISCONNECTED
        self.connected = asyncio.Event()
        self.watchers: list[OnState] = []
        self._open_link = open_link
        self._check = check
        self._on_reconnected = on_reconnected
        self._jitter = jitter

    async def run(self) -> None:
        """Open a link, keep it, open the next; ends by cancellation."""
        links = 0
        while True:
            link = await self._connect()
            links += 1
            if links > 1:
                self._on_reconnected()
            try:
                await self._serve(link)
            except Exception:
                log.exception("the connection to the broker could not be kept")
            log.warning("the connection to the broker was lost")

    async def _connect(self) -> Link:
        failures = 0
        while True:
            try:
                link = await self._open_link()
            except LinkError as error:
                if failures == 0:
                    log.warning("the broker is not reachable, trying on: %s", error)
            except Exception:
                log.exception("connecting to the broker failed in an unforeseen way, trying on")
            else:
                log.info("connected to the broker")
                return link
            failures += 1
            await asyncio.sleep(self._backoff(failures))

    def _backoff(self, failures: int) -> float:
        """Exponential, with the upper half of each step left to chance."""
        step: float = min(BACKOFF_MOST, BACKOFF_FIRST * 2 ** min(failures - 1, 10))
        return step * (0.5 + self._jitter() / 2)

    async def _serve(self, link: Link) -> None:
        try:
            self._use(link)
            await self._keep(link)
        finally:
            await self._leave(link)

    def _use(self, link: Link) -> None:
        self.link = link
        link.on_blocked = self._blocked
        self._blocked(link.blocked)

    async def _keep(self, link: Link) -> None:
        check = asyncio.get_running_loop().create_task(self._check(link))
        try:
            while not link.closed.done():
                await asyncio.wait([link.closed], timeout=WATCH_INTERVAL)
                if link.expire() and link.silent and not link.blocked:
                    log.warning("the broker takes messages without a word; connecting anew")
                    link.give_up()
        finally:
            check.cancel()

    async def _leave(self, link: Link) -> None:
        self.link = None
        self._become(ConnectionState.DISCONNECTED)
        await link.close()

    def _blocked(self, blocked: bool) -> None:
        if self.link is None:
            return
        if blocked:
            log.warning("the broker takes no messages: it has a memory or disk alarm")
        self._become(ConnectionState.BLOCKED if blocked else ConnectionState.CONNECTED)
        if blocked:
            self.link.abandon()  # what has no word yet lies in a socket that nobody reads

    def _become(self, state: ConnectionState) -> None:
        if state is self.state:
            return
        self.state = state
        if state is ConnectionState.CONNECTED:
            self.connected.set()
        else:
            self.connected.clear()
        for on_state in self.watchers:
            try:
                on_state(state)
            except Exception:  # or the others would not hear it, and no link be opened any more
                log.exception("not all that hangs on the broker's connection heard of its state")
