"""Every process is replaced, one after the other, under load."""

from pathlib import Path

from tests.integration.faults.accounting import Account, outcomes, whole
from tests.integration.faults.load import Balancer, Load
from tests.integration.faults.plant import Plan, Plant, plant


async def replace_dispatcher(built: Plant, load: Load) -> int:
    """Start another, drain the oldest; its exit status."""
    await built.start_dispatcher()
    old = built.dispatchers.pop(0)
    await load.answers(200)
    old.signal()
    return await old.ended()


async def replace_ingress(built: Plant, load: Load, balancer: Balancer) -> int:
    """Start another, drain the oldest; its exit status."""
    balancer.ingresses.append(await built.start_ingress())
    old = built.ingresses.pop(0)
    await load.answers(200)
    old.signal()
    await balancer.leave_out(old)
    return await old.ended()


async def test_rolling_restart_fails_nobody(tmp_path: Path, amqp_url: str) -> None:
    """GETs and POSTs alike are answered 200, and every process that is replaced exits with 0."""
    plan = Plan(ingresses=2, dispatchers=2, concurrency=8, drain={"delay": 1})
    async with plant(tmp_path, amqp_url, plan) as built:
        built.ledger.delay = 0.005
        balancer = Balancer(built.ingresses)
        load = Load(balancer, clients=16)
        ends = []
        for _ in range(2):
            ends.append(await replace_dispatcher(built, load))
            ends.append(await replace_ingress(built, load, balancer))
        await load.answers(200)
        await load.stop()
        seen = built.ledger.seen

    assert ends == [0, 0, 0, 0]
    assert {status for _, status in outcomes(load.results)} == {200}
    assert set(seen.values()) == {1}
    assert Account.of(load.results, seen) == whole(len(load.results))
