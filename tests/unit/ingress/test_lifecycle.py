"""The end of a node, step by step, and with real connections."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from config.models.gateway import Drain, Limits
from ingress.lifecycle import Lifecycle
from ingress.server import Server
from tests.unit.ingress.raw_http import PATIENCE, Gate, RawClient, Recorder

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
DRAIN = Drain(delay=5, timeout=30)


class Clock:
    """Sleeps that last until the test says so."""

    def __init__(self) -> None:
        self._sleeping: dict[float, asyncio.Event] = {}

    async def sleep(self, seconds: float) -> None:
        await self._event(seconds).wait()

    def pass_(self, seconds: float) -> None:
        """End the sleep of that length."""
        self._event(seconds).set()

    def _event(self, seconds: float) -> asyncio.Event:
        return self._sleeping.setdefault(seconds, asyncio.Event())


class Node:
    """A server and its lifecycle, under a clock that stands still."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.clock = Clock()
        self.fine = True
        self.life = Lifecycle(server, DRAIN, {"broker": lambda: self.fine}, sleep=self.clock.sleep)
        self.ended = asyncio.create_task(self.life.run())

    async def client(self) -> RawClient:
        return RawClient(*await asyncio.open_connection("127.0.0.1", self.server.port))

    async def refuses(self) -> None:
        """Wait until the listener is closed."""
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
                except ConnectionRefusedError:
                    return
                writer.close()
                await asyncio.sleep(0)

    async def result(self) -> bool:
        async with asyncio.timeout(PATIENCE):
            return await self.ended


NodeOf = Callable[[Gate | Recorder], Awaitable[Node]]


@pytest.fixture
async def node_of() -> AsyncIterator[NodeOf]:
    """Makes a node, and ends it whatever happens."""
    nodes: list[Node] = []

    async def make(handle: Gate | Recorder) -> Node:
        server = await Server(handle, Limits()).__aenter__()
        nodes.append(Node(server))
        return nodes[-1]

    yield make
    for node in nodes:
        node.ended.cancel()
        await node.server.__aexit__()


async def test_readiness(node_of: NodeOf) -> None:
    """Ready while all that it depends on is fine, and until it stops."""
    node = await node_of(Recorder())
    assert node.life.ready
    node.fine = False
    assert not node.life.ready
    assert node.life.states() == {"broker": False}
    node.fine = True
    node.life.stop()
    assert node.life.stopping
    assert not node.life.ready


async def test_requests_are_still_taken_during_the_delay(node_of: NodeOf) -> None:
    """New connections too; every answer asks its client to connect anew."""
    node = await node_of(Recorder())
    old = await node.client()
    assert (await old.ask(GET)).get(b"Connection") is None
    node.life.stop()
    await asyncio.sleep(0)
    answer = await old.ask(GET)
    assert (answer.status, answer.get(b"Connection")) == (200, b"close")
    new = await node.client()
    assert (await new.ask(GET)).status == 200


async def test_the_end_of_an_idle_node(node_of: NodeOf) -> None:
    """After the delay the listener closes, and idle connections with it."""
    node = await node_of(Recorder())
    idle = await node.client()
    assert (await idle.ask(GET)).status == 200
    node.life.stop()
    node.clock.pass_(DRAIN.delay)
    assert await idle.rest() == b""
    assert await node.result() is True
    await node.refuses()


async def test_what_is_in_flight_is_finished(node_of: NodeOf) -> None:
    """Requests in hand and half arrived are answered before the node ends."""
    gate = Gate()
    node = await node_of(gate)
    in_hand, arriving = await node.client(), await node.client()
    await in_hand.send(GET)
    await arriving.send(GET[:-4])
    await gate.arrived()
    node.life.stop()
    node.clock.pass_(DRAIN.delay)
    await node.refuses()
    await arriving.send(GET[-4:])
    await gate.arrived()
    assert not node.ended.done()
    gate.opened.set()
    for client in (in_hand, arriving):
        answer = await client.answer()
        assert (answer.status, answer.get(b"Connection")) == (200, b"close")
        assert await client.rest() == b""
    assert await node.result() is True
    assert gate.cancelled == 0


async def test_what_takes_too_long_is_cut_off(node_of: NodeOf) -> None:
    """After the timeout the node ends, and says that it was not clean."""
    gate = Gate()
    node = await node_of(gate)
    client = await node.client()
    await client.send(GET)
    await gate.arrived()
    node.life.stop()
    node.clock.pass_(DRAIN.delay)
    await node.refuses()
    assert not node.ended.done()
    node.clock.pass_(DRAIN.timeout)
    assert await node.result() is False
    assert await client.rest() == b""
    assert gate.cancelled == 1


@pytest.mark.parametrize("in_delay", [True, False])
async def test_a_second_signal_forces(node_of: NodeOf, in_delay: bool) -> None:
    """Whatever step it comes in, nothing is waited for any more."""
    gate = Gate()
    node = await node_of(gate)
    client = await node.client()
    await client.send(GET)
    await gate.arrived()
    node.life.stop()
    if not in_delay:
        node.clock.pass_(DRAIN.delay)
        await node.refuses()
    node.life.stop()
    assert await node.result() is False
    assert gate.cancelled == 1
    await node.refuses()
