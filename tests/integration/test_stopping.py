"""How the commands end: drained, or cut off."""

import asyncio
import signal
from pathlib import Path

import aiohttp
from aiohttp import web

from tests.integration.commands import Running, configuration, started, upstream

CLIENTS = 16


async def hello(request: web.BaseRequest) -> web.Response:
    await asyncio.sleep(0.01)
    return web.Response(text="hello")


class Slow:
    """An upstream that keeps every request until the test lets it go."""

    def __init__(self) -> None:
        self.arrived = asyncio.Event()
        self.gate = asyncio.Event()

    async def answer(self, request: web.BaseRequest) -> web.Response:
        self.arrived.set()
        await self.gate.wait()
        return web.Response(text="at last")


class Load:
    """Clients that ask as fast as they can while a balancer sends them here."""

    def __init__(self, gateway: Running) -> None:
        self._gateway = gateway
        self.balanced = True
        self.statuses: list[int] = []
        self.enough = asyncio.Event()

    async def run(self) -> None:
        async with aiohttp.ClientSession() as session:
            await asyncio.gather(*(self._client(session) for _ in range(CLIENTS)))

    async def _client(self, session: aiohttp.ClientSession) -> None:
        while self.balanced:
            async with session.get(self._gateway.public + "/open/a") as response:
                await response.read()
            self.statuses.append(response.status)
            if len(self.statuses) > 10 * CLIENTS:
                self.enough.set()

    async def follow_readiness(self) -> None:
        """What a balancer does: it sends nothing more to whom is not ready."""
        await self._gateway.healthy(lambda status, _: status == 503)
        self.balanced = False


async def test_sigterm_under_load_fails_nobody(tmp_path: Path) -> None:
    """With a balancer that watches readiness, every request is answered and the status is 0."""
    async with upstream(hello) as url:
        config = configuration(tmp_path, url, drain={"delay": 1})
        async with started(tmp_path, "up", "--config", config) as gateway:
            load = Load(gateway)
            running = asyncio.create_task(load.run())
            await load.enough.wait()
            gateway.signal()
            await load.follow_readiness()
            await running
            status = await gateway.ended()

    assert set(load.statuses) == {200}
    assert status == 0


async def test_what_is_in_flight_is_finished(tmp_path: Path) -> None:
    """A request that is with its upstream when the signal comes is answered before the end."""
    slow = Slow()
    async with upstream(slow.answer) as url, aiohttp.ClientSession() as session:
        config = configuration(tmp_path, url)
        async with started(tmp_path, "up", "--config", config) as gateway:
            asked = asyncio.create_task(session.get(gateway.public + "/open/a"))
            await slow.arrived.wait()
            gateway.signal()
            await gateway.healthy(lambda status, _: status == 503)
            slow.gate.set()
            response = await asked
            text = await response.text()
            status = await gateway.ended()

    assert (response.status, text) == (200, "at last")
    assert status == 0


async def test_a_second_signal_cuts_off(tmp_path: Path) -> None:
    """The process ends soon, though a request is in flight, and with another status than 0."""
    slow = Slow()
    async with upstream(slow.answer) as url, aiohttp.ClientSession() as session:
        config = configuration(tmp_path, url, drain={"timeout": 600})
        async with started(tmp_path, "up", "--config", config) as gateway:
            asked = asyncio.create_task(session.get(gateway.public + "/open/a"))
            await slow.arrived.wait()
            gateway.signal()
            await gateway.healthy(lambda status, _: status == 503)
            gateway.signal(signal.SIGINT)
            status = await gateway.ended()
            slow.gate.set()
            await asyncio.wait([asked])

    assert status > 0
    assert "Traceback" not in gateway.stderr


async def test_what_takes_longer_than_the_drain_is_cut_off(tmp_path: Path) -> None:
    """After `drain.timeout` the process ends anyway, and its status tells."""
    slow = Slow()
    async with upstream(slow.answer) as url, aiohttp.ClientSession() as session:
        config = configuration(tmp_path, url, drain={"timeout": 0.1})
        async with started(tmp_path, "up", "--config", config) as gateway:
            asked = asyncio.create_task(session.get(gateway.public + "/open/a"))
            await slow.arrived.wait()
            gateway.signal()
            status = await gateway.ended()
            slow.gate.set()
            await asyncio.wait([asked])

    assert status == 1
