"""Concurrency limits of a real process, with a service that does some calls at a time.

It is configured as docs/concurrency.md shows.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import sqrt
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from dispatcher.policies.gradient import TOLERANCE
from tests.integration.commands import Running, configuration, started, upstream

DOCUMENT = Path(__file__).parents[2] / "docs" / "concurrency.md"
CLIENTS = 120  # more than may be under way
WORK = 0.05  # seconds for each call
ROUND = 200  # calls in which the service looks how many it has at a time
WITHIN = 120.0  # seconds, on a busy machine


class Service:
    """Works on some calls at a time, while the others queue; keeps the most that it ever had."""

    def __init__(self, slots: int) -> None:
        self.peak = 0
        self.in_flight = 0
        self._slots = asyncio.Semaphore(slots)
        self._left = 0
        self._counted = asyncio.Event()

    async def answer(self, request: web.BaseRequest) -> web.Response:
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            async with self._slots:
                await asyncio.sleep(WORK)
        finally:
            self.in_flight -= 1
            self._left -= 1
            if not self._left:
                self._counted.set()
        return web.Response(text="ok")

    def grow(self, slots: int) -> None:
        """Have so many more."""
        for _ in range(slots):
            self._slots.release()

    async def next_peak(self) -> int:
        """How many calls it has at most while it answers a number of them."""
        self.peak, self._left = 0, ROUND
        self._counted.clear()
        await self._counted.wait()
        return self.peak

    async def settled(self, least: int, most: int) -> None:
        """Wait until it is so for three times that number of calls."""
        good = 0
        async with asyncio.timeout(WITHIN):
            while good < 3:
                good = good + 1 if least <= await self.next_peak() <= most else 0


@asynccontextmanager
async def crowd(url: str) -> AsyncIterator[set[int]]:
    """Clients that ask again as soon as they are answered; gives the statuses they get."""
    statuses: set[int] = set()

    async def ask(session: aiohttp.ClientSession) -> None:
        while True:
            async with session.get(url) as response:
                statuses.add(response.status)

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        clients = [asyncio.create_task(ask(session)) for _ in range(CLIENTS)]
        try:
            yield statuses
        finally:
            for client in clients:
                client.cancel()
            await asyncio.gather(*clients, return_exceptions=True)


@asynccontextmanager
async def overloaded(folder: Path, service: Service, mode: str) -> AsyncIterator[Running]:
    """A gateway before the service with more clients than it can serve, who are all served."""
    found = re.search(r"```yaml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert found is not None
    async with upstream(service.answer) as url:
        directory = Path(configuration(folder, url))
        services = found[1].replace("http://10.0.0.1:8080", url).replace("adaptive", mode)
        (directory / "services.yaml").write_text(services)
        async with (
            started(folder, "up", "--config", str(directory)) as running,
            crowd(running.public + "/open/x") as statuses,
        ):
            yield running
            assert statuses == {200}


def enough(slots: int) -> int:
    """The most that an adaptive limit comes to: what is tolerated, and the root that may wait."""
    return int(TOLERANCE * slots + 2 * sqrt(TOLERANCE * slots) + 2)


async def shown(running: Running) -> float:
    """The limit, as the metrics tell it."""
    return (await running.metrics())['dispatcher_concurrency_limit{service="users"}']


async def test_an_adaptive_limit_follows_the_service(tmp_path: Path) -> None:
    """The service has few more calls than it can work on; when it grows, it gets more."""
    service = Service(8)
    async with overloaded(tmp_path, service, "adaptive") as running:
        await service.settled(8, enough(8))
        assert await shown(running) <= enough(8)

        service.grow(16)

        await service.settled(24, enough(24))


async def test_a_fixed_limit_is_filled(tmp_path: Path) -> None:
    """The service has all of it, of which most wait; never more."""
    service = Service(8)
    async with overloaded(tmp_path, service, "fixed") as running:
        await service.settled(100, 100)
        assert await shown(running) == 100


@pytest.mark.parametrize("status", [503, 429])
async def test_refusals_close_it_almost(tmp_path: Path, status: int) -> None:
    """Who refuses everything is asked by one call at a time, until it answers again."""
    refusing = True
    service = Service(1000)

    async def answer(request: web.BaseRequest) -> web.Response:
        answered = await service.answer(request)
        return web.Response(status=status) if refusing else answered

    async with upstream(answer) as url:
        directory = Path(configuration(tmp_path, url))
        text = f"- {{name: users, base_url: '{url}', concurrency: {{mode: adaptive, limit: 64}}}}"
        (directory / "services.yaml").write_text(text)
        async with started(tmp_path, "up", "--config", str(directory)) as running:
            async with crowd(running.public + "/open/x"), asyncio.timeout(WITHIN):
                while await shown(running) > 1:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
                refusing = False
                while await shown(running) < 20:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            metrics = await running.metrics()

    assert metrics['dispatcher_calls_dropped_total{service="users"}'] > 10
