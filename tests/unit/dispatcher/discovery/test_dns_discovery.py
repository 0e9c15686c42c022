"""What becomes of answers, and when the next one is asked for; time is the test's."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from dispatcher.discovery.dns_discovery import MOST_INSTANCES, DnsDiscovery
from dispatcher.discovery.dns_lookup import Endpoint, Found, LookupFailed
from dispatcher.discovery.listener import DiscoveryListener
from dispatcher.service_discovery import Instance, StaticDiscovery
from dispatcher.upstream import Address
from tests.unit.dispatcher.doubles import service, settled

DNS = {"type": "dns"}
NXDOMAIN = LookupFailed("no_such_name", "gone")


class Bench(DiscoveryListener):
    """Answers lookups, and holds the sleep between two."""

    def __init__(self, *answers: Found | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str | None]] = []
        self.slept: list[float] = []
        self.failures: list[str] = []
        self._awake = asyncio.Event()

    async def find(self, name: str, record: str | None) -> Found:
        self.asked.append((name, record))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self._awake.clear()
        await self._awake.wait()

    async def next(self, *answers: Found | Exception) -> None:
        """Let the time pass until each of these was given."""
        for answer in answers:
            self.answers.append(answer)
            self._awake.set()
            await settled()

    def lookup_failed(self, service: str, reason: str) -> None:
        self.failures.append(reason)


def found(*ips: str, ttl: float = 30) -> Found:
    return Found([Endpoint(ip) for ip in ips], ttl)


def of(bench: Bench, **changes: Any) -> DnsDiscovery:
    found_by = service(**{"discovery": DNS, **changes})
    return DnsDiscovery(found_by, bench, bench, sleep=bench.sleep, jitter=lambda: 0)


@asynccontextmanager
async def following(bench: Bench, **changes: Any) -> AsyncIterator[DnsDiscovery]:
    async with of(bench, **changes) as discovery:
        await discovery.tried()
        await settled()
        yield discovery


def names(discovery: DnsDiscovery) -> list[str]:
    return [instance.name for instance in discovery.instances]


async def test_addresses_are_instances() -> None:
    """Each is called at its IP, under the name and port and path of ``base_url``."""
    bench = Bench(found("10.0.0.1", "::1"))
    async with following(bench, base_url="https://users.test:8443/v2") as discovery:
        assert discovery.instances == (
            Instance(
                "https://10.0.0.1:8443/v2",
                Address("https", "users.test", 8443, "/v2", "10.0.0.1"),
            ),
            Instance("https://[::1]:8443/v2", Address("https", "users.test", 8443, "/v2", "::1")),
        )
    assert bench.asked == [("users.test", None)]


async def test_services_are_instances() -> None:
    """SRV brings port and weight; without ``base_url`` the target is the host, over http."""
    endpoint = Endpoint("10.0.0.1", 8080, 7, "a.test")
    discovery_by = {**DNS, "name": "_http._tcp.users.test", "record": "SRV"}
    bench = Bench(Found([endpoint], 30))
    async with following(bench, base_url=None, discovery=discovery_by) as discovery:
        address = Address("http", "a.test", 8080, ip="10.0.0.1")
        assert discovery.instances == (Instance("http://10.0.0.1:8080", address, 7),)
    assert bench.asked == [("_http._tcp.users.test", "SRV")]


@pytest.mark.parametrize(("ttl", "pause"), [(30, 30), (0, 1), (0.5, 1), (86_400, 300)], ids=str)
async def test_the_next_lookup_is_when_the_ttl_is_over(ttl: float, pause: float) -> None:
    """Not earlier, within a floor and a cap."""
    bench = Bench(found("10.0.0.1", ttl=ttl))
    async with following(bench):
        assert bench.slept == [pause]


async def test_changes_come_as_another_sequence() -> None:
    """Who holds the old one sees nothing of it; what did not change is the same sequence."""
    bench = Bench(found("10.0.0.1", "10.0.0.2"))
    async with following(bench) as discovery:
        first = discovery.instances
        await bench.next(found("10.0.0.2", "10.0.0.1"))
        assert discovery.instances is first
        await bench.next(found("10.0.0.2", "10.0.0.3"))
        assert names(discovery) == ["http://10.0.0.2:8080", "http://10.0.0.3:8080"]
        assert [each.name for each in first] == ["http://10.0.0.1:8080", "http://10.0.0.2:8080"]


async def test_a_failure_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Known instances stay; each is counted, each kind told once, and so is the end of it."""
    timeout = LookupFailed("timeout", "late")
    bench = Bench(found("10.0.0.1"))
    async with following(bench) as discovery:
        await bench.next(NXDOMAIN, NXDOMAIN, timeout, RuntimeError("a fault"))
        assert names(discovery) == ["http://10.0.0.1:8080"]
        assert discovery.failing
        assert bench.failures == ["no_such_name", "no_such_name", "timeout", "error"]
        await bench.next(found("10.0.0.1"))
        assert not discovery.failing
    assert len([each for each in caplog.messages if "known ones stay" in each]) == 3
    assert caplog.messages[-1] == "DNS has instances of users again"


async def test_pauses_after_failures_grow() -> None:
    """By half of chance, doubling, to a bound; after an answer all is as at first."""
    bench = Bench(NXDOMAIN)
    async with following(bench):
        await bench.next(*[NXDOMAIN] * 7, found("10.0.0.1"), NXDOMAIN)
    assert bench.slept == [0.5, 1, 2, 4, 8, 15, 15, 15, 30, 0.5]


async def test_other_settings_of_the_same_name_hold_for_the_addresses_that_are_known() -> None:
    """At once, if need be without DNS; what it says later takes their place."""
    async with following(Bench(found("10.0.0.1", "10.0.0.2"))) as before:
        bench = Bench(NXDOMAIN)
        after = of(bench, base_url="https://users.test:8443/v2", discovery={**DNS, "record": "A"})
        after.take_over(before)
        address = Address("https", "users.test", 8443, "/v2", "10.0.0.1")
        assert after.instances[0] == Instance("https://10.0.0.1:8443/v2", address)
        async with after:
            await settled()
            assert names(after) == ["https://10.0.0.1:8443/v2", "https://10.0.0.2:8443/v2"]
            await bench.next(found("10.0.0.3"))
            assert names(after) == ["https://10.0.0.3:8443/v2"]


async def test_instances_stay_as_they_were_until_another_name_is_found() -> None:
    """Wherever they were from, and through another change of the settings meanwhile."""
    static = StaticDiscovery(service(base_url="http://old.test/v1"))
    first, second = (of(Bench(), base_url=f"http://new.test/{path}") for path in ("v1", "v2"))
    first.take_over(static)
    second.take_over(first)
    assert second.instances == first.instances == static.instances
    async with following(Bench(found("10.0.0.1"))) as before:
        elsewhere = of(Bench(), base_url="http://elsewhere.test/v2")
        elsewhere.take_over(before)
        assert elsewhere.instances == before.instances


async def test_a_bounded_number_is_used(caplog: pytest.LogCaptureFixture) -> None:
    """An endless answer does not become endless instances, and the log says so."""
    endpoints = [Endpoint("10.0.0.1", port) for port in range(1, MOST_INSTANCES + 6)]
    async with following(Bench(Found(endpoints, 30))) as discovery:
        assert len(discovery.instances) == MOST_INSTANCES
    assert "only 1000 instances of users are used" in caplog.text
