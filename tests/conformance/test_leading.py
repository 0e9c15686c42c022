"""One leader among many."""

import asyncio
from collections.abc import Callable

from broker.contract import Broker
from tests.conformance.carriers import Inbox
from tests.conformance.conftest import Connect

Told = Inbox[tuple[int, bool]]


async def stand(brokers: list[Broker], task: str, told: Told) -> None:
    """Let each stand for the task; what it hears goes into one inbox, with its number."""

    def teller(number: int) -> Callable[[bool], None]:
        return lambda leading: told((number, leading))

    for number, broker in enumerate(brokers):
        await broker.lead(task, teller(number))


async def test_one_leads_at_a_time_and_another_follows(connect: Connect, service: str) -> None:
    """Of three brokers one is told that it leads; each time the leader leaves, one of the rest."""
    told: Told = Inbox()
    brokers = [await connect() for _ in range(3)]
    await stand(brokers, service, told)
    leaders = []
    for _ in brokers:
        leader, leading = await told.next()
        assert leading
        leaders.append(leader)
        await brokers[leader].__aexit__(None, None, None)
        assert await told.next() == (leader, False)
    assert sorted(leaders) == [0, 1, 2]


async def test_tasks_have_leaders_of_their_own(connect: Connect, service: str) -> None:
    """A broker that leads in one task keeps nobody from leading in another."""
    told: Told = Inbox()
    one, other = await connect(), await connect()
    await stand([one], service, told)
    assert await told.next() == (0, True)
    await stand([other], service + "-2", told)
    assert await told.next() == (0, True)


async def test_who_waits_does_not_lead(connect: Connect, service: str) -> None:
    """A candidate that leaves without ever having led is told nothing, nor is the leader."""
    told: Told = Inbox()
    leader, waits = await connect(), await connect()
    await stand([leader], service, told)
    assert await told.next() == (0, True)
    await stand([waits], service, told)
    await asyncio.sleep(0)
    await waits.__aexit__(None, None, None)
    assert told.waiting == 0
