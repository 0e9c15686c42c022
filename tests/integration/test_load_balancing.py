"""Several real upstreams behind one service: they die, ail, stall and return."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

from broker.contract import BrokerListener
from broker.messages import Reply
from config.models.gateway import GatewayOptions
from config.models.services import Service
from config.snapshot import Snapshot
from dispatcher.lean_upstream import LeanUpstreamClient
from dispatcher.lifecycle import Dispatcher
from tests.integration.commands import configuration, started
from tests.integration.test_dispatcher import TIERS, Clock, Ingress, embedded


class Upstream:
    """An instance that can be killed, made ill, stopped in its answers, and started again."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.calls = 0
        self.status = 200
        self.going = asyncio.Event()
        self.going.set()
        self.port = 0
        self._server: TestServer | None = None

    @property
    def url(self) -> str:
        """Where it is, whether it runs or not."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen where it listened before."""
        application = web.Application()
        application.router.add_route("*", "/{rest:.*}", self._answer)
        self._server = TestServer(application, host="127.0.0.1", port=self.port)
        await self._server.start_server()
        assert self._server.port is not None
        self.port = self._server.port

    async def die(self) -> None:
        """Refuse connections from now on."""
        if self._server is not None:
            self.going.set()
            await self._server.close()
            self._server = None

    async def _answer(self, request: web.Request) -> web.Response:
        self.calls += 1
        await self.going.wait()
        return web.Response(status=self.status, text=self.name)


@pytest.fixture
async def upstreams() -> AsyncIterator[list[Upstream]]:
    """Three of them, called a, b and c."""
    async with AsyncExitStack() as stack:
        made = [Upstream(name) for name in "abc"]
        for one in made:
            await one.start()
            stack.push_async_callback(one.die)
        yield made


class House:
    """An ingress and a dispatcher with one service of these instances, and a clock to move."""

    def __init__(self, upstreams: Sequence[Upstream], **changes: Any) -> None:
        self.upstreams = upstreams
        self.ahead = 0.0
        self._changes = changes
        self._sent = 0
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "House":
        clock = Clock()
        connect = embedded(clock)
        front, back = connect(BrokerListener()), connect(BrokerListener())
        self.ingress = Ingress(front)
        client = LeanUpstreamClient()
        self.dispatcher = Dispatcher(
            back,
            client,
            self.snapshot(),
            now=clock,
            monotonic=lambda: time.monotonic() + self.ahead,
        )
        for part in (front, back, client, self.dispatcher):
            await self._stack.enter_async_context(part)
        await self.ingress.listen()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    def _monotonic(self) -> float:
        return time.monotonic() + self.ahead

    def snapshot(self, **changes: Any) -> Snapshot:
        """A configuration with all the instances."""
        instances = [{"url": one.url} for one in self.upstreams]
        values = {"name": "users", "instances": instances, **self._changes, **changes}
        services = {"users": Service.model_validate(values)}
        return Snapshot(routes=(), services=services, tiers=TIERS, options=GatewayOptions())

    def ask(self) -> asyncio.Future[Reply]:
        """Send a request; the future is its reply."""
        self._sent += 1
        return self.ingress.send(f"r{self._sent}")

    async def answers(self, count: int) -> str:
        """Ask one after the other; the names of who answered, or what class of problem it was."""
        replies = [await self.ask() for _ in range(count)]
        return "".join(
            reply.body.decode() if reply.status == 200 else str(reply.status // 100)
            for reply in replies
        )

    def states(self) -> list[str]:
        """Of all instances, in their order."""
        return [state for _, _, state in self.dispatcher.balancers._states()]


STRATEGIES = ["round_robin", "least_connections", "weighted_round_robin", "adaptive"]


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_an_instance_dies_and_returns(strategy: str, upstreams: list[Upstream]) -> None:
    """Five calls fail, then none; half a minute later the instance has its part again."""
    async with House(upstreams, strategy=strategy) as house:
        await house.answers(30)
        await upstreams[0].die()
        answers = ""
        while house.states()[0] != "ejected":
            answers += await house.answers(1)
            house.ahead += 1.0  # the adaptive strategy tries who failed again after a while
        assert answers.count("5") == 5

        assert set(await house.answers(50)) <= {"b", "c"}
        await upstreams[0].start()
        assert set(await house.answers(10)) <= {"b", "c"}
        house.ahead += 60

        answers = ""
        while answers.count("a") < 5:
            answers += await house.answers(1)
            house.ahead += 1.0
        house.ahead += 30
        assert house.states() == ["healthy"] * 3


@pytest.mark.parametrize(("status", "state"), [(503, "ejected"), (500, "healthy")])
async def test_an_instance_that_ails(status: int, state: str, upstreams: list[Upstream]) -> None:
    """Gateway failures eject it; errors of the application are answers like any others."""
    upstreams[1].status = status
    async with House(upstreams) as house:
        await house.answers(15)

        assert house.states() == ["healthy", state, "healthy"]
        assert set(await house.answers(6)) == (set("ac") if state == "ejected" else set("a5c"))


async def test_all_instances_die(upstreams: list[Upstream]) -> None:
    """One of three is ejected; the others are still tried, and answer as soon as they can."""
    async with House(upstreams) as house:
        for one in upstreams:
            await one.die()
        assert set(await house.answers(40)) == {"5"}
        assert house.states().count("ejected") == 1
        for one in upstreams:
            await one.start()

        assert "5" not in await house.answers(10)


@pytest.mark.parametrize("strategy", ["least_connections", "adaptive"])
async def test_an_instance_stalls(strategy: str, upstreams: list[Upstream]) -> None:
    """It keeps one call; all the others are answered elsewhere meanwhile."""
    upstreams[0].going.clear()
    async with House(upstreams, strategy=strategy) as house:
        asked = house.ask()
        while upstreams[0].calls == 0:
            if asked.done():
                asked = house.ask()
            await asyncio.sleep(0)

        assert set(await house.answers(50)) <= {"b", "c"}
        assert upstreams[0].calls == 1

        upstreams[0].going.set()
        assert (await asked).body == b"a"


async def test_health_checks_are_heeded(upstreams: list[Upstream]) -> None:
    """What probes report takes an instance out and back, whatever calls it answers."""
    async with House(upstreams) as house:
        house.dispatcher.balancers.set_probed("users", upstreams[0].url, healthy=False)
        assert set(await house.answers(9)) == {"b", "c"}

        house.dispatcher.balancers.set_probed("users", upstreams[0].url, healthy=True)
        house.ahead += 30
        assert set(await house.answers(9)) == {"a", "b", "c"}


async def test_an_ejection_outlives_a_change_of_configuration(upstreams: list[Upstream]) -> None:
    """The dead instance is not tried again just because something else changed."""
    async with House(upstreams) as house:
        await upstreams[0].die()
        await house.answers(15)

        await house.dispatcher.use(house.snapshot(strategy="least_connections", timeout=5))

        assert house.states()[0] == "ejected"
        assert set(await house.answers(20)) == {"b", "c"}


async def test_the_own_zone(tmp_path: Path, upstreams: list[Upstream]) -> None:
    """A gateway that knows its zone calls there; when that is dead, elsewhere."""
    directory = Path(configuration(tmp_path, upstreams[0].url))
    instances = [{"url": one.url, "zone": f"zone-{one.name}"} for one in upstreams[:2]]
    services = [{"name": "users", "strategy": "adaptive", "instances": instances}]
    (directory / "services.yaml").write_text(yaml.safe_dump(services))

    async with (
        started(tmp_path, "up", "--config", str(directory), zone="zone-b") as running,
        aiohttp.ClientSession() as session,
    ):

        async def ask() -> str:
            async with session.get(running.public + "/open/x") as response:
                return await response.text() if response.status == 200 else str(response.status)

        assert {await ask() for _ in range(20)} == {"b"}
        await upstreams[1].die()
        assert [await ask() for _ in range(8)] == ["502"] * 5 + ["a"] * 3

        metrics = await running.metrics()
        assert metrics['dispatcher_instances_out_total{reason="ejected",service="users"}'] == 1
        assert f"users: {upstreams[1].url} failed too many calls in a row" in running.stderr
