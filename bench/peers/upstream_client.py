"""Calls to an upstream by one of the two upstream clients, with nothing around them.

Usage: python -m bench.peers.upstream_client lean|aiohttp URL ORDER

ORDER is JSON: {"seconds": 3, "result": FILE}
"""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import uvloop

from bench.meter import measure_rate, save
from dispatcher.lean_upstream import LeanUpstreamClient
from dispatcher.options import UpstreamOptions
from dispatcher.upstream import Address, UpstreamRequest

IN_FLIGHT = 64
_TIMEOUT = 30.0

Call = Callable[[], Awaitable[object]]


async def lean(url: str, stack: AsyncExitStack) -> Call:
    """The gateway's own."""
    client = await stack.enter_async_context(LeanUpstreamClient())
    caller, address = client.caller(UpstreamOptions()), Address.parse(url)
    request = UpstreamRequest("GET", "/", (), b"")
    return lambda: caller.call(address, request, _TIMEOUT)


async def by_aiohttp(url: str, stack: AsyncExitStack) -> Call:
    """aiohttp's, as its documentation uses it."""
    connector = aiohttp.TCPConnector(limit=IN_FLIGHT)
    session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT)

    async def call() -> bytes:
        async with session.get(url, timeout=timeout) as response:
            return await response.read()

    return call


class Load:
    """Calls one after the other, and counts the answers."""

    def __init__(self, call: Call) -> None:
        self.answered = 0
        self._call = call

    async def go_on(self) -> None:
        while True:
            await self._call()
            self.answered += 1


async def main(which: str, url: str, order: str) -> None:
    wanted = json.loads(order)
    async with AsyncExitStack() as stack:
        load = Load(await (lean if which == "lean" else by_aiohttp)(url, stack))
        tasks = [asyncio.create_task(load.go_on()) for _ in range(IN_FLIGHT)]
        pids = {"client": os.getpid()}
        save(
            await measure_rate(lambda: load.answered, pids, wanted["seconds"]),
            Path(wanted["result"]),
        )
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
