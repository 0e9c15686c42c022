"""Clients that leave before their answer."""

import asyncio
from pathlib import Path

from tests.integration.commands import Running
from tests.integration.faults.accounting import Account, Request, outcomes, requests, whole
from tests.integration.faults.clients import Client
from tests.integration.faults.plant import Plan, Plant, plant, total
from tests.integration.faults.waiting import eventually


async def ask_and_leave(ingress: Running, asked: list[Request], built: Plant) -> None:
    """All at once; they leave when every request is under way."""
    clients = [Client(lambda: ingress.public) for _ in asked]
    await asyncio.gather(
        *(client.send(request, 60) for client, request in zip(clients, asked, strict=True))
    )
    await built.pending(len(asked))
    for client in clients:
        client.leave()


async def test_a_thousand_clients_leave(tmp_path: Path, amqp_url: str) -> None:
    """Nothing of them stays: no pending request, no connection, no file, no call under way."""
    async with plant(tmp_path, amqp_url, Plan()) as built:
        ingress = built.ingresses[0]
        crowd = await built.crowd()
        before = await crowd.ask(requests(gets=10), wait=20)
        files = await total(built.ingresses, "process_open_fds")
        for _ in range(4):
            built.ledger.gate.clear()
            await ask_and_leave(ingress, requests(gets=125, posts=125), built)
            await built.pending(0)
            built.ledger.gate.set()

        async def nothing_under_way() -> bool:
            return await total(built.dispatchers, "dispatcher_in_flight") == 0

        async def all_answered() -> bool:
            return await total(built.dispatchers, "dispatcher_requests_total") == 1010

        await eventually(all_answered, "1,010 requests answered")
        await eventually(nothing_under_way, "no call under way")
        left = await total(built.ingresses, "ingress_clients_left_total")
        connections = await total(built.ingresses, "ingress_connections")

        async def files_closed() -> bool:
            return await total(built.ingresses, "process_open_fds") <= files

        await eventually(files_closed, "files closed")
        after = await crowd.ask(requests(gets=10), wait=20)
        seen = built.ledger.seen

    assert left == 1000
    assert connections == 10
    assert outcomes([*before, *after]) == {("GET", 200): 20}
    assert Account.of([*before, *after], seen) == whole(20)
    assert set(seen.values()) == {1}
