"""One fault after the other under load, as the broker's own Jepsen tests have it."""

import asyncio
import signal
from pathlib import Path

import pytest

from tests.integration.faults.accounting import Account, outcomes, problems, whole
from tests.integration.faults.load import Balancer, Load
from tests.integration.faults.plant import Plan, Plant, plant
from tests.servers import RabbitMQNode


async def kill_dispatcher(built: Plant) -> None:
    """And start another."""
    victim = built.dispatchers.pop(0)
    victim.signal(signal.SIGKILL)
    await victim.ended()
    await built.start_dispatcher()


async def close_connections(node: RabbitMQNode, built: Plant) -> None:
    """All of them, by the broker."""
    vhost = built.amqp_url.rpartition("/")[2]
    await asyncio.to_thread(node.ctl, "close_all_connections", "--vhost", vhost, "maintenance")
    await built.ready()


async def restart_broker(node: RabbitMQNode, built: Plant) -> None:
    """By SIGKILL."""
    await asyncio.to_thread(node.restart)
    await built.ready()


@pytest.mark.parametrize("lane", [True, False], ids=["lane", "plain"])
async def test_no_fault_loses_what_may_be_repeated(
    tmp_path: Path, node: RabbitMQNode, own_vhost: str, lane: bool
) -> None:
    """Every GET that was taken is answered 200; every POST is answered, and done once at most."""
    plan = Plan(ingresses=2, dispatchers=2, concurrency=16, lane=lane)
    async with plant(tmp_path, own_vhost, plan) as built:
        built.ledger.delay = 0.02
        load = Load(Balancer(built.ingresses), clients=64)
        await load.answers(300)
        await kill_dispatcher(built)
        await load.answers(300)
        await close_connections(node, built)
        await load.answers(300)
        await restart_broker(node, built)
        await load.answers(300)
        await load.stop()
        seen = built.ledger.seen

    gets = [result for result in load.results if result.request.method == "GET"]
    assert set(problems(gets)) <= {("broker-unavailable", "no")}
    assert {status for _, status in outcomes(gets)} <= {200, 503}
    assert Account.of(load.results, seen) == whole(len(load.results))
