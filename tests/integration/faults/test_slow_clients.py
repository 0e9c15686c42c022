"""Clients that hold connections, or send far too much."""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from tests.integration.faults.accounting import Account, outcomes, requests, whole
from tests.integration.faults.clients import read_answer
from tests.integration.faults.plant import Plan, plant, total
from tests.integration.faults.waiting import eventually

SLOW = 1000


async def flood(url: str, head: bytes, block: bytes, blocks: int) -> int:
    """Send so many blocks behind a head, as far as they are taken; the status of the answer."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    answer = asyncio.create_task(read_answer(reader))
    try:
        with suppress(ConnectionError):
            writer.write(head)
            for _ in range(blocks):
                writer.write(block)
                await writer.drain()
        return (await answer).status
    finally:
        writer.transport.abort()


class SlowLoris:
    """A client that begins a request and sends one more byte of it now and then."""

    def __init__(self, url: str) -> None:
        self._host, _, port = url.removeprefix("http://").partition(":")
        self._port = int(port)

    async def run(self) -> int:
        """Hold the connection while the gateway lets it; the status of the answer."""
        reader, writer = await asyncio.open_connection(self._host, self._port)
        try:
            writer.write(b"GET /open/slow HTTP/1.1\r\nHost: gateway\r\nX-Slow: ")
            answer = asyncio.create_task(read_answer(reader))
            while not answer.done():
                writer.write(b"s")
                await asyncio.wait([answer], timeout=0.5)
            return answer.result().status
        finally:
            writer.transport.abort()


async def test_a_thousand_slow_clients(tmp_path: Path, amqp_url: str) -> None:
    """While they hold their connections everybody else is served; in the end each gets a 408."""
    async with plant(tmp_path, amqp_url, Plan(limits={"header_timeout": 4})) as built:
        crowd = await built.crowd()
        url = built.ingresses[0].public
        slow = [asyncio.create_task(SlowLoris(url).run()) for _ in range(SLOW)]

        async def all_connected() -> bool:
            return await total(built.ingresses, "ingress_connections") >= SLOW

        await eventually(all_connected, f"{SLOW} slow clients connected")
        meanwhile = []
        while not any(client.done() for client in slow):
            meanwhile += await crowd.ask(requests(gets=25, posts=25), wait=10)
        statuses = await asyncio.gather(*slow)
        after = await crowd.ask(requests(gets=25, posts=25), wait=10)
        seen = built.ledger.seen

    assert statuses == [408] * SLOW
    assert {status for _, status in outcomes([*meanwhile, *after])} == {200}
    assert Account.of([*meanwhile, *after], seen) == whole(len(meanwhile) + 50)


HEAD = b"POST /open/flood HTTP/1.1\r\nHost: gateway\r\n"
MIB = 1024**2
FLOODS = {
    "long head": (HEAD, b"X-Flood: " + b"f" * 1000 + b"\r\n", 10_000, 431),
    "many fields": (HEAD, b"X:\r\n" * 1000, 1000, 431),
    "announced body": (HEAD + b"Content-Length: %d\r\n\r\n" % (10 * MIB), b"b" * MIB, 10, 413),
    "chunked body": (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n",
        b"%x\r\n%b\r\n" % (MIB // 4, b"b" * (MIB // 4)),
        40,
        413,
    ),
}


@pytest.mark.parametrize("name", FLOODS)
async def test_floods(tmp_path: Path, amqp_url: str, name: str) -> None:
    """Twenty at a time are cut short at the limits; memory stays bounded, others are served."""
    head, block, blocks, status = FLOODS[name]
    async with plant(tmp_path, amqp_url, Plan()) as built:
        crowd = await built.crowd()
        url = built.ingresses[0].public
        await crowd.ask(requests(gets=25, posts=25), wait=20)
        before = await total(built.ingresses, "process_resident_memory_bytes")
        floods = asyncio.gather(*(flood(url, head, block, blocks) for _ in range(20)))
        meanwhile = await crowd.ask(requests(gets=100, posts=100), wait=20)
        statuses = await floods
        growth = await total(built.ingresses, "process_resident_memory_bytes") - before
        seen = built.ledger.seen

    assert statuses == [status] * 20
    assert growth <= 2 * 20 * MIB  # the limit of a body, for each of them
    assert outcomes(meanwhile) == {("GET", 200): 100, ("POST", 200): 100}
    assert Account.of(meanwhile, seen) == whole(200)
