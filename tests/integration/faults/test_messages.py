"""Messages that nobody can read, or nobody survives."""

import asyncio
import signal
from pathlib import Path

from broker.messages import decode_envelope
from dispatcher.consumer import DELIVERY_LIMIT
from tests.integration.faults.accounting import (
    Account,
    Request,
    outcomes,
    problems,
    requests,
    whole,
)
from tests.integration.faults.amqp import Bystander
from tests.integration.faults.plant import Plan, Plant, plant, total
from tests.integration.faults.waiting import eventually
from tests.integration.upstreams.scripted import ScriptedUpstream, Wire

NONSENSE = (b"", b"no MessagePack", b"\x81\xa1a\x01", b"\x93\x63\x01\x02", b"\xc1" * 100_000)


async def test_undecodable_messages(tmp_path: Path, amqp_url: str) -> None:
    """They go to the dead-letter queue with their reasons; the dispatcher goes on as before."""
    async with plant(tmp_path, amqp_url, Plan()) as built, Bystander.at(amqp_url) as bystander:
        crowd = await built.crowd()
        dispatcher = built.dispatchers[0]
        for nonsense in NONSENSE:
            await bystander.put(built.queue(), nonsense)

        async def counted() -> bool:
            return await total([dispatcher], "broker_dead_lettered_total") == len(NONSENSE)

        await eventually(counted, "dead letters counted")
        after = await crowd.ask(requests(gets=50, posts=50), wait=20)
        letters = await bystander.dead_letters(built.queue())
        reconnects = await total([dispatcher], "broker_reconnects_total")
        still_runs = dispatcher.process.returncode is None
        seen = built.ledger.seen

    assert sorted(letter.body for letter in letters) == sorted(NONSENSE)
    assert all("not an envelope" in str(letter.headers["x-reason"]) for letter in letters)
    assert still_runs
    assert reconnects == 0
    assert outcomes(after) == {("GET", 200): 50, ("POST", 200): 50}
    assert Account.of(after, seen) == whole(100)


class Poison:
    """An upstream whose sight every dispatcher dies of; another takes its place."""

    def __init__(self) -> None:
        self.calls = 0
        self._over = False
        self._called = asyncio.Event()

    async def script(self, wire: Wire) -> None:
        """One call, never answered."""
        await wire.request()
        self.calls += 1
        self._called.set()
        await wire.gone()

    async def work(self, built: Plant) -> None:
        """Kill and replace, again and again, until the end."""
        while await self._called.wait() and not self._over:
            self._called.clear()
            victim = built.dispatchers.pop()
            victim.signal(signal.SIGKILL)
            await victim.ended()
            await built.start_dispatcher()

    def end(self) -> None:
        """Nobody dies any more."""
        self._over = True
        self._called.set()


async def test_a_message_that_kills_its_dispatcher(tmp_path: Path, amqp_url: str) -> None:
    """After so many losses it is a dead letter with the reason, and its client is told."""
    poison, deadly = Poison(), Request(route="poison")
    async with ScriptedUpstream(poison.script) as killer, Bystander.at(amqp_url) as bystander:
        plan = Plan(services={"poison": str(killer.address)})
        async with plant(tmp_path, amqp_url, plan) as built:
            crowd = await built.crowd()
            working = asyncio.create_task(poison.work(built))
            asking = asyncio.create_task(crowd.ask([deadly], wait=60))
            others = []
            while not asking.done():
                others += await crowd.ask(requests(gets=20), wait=60)
            results = await asking
            poison.end()
            await working
            letters = await bystander.dead_letters(built.queue("poison"))
            after = await crowd.ask(requests(gets=50, posts=50), wait=20)
            seen = built.ledger.seen

    assert problems(results) == {("delivery-limit", "unknown"): 1}
    assert 1 < poison.calls <= DELIVERY_LIMIT + 1
    assert [decode_envelope(letter.body).path for letter in letters] == [deadly.path]
    assert f"lost {DELIVERY_LIMIT} times" in str(letters[0].headers["x-reason"])
    assert {status for _, status in outcomes([*others, *after])} == {200}
    assert Account.of([*results, *others, *after], seen) == whole(101 + len(others))
