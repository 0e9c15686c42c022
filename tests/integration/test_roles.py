"""Single roles as processes of their own, over a real RabbitMQ."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
from aiohttp import web

from tests.integration.commands import Running, configuration, launched, started, upstream
from tests.processes import free_port
from tests.servers import RabbitMQNode


class Ledger:
    """An upstream that writes down which request it was asked."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()

    async def answer(self, request: web.BaseRequest) -> web.Response:
        self.seen[request.path] += 1
        await asyncio.sleep(0.005)
        return web.json_response({"path": request.path})


async def ask(session: aiohttp.ClientSession, gateway: Running, number: int) -> int:
    """Ask for a path of one's own; 200 only if the answer is to this very request."""
    async with session.get(f"{gateway.public}/open/{number}") as response:
        body = await response.json()
        if response.status == 200:
            assert body == {"path": f"/open/{number}"}
        return response.status


async def ask_all(gateways: list[Running], numbers: range) -> list[int]:
    async with aiohttp.ClientSession() as session:
        return await asyncio.gather(
            *(ask(session, gateways[number % len(gateways)], number) for number in numbers)
        )


@asynccontextmanager
async def fleet(
    folder: Path, url: str, amqp_url: str, ingresses: int = 2, dispatchers: int = 2
) -> AsyncIterator[tuple[list[Running], list[Running]]]:
    """So many of each, ready."""
    config = configuration(folder, url)
    async with AsyncExitStack() as stack:

        async def start(role: str) -> Running:
            command = launched(folder, role, "--config", config, amqp_url=amqp_url)
            return await stack.enter_async_context(command)

        roles = [await start("dispatcher") for _ in range(dispatchers)]
        roles += [await start("ingress") for _ in range(ingresses)]
        await asyncio.gather(*(role.ready() for role in roles))
        yield roles[dispatchers:], roles[:dispatchers]


async def test_two_of_each_serve(tmp_path: Path, amqp_url: str) -> None:
    """Requests to both ingresses are answered, each with its own answer, by both dispatchers."""
    ledger = Ledger()
    async with (
        upstream(ledger.answer) as url,
        fleet(tmp_path, url, amqp_url) as (ingresses, dispatchers),
    ):
        statuses = await ask_all(ingresses, range(200))
        taken = [await dispatcher.metrics() for dispatcher in dispatchers]

    assert Counter(statuses) == {200: 200}
    assert set(ledger.seen.values()) == {1}
    requests = 'dispatcher_requests_total{outcome="2xx",service="users"}'
    assert sum(page[requests] for page in taken) == 200
    assert all(page[requests] > 0 for page in taken)


async def test_a_killed_dispatcher_loses_nothing_that_may_be_repeated(
    tmp_path: Path, amqp_url: str
) -> None:
    """All GETs under way when one of two dispatchers is killed are answered by the other."""
    ledger = Ledger()
    async with (
        upstream(ledger.answer) as url,
        fleet(tmp_path, url, amqp_url) as (ingresses, dispatchers),
    ):
        asking = asyncio.create_task(ask_all(ingresses, range(400)))
        while len(ledger.seen) < 50:  # noqa: ASYNC110 - the upstream has no event for this
            await asyncio.sleep(0.01)
        dispatchers[0].signal(signal.SIGKILL)
        statuses = await asking

    assert Counter(statuses) == {200: 400}


async def test_a_drained_dispatcher_fails_nobody(tmp_path: Path, amqp_url: str) -> None:
    """A dispatcher that is told to stop under load ends with 0, and every request is answered."""
    ledger = Ledger()
    async with (
        upstream(ledger.answer) as url,
        fleet(tmp_path, url, amqp_url, ingresses=1) as (ingresses, dispatchers),
    ):
        asking = asyncio.create_task(ask_all(ingresses, range(400)))
        while len(ledger.seen) < 50:  # noqa: ASYNC110 - the upstream has no event for this
            await asyncio.sleep(0.01)
        dispatchers[0].signal()
        status = await dispatchers[0].ended()
        statuses = await asking

    assert status == 0
    assert Counter(statuses) == {200: 400}
    assert set(ledger.seen.values()) == {1}


async def test_waits_for_a_broker_that_is_away(
    tmp_path: Path, private_rabbitmq: Callable[[], RabbitMQNode]
) -> None:
    """Not ready while the broker is away, which is said once; ready as soon as it is there."""
    node = private_rabbitmq()
    node.kill()
    ledger = Ledger()
    admin_port = str(free_port())
    async with upstream(ledger.answer) as url:
        config = configuration(tmp_path, url)
        arguments = ("--config", config, "--admin-port", admin_port)
        async with launched(tmp_path, "dispatcher", *arguments, amqp_url=node.url) as dispatcher:
            dispatcher.addresses["admin"] = f"http://127.0.0.1:{admin_port}"
            while "not reachable" not in dispatcher.stderr:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
            away = await dispatcher.health()
            await asyncio.to_thread(node.start)
            await dispatcher.ready()
            there = await dispatcher.health()
            said = dispatcher.stderr
            await asyncio.to_thread(node.kill)
            gone = await dispatcher.healthy(lambda status, _: status == 503)
            dispatcher.signal()
            status = await dispatcher.ended()

    assert (away[0], away[1]["checks"]["broker"]) == (503, "disconnected")
    assert (there[0], there[1]["checks"]["broker"]) == (200, "connected")
    assert gone["checks"]["broker"] == "disconnected"
    assert status == 0
    assert said.count("not reachable") == 1
    assert "Traceback" not in said
    assert "guest:guest" not in dispatcher.stderr


async def test_clients_of_an_ingress_without_a_broker_are_told(tmp_path: Path) -> None:
    """While the broker is away a request is answered 503 with Retry-After, and not kept waiting."""
    config = configuration(tmp_path, "http://127.0.0.1:1")
    port = free_port()
    arguments = ("--config", config, "--port", str(port))
    away = f"amqp://guest:guest@127.0.0.1:{free_port()}/"
    async with (
        launched(tmp_path, "ingress", *arguments, amqp_url=away) as ingress,
        aiohttp.ClientSession() as session,
    ):
        while "not reachable" not in ingress.stderr:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)
        async with session.get(f"http://127.0.0.1:{port}/open/a") as response:
            retry_after = response.headers["Retry-After"]
        ingress.signal()
        status = await ingress.ended()

    assert response.status == 503
    assert int(retry_after) > 0
    assert status == 0


# --- --processes ----------------------------------------------------------------------------------


def pids(health: dict[str, dict[str, dict[str, int]]]) -> set[int]:
    return {answer["pid"] for answer in health["checks"].values()}


async def test_several_processes_are_one_gateway(tmp_path: Path, amqp_url: str) -> None:
    """One port, one readiness, one metrics page; a killed child is replaced and nobody waits."""
    ledger = Ledger()
    async with upstream(ledger.answer) as url:
        config = configuration(tmp_path, url)
        options = ("--config", config, "--processes", "2")
        async with (
            started(tmp_path, "dispatcher", *options, amqp_url=amqp_url) as dispatcher,
            started(tmp_path, "ingress", *options, amqp_url=amqp_url) as ingress,
        ):
            first = await ask_all([ingress], range(100))
            page = await ingress.metrics()
            _, before = await ingress.health()
            victim = before["checks"]["0"]["pid"]
            os.kill(victim, signal.SIGKILL)
            await ingress.healthy(lambda status, _: status == 503)
            meanwhile = await ask_all([ingress], range(100, 200))
            after = await ingress.healthy(lambda status, _: status == 200)
            last = await ask_all([ingress], range(200, 300))
            ingress.signal()
            dispatcher.signal()
            ends = [await ingress.ended(), await dispatcher.ended()]

    assert Counter(first + meanwhile + last) == {200: 300}
    labels = 'method="GET",route="ANY /open/*",service="users",status="200",tier="FREE"'
    assert page[f"ingress_requests_total{{{labels}}}"] == 100
    assert len(pids(before)) == len(pids(after)) == 2
    assert victim not in pids(after)
    assert ends == [0, 0]


async def test_connections_are_spread_over_all_processes(tmp_path: Path, amqp_url: str) -> None:
    """Of forty connections that come at a time each process has its share."""
    config = configuration(tmp_path, "http://127.0.0.1:1")
    options = ("--config", config, "--processes", "2", "--host", "127.0.0.1")
    async with started(tmp_path, "ingress", *options, amqp_url=amqp_url) as ingress:
        host, _, port = ingress.public.removeprefix("http://").partition(":")
        opened = [await asyncio.open_connection(host, int(port)) for _ in range(40)]
        connections = [0.0, 0.0]
        while sum(connections) < 40:
            page = await ingress.metrics()
            connections = [page[f'ingress_connections{{process="{child}"}}'] for child in range(2)]
        for _, writer in opened:
            writer.close()

    assert min(connections) > 0


async def test_children_do_not_outlive_their_parent(tmp_path: Path, amqp_url: str) -> None:
    """When the parent is killed its children drain and end."""
    config = configuration(tmp_path, "http://127.0.0.1:1")
    options = ("--config", config, "--processes", "2")
    async with started(tmp_path, "dispatcher", *options, amqp_url=amqp_url) as parent:
        _, health = await parent.health()
        parent.signal(signal.SIGKILL)
        await parent.ended()
        while any(map(is_alive, pids(health))):  # noqa: ASYNC110 - they are no children of ours
            await asyncio.sleep(0.02)


def is_alive(pid: int) -> bool:
    """Whether there is such a process, other than one of whose end nobody has taken note."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
