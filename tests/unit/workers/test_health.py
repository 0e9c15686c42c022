"""Who probes, when, and what is told of it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from broker.embedded import EmbeddedBroker, EmbeddedServer
from broker.events import Event, HealthReported, StateWanted
from config.models.services import Service
from config.snapshot import Snapshot
from workers.health import HealthProber, valid_for
from workers.metrics import WorkersListener
from workers.probe import Outcome, Result, Targets
from workers.rounds import Means

A, B = "http://a:1", "http://b:1/base"


def service(name: str = "users", *urls: str, **check: float | str) -> Service:
    """A service with these instances, probed every 30 seconds."""
    instances = [{"url": url} for url in urls or (A, B)]
    check = {"path": "/health", "unhealthy_threshold": 2, **check}
    return Service.model_validate({"name": name, "instances": instances, "health_check": check})


def snapshot(*services: Service) -> Snapshot:
    return Snapshot(routes=(), services={service.name: service for service in services})


class World(WorkersListener):
    """Instances that are sick or not, and a clock that runs when the test says so."""

    def __init__(self) -> None:
        self.sick: set[str] = set()
        self.found: dict[str, list[str]] = {}  # by service, what is not as configured
        self.followed: set[str] = set()
        self.broken = False
        self.asked: Counter[str] = Counter()
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self.reports: asyncio.Queue[HealthReported] = asyncio.Queue()
        self.sleeps: list[float] = []
        self._sleepers: list[asyncio.Event] = []

    def probed(self, service: str, outcome: str) -> None:
        self.outcomes[service, outcome] += 1

    @asynccontextmanager
    async def follow(self, service: Service) -> AsyncIterator[Targets]:
        configured = [str(instance.url).rstrip("/") for instance in service.addresses]
        self.followed.add(service.name)
        try:
            yield lambda: [Place(name, self) for name in self.found.get(service.name, configured)]
        finally:
            self.followed.discard(service.name)

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        sleeper = asyncio.Event()
        self._sleepers.append(sleeper)
        await sleeper.wait()

    async def wake(self) -> None:
        """Let the time pass that everybody sleeps."""
        await turns()
        sleepers, self._sleepers = self._sleepers, []
        for sleeper in sleepers:
            sleeper.set()
        await turns()

    def hear(self, event: Event) -> None:
        assert isinstance(event, HealthReported)
        self.reports.put_nowait(event)

    async def round(self) -> HealthReported:
        """The report of the next round, where there is one service."""
        await self.wake()
        return self.reports.get_nowait()


@dataclass
class Place:
    """One of the instances."""

    name: str
    world: World

    async def probe(self, path: str, timeout: float) -> Result:
        if self.world.broken:
            raise RuntimeError("a fault")
        assert timeout == 2.0
        self.world.asked[self.name + path] += 1
        if self.name in self.world.sick:
            return Result(Outcome.STATUS, "503")
        return Result(Outcome.PASSED, "200")


async def turns() -> None:
    """Let everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


def prober(world: World, broker: EmbeddedBroker, first: Snapshot, node: str = "w1") -> HealthProber:
    means = Means(world.follow, listener=world, sleep=world.sleep, jitter=lambda: 0.25)
    return HealthProber(broker, first, means, node)


async def test_a_round_tells_all_of_a_service() -> None:
    """Every instance is asked at its own address, and one event has the verdicts on all."""
    world = World()
    world.sick = {B}
    async with EmbeddedBroker() as broker:
        await broker.subscribe([HealthReported], world.hear)
        async with prober(world, broker, snapshot(service())) as probing:
            report = await world.round()
            assert probing.healthy == {"users": {A: True, B: False}}

    assert world.asked == {f"{A}/health": 1, f"{B}/health": 1}
    assert world.outcomes == {("users", "passed"): 1, ("users", "status"): 1}
    assert report == HealthReported(
        service="users", node="w1", sequence=1, valid_for=90.0, healthy={A: True, B: False}
    )


async def test_thresholds_hold_from_round_to_round() -> None:
    """An instance that falls sick counts as healthy until the second round in a row."""
    world = World()
    async with EmbeddedBroker() as broker:
        await broker.subscribe([HealthReported], world.hear)
        async with prober(world, broker, snapshot(service())):
            said = [(await world.round()).healthy[A]]
            world.sick = {A}
            said += [(await world.round()).healthy[A] for _ in range(2)]
            world.sick = set()
            said += [(await world.round()).healthy[A] for _ in range(2)]
    assert said == [True, True, False, False, True]


async def test_why_is_told_when_it_turns(caplog: pytest.LogCaptureFixture) -> None:
    """One line at the transition has the cause; further failures are only counted."""
    world = World()
    world.sick = {B}
    async with EmbeddedBroker() as broker, prober(world, broker, snapshot(service())):
        await world.wake()
        await world.wake()
    assert world.outcomes["users", "status"] == 2
    assert [record.getMessage() for record in caplog.records] == [
        f"users: {B} is unhealthy: status: 503"
    ]


async def test_rounds_do_not_fall_into_step() -> None:
    """The first comes within a second, the others at the interval and up to a tenth beside it."""
    world = World()
    async with EmbeddedBroker() as broker, prober(world, broker, snapshot(service())):
        await world.wake()
        await world.wake()
    assert world.sleeps == [0.25, 28.5, 28.5]


async def test_services_without_a_check_are_left_alone() -> None:
    """Nobody asks them anything."""
    world = World()
    silent = service("silent").model_copy(update={"health_check": None})
    async with EmbeddedBroker() as broker, prober(world, broker, snapshot(silent)) as probing:
        await world.wake()
        assert probing.healthy == {}
    assert world.sleeps == []


async def test_who_comes_late_is_told() -> None:
    """All who ask within a moment get one report of each service; nothing unknown is said."""
    world = World()
    async with EmbeddedBroker() as broker:
        await broker.subscribe([HealthReported], world.hear)
        async with prober(world, broker, snapshot(service(), service("orders"))) as probing:
            await turns()
            probing._report_all()  # nothing is known yet
            await world.wake()
            first = {world.reports.get_nowait().service for _ in range(2)}
            for _ in range(5):
                broker.publish_event(StateWanted(kind="health"))
            broker.publish_event(StateWanted(kind="breaker"))
            again = [await world.reports.get() for _ in range(2)]
            await turns()
            assert world.reports.empty()
    assert first == {report.service for report in again} == {"users", "orders"}
    assert [report.sequence for report in again] == [3, 4]


async def test_one_probes_and_another_follows() -> None:
    """Of two processes only the leader asks; when it is gone the other begins."""
    server = EmbeddedServer()
    world, other = World(), World()
    async with EmbeddedBroker(server=server) as standing:
        await standing.subscribe([HealthReported], other.hear)
        async with (
            EmbeddedBroker(server=server) as broker,
            prober(world, broker, snapshot(service())) as leader,
            prober(other, standing, snapshot(service()), "w2") as follower,
        ):
            await world.wake()
            await other.wake()
            assert (leader.leading, follower.leading) == (True, False)
            assert (leader.healthy, follower.healthy) == ({"users": {A: True, B: True}}, {})
            assert (world.followed, other.followed) == ({"users"}, set())
            await broker.__aexit__()
            await turns()
            assert (leader.leading, follower.leading) == (False, True)
            assert leader.healthy == {}
            assert (world.followed, other.followed) == (set(), {"users"})
            await other.wake()
    assert world.asked == other.asked == {f"{A}/health": 1, f"{B}/health": 1}
    reports = [other.reports.get_nowait() for _ in range(other.reports.qsize())]
    assert [report.node for report in reports] == ["w1", "w2"]


async def test_instances_come_and_go() -> None:
    """A round asks those that there are; one that comes back has no past, who left is not named."""
    world = World()
    world.found["users"] = []
    async with EmbeddedBroker() as broker:
        await broker.subscribe([HealthReported], world.hear)
        async with prober(world, broker, snapshot(service())) as probing:
            await world.wake()
            assert world.reports.empty()  # nobody is known, and nothing is said of that
            world.found["users"], world.sick = [A, B], {B}
            said = [(await world.round()).healthy]
            world.found["users"] = [A]
            said += [(await world.round()).healthy]
            world.found["users"], world.sick = [B, A], {A}
            said += [(await world.round()).healthy]
            assert probing.healthy == {"users": {A: True, B: True}}
    assert said == [{A: True, B: False}, {A: True}, {A: True, B: True}]


async def test_a_change_of_configuration_keeps_what_is_known() -> None:
    """A service that changes is probed anew, on top of its verdicts; others are not disturbed."""
    world = World()
    async with EmbeddedBroker() as broker:
        await broker.subscribe([HealthReported], world.hear)
        first = snapshot(service("users", A, B), service("orders"), service("left"))
        async with prober(world, broker, first) as probing:
            await world.wake()
            world.sick = {A}
            probing.use(snapshot(service("users", A, "http://c:1"), service("orders")))
            await turns()
            assert world.sleeps[-1] == 0.25  # one begins anew
            assert len(world.sleeps) == 7
            assert set(probing.healthy) == {"users", "orders"}
            await world.wake()
            assert probing.healthy["users"] == {A: True, "http://c:1": True}
    assert {f"{name}/health" for name in (A, B, "http://c:1")} == set(world.asked)


async def test_nothing_is_asked_after_the_stop() -> None:
    """What is under way is broken off, and a late word that it leads changes nothing."""
    world = World()
    async with (
        EmbeddedBroker() as broker,
        prober(world, broker, snapshot(service())) as probing,
    ):
        await turns()
        await probing.stop()
        probing._on_leading(True)
        await world.wake()
        assert not probing.leading
        assert world.asked == {}


async def test_a_round_that_fails_is_not_the_last(caplog: pytest.LogCaptureFixture) -> None:
    """A fault of this project's own is logged, and the service is probed again."""
    world = World()
    world.broken = True
    async with EmbeddedBroker() as broker:
        await broker.subscribe([HealthReported], world.hear)
        async with prober(world, broker, snapshot(service())):
            await world.wake()
            assert "users: a round of probes failed" in caplog.text
            assert world.reports.empty()
            world.broken = False
            assert (await world.round()).healthy == {A: True, B: True}


async def test_reports_are_valid_for_some_rounds() -> None:
    """Three, but no shorter than another may need to take over."""
    slow, quick = service(interval=300.0).health_check, service(interval=1.0).health_check
    assert slow is not None
    assert quick is not None
    assert (valid_for(slow), valid_for(quick)) == (900.0, 60.0)
