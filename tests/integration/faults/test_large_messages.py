"""Larger messages than the broker takes: it would end the connection of whoever sends one."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from broker.contract import Published
from broker.rabbitmq import RabbitMQBroker
from broker.topology import MAX_MESSAGE, RequestQueue
from tests.conformance.carriers import Inbox, envelope, published
from tests.integration.door import ask
from tests.integration.faults.accounting import Account, outcomes, requests, whole
from tests.integration.faults.plant import Plan, plant, total
from tests.integration.upstreams.scripted import ScriptedUpstream, Wire
from tests.servers import RabbitMQNode

MOST = 256 * 1024
TOO_MUCH = b"x" * (MOST + 1)
LANE_AND_PLAIN = pytest.mark.parametrize("lane", [True, False], ids=["lane", "plain"])


@pytest.fixture
async def strict_vhost(node: RabbitMQNode, own_vhost: str) -> AsyncIterator[str]:
    """A virtual host of a broker that takes no larger messages than that."""
    setting = await asyncio.to_thread(
        node.ctl, "eval", "application:get_env(rabbit, max_message_size)."
    )
    usual = re.search(r"\d+", setting)
    assert usual
    change = "application:set_env(rabbit, max_message_size, {})."
    await asyncio.to_thread(node.ctl, "eval", change.format(MOST))
    try:
        yield own_vhost
    finally:
        await asyncio.to_thread(node.ctl, "eval", change.format(usual[0]))


@LANE_AND_PLAIN
async def test_each_harms_only_itself(tmp_path: Path, strict_vhost: str, lane: bool) -> None:
    """One 413, or one call and a 502; no connection is lost, and everybody else is served."""
    calls = 0

    async def large(wire: Wire) -> None:
        nonlocal calls
        while True:
            await wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(TOO_MUCH))
            calls += 1
            await wire.send(TOO_MUCH)

    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(ScriptedUpstream(large))
        plan = Plan(
            dispatchers=2,
            services={"large": str(upstream.address)},
            limits={"max_body": 2 * MOST, "max_message": MOST},
            lane=lane,
        )
        built = await stack.enter_async_context(plant(tmp_path, strict_vhost, plan))
        crowd = await built.crowd()
        built.ledger.gate.clear()
        others = asyncio.create_task(crowd.ask(requests(gets=30, posts=30), wait=20))
        await built.ledger.arrived(60)
        public = built.ingresses[0].public
        answers = [await ask(public, f"{method} /large/a") for method in ("GET", "POST")]
        refused = await ask(public, "POST /open/never", body=TOO_MUCH)
        built.ledger.gate.set()
        results = await others
        lost = await total([*built.ingresses, *built.dispatchers], "broker_reconnects_total")
        seen = built.ledger.seen

    for answer in answers:
        assert answer.status == 502
        assert b"Proxy-Status: api-gateway;error=http_response_body_size" in answer.lines
        assert answer.body is not None
        assert b'"executed":"unknown"' in answer.body
    assert calls == 2
    assert refused.status == 413
    assert refused.body is not None
    assert b'"executed":"no"' in refused.body
    assert (lost, seen["never"]) == (0, 0)
    assert outcomes(results) == {("GET", 200): 30, ("POST", 200): 30}
    assert Account.of(results, seen) == whole(60)


@LANE_AND_PLAIN
async def test_a_broker_that_takes_less_than_it_was_said_to(
    strict_vhost: str, lane: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has the broker's own reason for the lost connection."""
    queue = RequestQueue("service", "FREE", limit=10)
    async with RabbitMQBroker(strict_vhost, lane=lane) as broker, asyncio.timeout(20):
        await broker.connected()
        await broker.declare([queue])
        assert await published(broker, envelope("service", body=TOO_MUCH)) is Published.LOST
        while "larger than configured max size" not in caplog.text:  # noqa: ASYNC110 - a log has no event
            await asyncio.sleep(0.02)


@LANE_AND_PLAIN
async def test_a_raised_limit_holds_for_the_open_connection(own_vhost: str, lane: bool) -> None:
    """What is allowed only now keeps no other message from being sent, either."""
    queue = RequestQueue("service", "FREE", limit=10)
    ended: Inbox[Published] = Inbox()
    async with RabbitMQBroker(own_vhost, lane=lane, max_message=MOST) as broker:
        await broker.connected()
        await broker.declare([queue])
        broker.max_message = MAX_MESSAGE
        broker.publish(envelope("service", body=bytes(15 * 1024**2)), ended)
        for _ in range(3):  # turns of the loop: the socket has been given all of it
            await asyncio.sleep(0)
        broker.publish(envelope("service"), ended)
        assert await ended.take(2) == [Published.ACCEPTED] * 2
