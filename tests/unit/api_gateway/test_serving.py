"""Signals, and a service from its start to its end."""

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Any, Self

import pytest

from api_gateway.admin import Health
from api_gateway.listening import listen
from api_gateway.reloading import Reloading
from api_gateway.serving import Signals, serve
from api_gateway.setup import Setup
from config.settings import Settings
from config.snapshot import Snapshot


class Service:
    """Serves until told to stop; writes down what happens."""

    def __init__(self, can_serve: bool = True, drains: bool = True) -> None:
        self.log: list[str] = []
        self._can_serve = can_serve
        self._drains = drains
        self._stopping = asyncio.Event()

    async def __aenter__(self) -> Self:
        self.log.append("enter")
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.log.append("exit")

    async def ready(self) -> bool:
        return self._can_serve

    async def run(self) -> bool:
        await self._stopping.wait()
        return self._drains

    def stop(self) -> None:
        self.log.append("stop")
        self._stopping.set()

    def force(self) -> None:
        self.log.append("force")

    routes = ()

    async def health(self) -> Health:
        return Health(True)

    async def metrics(self) -> bytes:
        return b""

    async def breakers(self) -> list[dict[str, Any]]:
        return []


def announcing(service: Service) -> Callable[[], None]:
    """Announces, and has the process sent a signal, as an operator would."""

    def announce() -> None:
        service.log.append("ready")
        os.kill(os.getpid(), signal.SIGTERM)

    return announce


def unchanged() -> Reloading:
    """Reads what was there before."""

    async def apply(snapshot: Snapshot) -> None:
        pass

    setup = Setup(Settings(), Snapshot(routes=(), services={}))
    return Reloading(setup, lambda setup: setup, apply)


def no_reload() -> None:
    raise AssertionError("nobody asked for it")


@pytest.mark.parametrize(("drains", "status"), [(True, 0), (False, 1)])
async def test_serves_until_a_signal(drains: bool, status: int) -> None:
    """Enter, ready, stop, exit; the status says whether all was drained."""
    service = Service(drains=drains)

    assert await serve(service, listen("127.0.0.1", 0), announcing(service), unchanged()) == status
    assert service.log == ["enter", "ready", "stop", "exit"]


async def test_says_nothing_of_ready_when_stopped_before() -> None:
    """A service that was told to stop before it could serve never says that it can."""
    service = Service(can_serve=False)
    service.stop()

    assert await serve(service, listen("127.0.0.1", 0), announcing(service), unchanged()) == 0
    assert "ready" not in service.log


async def test_a_second_signal_forces() -> None:
    """The first stops, each further one forces, and the process is ended if that hangs."""
    service = Service()
    ended: asyncio.Queue[int] = asyncio.Queue()
    signals = Signals(service, no_reload, exit_now=ended.put_nowait, force_timeout=0.0)

    signals.received()
    signals.received()

    assert service.log == ["stop", "force"]
    assert await ended.get() == 1


async def test_the_end_of_the_parents_pipe_is_the_first_signal() -> None:
    """When the parent lets go of the pipe, or is gone, the service is told to stop."""
    service = Service()
    reading, writing = os.pipe()
    Signals(service, no_reload).watch_parent(reading)
    os.close(writing)

    assert await service.run()
    assert service.log == ["stop"]
    os.close(reading)


async def test_a_line_from_the_parent_is_a_hangup() -> None:
    """It asks for a reload, as SIGHUP does; the end of the pipe is still to come."""
    service, asked = Service(), asyncio.Event()
    reading, writing = os.pipe()
    signals = Signals(service, asked.set)
    signals.install()
    signals.watch_parent(reading)
    os.write(writing, b"\n")
    await asked.wait()
    assert service.log == []
    asked.clear()
    os.kill(os.getpid(), signal.SIGHUP)
    await asked.wait()
    os.close(writing)
    assert await service.run()
    os.close(reading)


async def test_the_end_of_the_parents_pipe_is_no_second_signal() -> None:
    """A signal to all processes at once, and the parent that passes it on, force nothing."""
    service = Service()
    reading, writing = os.pipe()
    signals = Signals(service, no_reload)
    signals.received()
    signals.watch_parent(reading)
    os.close(writing)

    # The loop looks at pipes in the order of their numbers or of their ends; this one is later.
    later, ended = os.pipe()
    seen = asyncio.Event()
    asyncio.get_running_loop().add_reader(later, seen.set)
    os.close(ended)
    await seen.wait()

    assert service.log == ["stop"]
    asyncio.get_running_loop().remove_reader(later)
    os.close(reading)
    os.close(later)
