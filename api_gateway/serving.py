"""From the command line's options to a process that serves until it is told to stop."""

import asyncio
import gc
import logging
import os
import signal
import socket
from collections.abc import Callable
from typing import Protocol, Self

from api_gateway.admin import AdminServer, Subject
from api_gateway.reloading import Reloading

log = logging.getLogger(__name__)


class Service(Subject, Protocol):
    """What is served by: a node, or several processes with one each."""

    async def __aenter__(self) -> Self:
        """Start."""

    async def __aexit__(self, *exc_info: object) -> None:
        """End what is left."""

    async def ready(self) -> bool:
        """Wait until it can serve; False if it was told to stop before."""

    async def run(self) -> bool:
        """Serve until told to stop, then drain; whether nothing had to be cut off."""

    def stop(self) -> None:
        """Begin to stop."""

    def force(self) -> None:
        """Stop at once."""


class Signals:
    """SIGTERM and SIGINT: the first lets a service drain, the second cuts that short.

    SIGHUP calls ``reload``, as does a line from the parent process, if there is one. ``exit_now``
    is what remains when a drain that was cut short takes longer than ``force_timeout`` seconds.
    """

    def __init__(
        self,
        service: Service,
        reload: Callable[[], None],
        exit_now: Callable[[int], object] = os._exit,
        force_timeout: float = 5.0,
    ) -> None:
        self._service = service
        self._reload = reload
        self._exit_now = exit_now
        self._force_timeout = force_timeout
        self._stopping = False

    def install(self) -> None:
        """Listen to this process' signals."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.received)
        loop.add_signal_handler(signal.SIGHUP, self._hangup)

    def _hangup(self) -> None:
        if not self._stopping:
            self._reload()

    def watch_parent(self, descriptor: int) -> None:
        """Hear a pipe that only the parent can write to: its end is taken for the first signal."""
        asyncio.get_running_loop().add_reader(descriptor, self._from_parent, descriptor)

    def _from_parent(self, descriptor: int) -> None:
        if os.read(descriptor, 4096):
            self._hangup()
            return
        asyncio.get_running_loop().remove_reader(descriptor)
        if not self._stopping:
            self.received()

    def received(self) -> None:
        """A signal came."""
        if not self._stopping:
            self._stopping = True
            log.info("stopping; a second signal cuts off what is in flight")
            self._service.stop()
        else:
            log.warning("stopping at once")
            asyncio.get_running_loop().call_later(self._force_timeout, self._exit_now, 1)
            self._service.force()


def _spare_the_collector() -> None:
    """What is here by now stays: the garbage collector need not walk through it again and again.

    And it may look less often, as nearly all that a request makes is freed by counting references.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


async def serve(
    service: Service,
    admin: socket.socket,
    announce: Callable[[], None],
    reloading: Reloading,
    parent: int | None = None,
) -> int:
    """Run a service to its end, and return the exit status: 0 if nothing had to be cut off.

    ``announce`` is called once, when it can serve. ``parent`` is the descriptor of a pipe that the
    parent process holds, if there is one.
    """
    signals = Signals(service, reloading.ask)
    signals.install()
    if parent is not None:
        signals.watch_parent(parent)
    async with AdminServer(service, admin), service:
        reloads = asyncio.create_task(reloading.run())
        try:
            if await service.ready():
                _spare_the_collector()
                announce()
            return 0 if await service.run() else 1
        finally:
            reloads.cancel()
            await asyncio.wait([reloads])
