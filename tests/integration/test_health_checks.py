"""Health checks as a black box: workers, dispatchers and an ingress over a real RabbitMQ."""

import asyncio
import re
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web

from tests.integration.commands import WITHIN, Running, configuration, launched, started, upstream
from tests.servers import RabbitMQNode

QUICK = {"interval": 0.1, "timeout": 1, "healthy_threshold": 2, "unhealthy_threshold": 3}
ONCE = {"interval": 3600, "timeout": 1}
DOCUMENT = Path(__file__).parents[2] / "docs" / "health.md"
FENCED = re.compile(r"^```(yaml|metrics)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHOWN = ("http://10.0.0.1:8080", "http://10.0.0.2:8080")
ENOUGH = 12  # requests in a row without a call to an instance that is one of two in turns


class Instance:
    """One place of a service, well or sick at command; then it fails, or only says that it will."""

    def __init__(self) -> None:
        self.url = ""
        self.sick = False
        self.failing = True  # while it is sick
        self.probes = 0
        self.calls = 0

    async def answer(self, request: web.BaseRequest) -> web.Response:
        if request.path != "/health":
            self.calls += 1
            return web.Response(text=self.url, status=500 if self.sick and self.failing else 200)
        self.probes += 1
        return web.Response(status=500 if self.sick else 204)

    async def probed(self, times: int) -> None:
        """Wait for so many more probes."""
        wanted = self.probes + times
        async with asyncio.timeout(WITHIN):
            while self.probes < wanted:  # noqa: ASYNC110 - another process asks
                await asyncio.sleep(0.01)


class Scene:
    """Two instances of one service, and the processes that a test starts for them."""

    def __init__(self, folder: Path, amqp_url: str, instances: list[Instance]) -> None:
        self.one, self.other = instances
        self.stack = AsyncExitStack()
        self._folder = folder
        self._amqp_url = amqp_url
        self.config = configuration(folder, self.one.url)

    def check(self, options: dict[str, Any]) -> None:
        """Probe them so."""
        instances = [{"url": instance.url} for instance in (self.one, self.other)]
        service = {"name": "users", "instances": instances, "health_check": options}
        self.write(yaml.safe_dump([service]))

    def write(self, services: str) -> None:
        """Write services.yaml."""
        Path(self.config, "services.yaml").write_text(services)

    async def start(self, role: str) -> Running:
        """One more process, ready."""
        options = ("--config", self.config)
        command = started(self._folder, role, *options, amqp_url=self._amqp_url)
        return await self.stack.enter_async_context(command)


@pytest.fixture
async def scene(tmp_path: Path, amqp_url: str) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        instances = [Instance(), Instance()]
        for instance in instances:
            instance.url = await stack.enter_async_context(upstream(instance.answer))
        scene = Scene(tmp_path, amqp_url, instances)
        await stack.enter_async_context(scene.stack)
        yield scene


async def answers(gateway: Running, number: int) -> Counter[str]:
    """Ask one after the other; who answered, or the status where nobody did well."""
    found: Counter[str] = Counter()
    async with aiohttp.ClientSession() as session:
        for _ in range(number):
            async with session.get(gateway.public + "/open/a") as response:
                text = await response.text()
                found[text if response.status == 200 else str(response.status)] += 1
    return found


async def answered_by(gateway: Running, *instances: Instance) -> None:
    """Ask until the last few answers came from all of these, and from nobody else."""
    wanted = {instance.url for instance in instances}
    async with asyncio.timeout(WITHIN):
        while set(await answers(gateway, ENOUGH)) != wanted:
            pass


async def leader_of(processes: list[Running]) -> Running:
    """The one that leads, as soon as one does; all others stand by."""
    async with asyncio.timeout(WITHIN):
        while True:
            pages = [await process.metrics() for process in processes]
            leading = [page["workers_leading"] == 1 for page in pages]
            if any(leading):
                assert leading.count(True) == 1
                return processes[leading.index(True)]
            await asyncio.sleep(0.05)


async def test_a_sick_instance_gets_no_calls_until_it_is_well(scene: Scene) -> None:
    """It is gone before users see it, and comes back by itself; workers show what they found."""
    scene.check(QUICK)
    workers = await scene.start("workers")
    await scene.start("dispatcher")
    gateway = await scene.start("ingress")
    await answered_by(gateway, scene.one, scene.other)

    scene.one.sick = True
    await scene.one.probed(4)  # the third in a row was reported before the next
    await answered_by(gateway, scene.other)
    before = scene.one.calls
    assert await answers(gateway, 100) == {scene.other.url: 100}
    assert scene.one.calls == before
    page = await workers.metrics()

    scene.one.sick = False
    await answered_by(gateway, scene.one, scene.other)
    assert page[healthy(scene.one)] == 0
    assert page[healthy(scene.other)] == 1
    assert page['workers_probes_total{outcome="status",service="users"}'] >= 3
    assert f"users: {scene.one.url} is unhealthy: status: 500" in workers.stderr
    assert f"users: {scene.one.url} is healthy again" in workers.stderr


def healthy(instance: Instance) -> str:
    return f'workers_instance_healthy{{instance="{instance.url}",service="users"}}'


async def test_no_request_fails_while_an_instance_falls_sick(scene: Scene) -> None:
    """An instance that warns by its health, and serves on meanwhile, is left without a failure."""
    scene.check(QUICK)
    await scene.start("workers")
    await scene.start("dispatcher")
    gateway = await scene.start("ingress")
    await answered_by(gateway, scene.one, scene.other)
    scene.one.failing, scene.one.sick = False, True
    seen: Counter[str] = Counter()
    async with asyncio.timeout(WITHIN):
        while set(last := await answers(gateway, ENOUGH)) != {scene.other.url}:
            seen += last
    assert set(seen) <= {scene.one.url, scene.other.url}
    scene.one.failing = True
    assert await answers(gateway, 100) == {scene.other.url: 100}


async def test_a_dispatcher_that_comes_late_knows_at_once(scene: Scene) -> None:
    """It asks at its start: with an hour between probes, it leaves out what was found before."""
    scene.check(ONCE)
    scene.one.sick = True
    workers = await scene.start("workers")
    async with asyncio.timeout(WITHIN):
        while (await workers.metrics()).get(healthy(scene.one)) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    gateway = await scene.start("ingress")
    await scene.start("dispatcher")
    await answered_by(gateway, scene.other)
    assert (scene.one.probes, scene.other.probes) == (1, 1)


async def test_another_probes_when_the_leader_is_killed(scene: Scene) -> None:
    """Of three workers one probes at a time; whether it is killed or stopped, another follows."""
    scene.check(QUICK)
    workers = [await scene.start("workers") for _ in range(3)]
    await scene.start("dispatcher")
    gateway = await scene.start("ingress")
    for number, instance in ((signal.SIGKILL, scene.one), (signal.SIGTERM, scene.other)):
        leader = await leader_of(workers)
        _, health = await leader.health()
        assert health["checks"]["workers"] == "leading"
        workers.remove(leader)
        for standby in workers:
            assert (await standby.metrics())["workers_leading"] == 0
            assert (await standby.health())[1]["checks"]["workers"] == "standby"
        leader.signal(number)
        assert await leader.ended() == (0 if number == signal.SIGTERM else -number)
        instance.sick = True
        well = scene.other if instance is scene.one else scene.one
        await answered_by(gateway, well)
        instance.sick = False
        await answered_by(gateway, scene.one, scene.other)


async def test_with_all_sick_all_are_called(scene: Scene) -> None:
    """When every health check fails, requests go on to all instances rather than to none."""
    scene.check(QUICK)
    scene.one.sick = scene.other.sick = True
    await scene.start("workers")
    await scene.start("dispatcher")
    gateway = await scene.start("ingress")
    await scene.one.probed(4)
    calls = scene.one.calls, scene.other.calls
    assert await answers(gateway, 20) == {"500": 20}
    assert scene.one.calls - calls[0] == scene.other.calls - calls[1] == 10


async def test_health_survives_a_restart_of_the_broker(
    scene: Scene, private_rabbitmq: Callable[[], RabbitMQNode]
) -> None:
    """After the broker was killed and is back, one leads again and dispatchers hear of it."""
    node = private_rabbitmq()
    scene._amqp_url = node.url
    scene.check(QUICK)
    workers = await scene.start("workers")
    await scene.start("dispatcher")
    gateway = await scene.start("ingress")
    await leader_of([workers])
    await asyncio.to_thread(node.kill)
    await workers.healthy(lambda status, _: status == 503)
    scene.one.sick = True
    await asyncio.to_thread(node.start)
    await workers.healthy(lambda status, _: status == 200)
    await answered_by(gateway, scene.other)


async def test_up_probes_too(scene: Scene, tmp_path: Path) -> None:
    """All in one process, without a broker outside."""
    scene.check(QUICK)
    async with started(tmp_path, "up", "--config", scene.config) as up:
        await answered_by(up, scene.one, scene.other)
        scene.one.sick = True
        await answered_by(up, scene.other)
        up.signal()
        assert await up.ended() == 0


@asynccontextmanager
async def hanging() -> AsyncIterator[str]:
    """A server that takes connections and says nothing."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1") as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def with_patience(folder: Path, url: str) -> str:
    """A configuration whose probes may take an hour."""
    config = configuration(folder, url)
    check = {"interval": 3600, "timeout": 3600}
    service = {"name": "users", "base_url": url, "health_check": check}
    Path(config, "services.yaml").write_text(yaml.safe_dump([service]))
    return config


async def test_workers_stop_in_the_middle_of_probes(tmp_path: Path, amqp_url: str) -> None:
    """SIGTERM ends them with 0, though an instance has not answered yet."""
    async with hanging() as url:
        options = ("--config", with_patience(tmp_path, url))
        async with launched(tmp_path, "workers", *options, amqp_url=amqp_url) as workers:
            await workers.ready()
            assert set(workers.addresses) == {"admin"}
            await leader_of([workers])
            workers.signal()
            assert await workers.ended() == 0
            assert "Traceback" not in workers.stderr


async def test_the_example_of_the_documentation(scene: Scene) -> None:
    """With the second instance sick, the metrics page has the lines that docs/health.md shows."""
    document = DOCUMENT.read_text()
    for shown, instance in zip(SHOWN, (scene.one, scene.other), strict=True):
        assert shown in document
        document = document.replace(shown, instance.url)
    blocks = dict(FENCED.findall(document))
    scene.write(blocks["yaml"])
    scene.other.sick = True
    workers = await scene.start("workers")
    await scene.start("dispatcher")
    gateway = await scene.start("ingress")
    expected = dict(line.rsplit(" ", 1) for line in blocks["metrics"].splitlines())
    async with asyncio.timeout(WITHIN):
        while not (page := await workers.metrics()).keys() >= expected.keys():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert {name: page[name] for name in expected} == {n: float(v) for n, v in expected.items()}
    assert f"users: {scene.other.url} is unhealthy: status: 500" in workers.stderr
    await answered_by(gateway, scene.one)
