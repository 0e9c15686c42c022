"""An adaptive limit that moves, so that consumers of the queue are replaced under load."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from tests.integration.commands import WITHIN, Running
from tests.integration.faults.accounting import Account, outcomes, whole
from tests.integration.faults.load import Balancer, Load
from tests.integration.faults.plant import Plan, plant


async def limit_of(dispatcher: Running, condition: Callable[[float], bool]) -> None:
    """Wait until its limit is as wanted."""
    async with asyncio.timeout(WITHIN):
        while True:
            for name, value in (await dispatcher.metrics()).items():
                if name.startswith("dispatcher_concurrency_limit") and condition(value):
                    return
            await asyncio.sleep(0.02)


async def test_a_moving_limit_fails_nobody(tmp_path: Path, amqp_url: str) -> None:
    """Up to many calls at a time, down to few and up again: each is answered 200, once."""
    adaptive = {"concurrency": {"mode": "adaptive", "limit": 100}}
    plan = Plan(dispatchers=2, settings={"open": adaptive})
    async with plant(tmp_path, amqp_url, plan) as built:
        built.ledger.delay = 0.02
        load = Load(Balancer(built.ingresses), clients=100)
        await limit_of(built.dispatchers[0], lambda limit: limit > 20)  # from 10
        built.ledger.delay = 0.2
        await limit_of(built.dispatchers[0], lambda limit: limit <= 10)
        built.ledger.delay = 0.02
        await limit_of(built.dispatchers[0], lambda limit: limit > 20)
        await load.answers(200)
        await load.stop()
        seen = built.ledger.seen

    assert {status for _, status in outcomes(load.results)} == {200}
    assert set(seen.values()) == {1}
    assert Account.of(load.results, seen) == whole(len(load.results))
