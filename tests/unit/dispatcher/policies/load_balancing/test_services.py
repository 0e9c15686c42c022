"""The balancers of all services."""

import logging
from collections.abc import Iterable
from typing import Any

import pytest

from dispatcher.call_end import Verdict
from dispatcher.listener import DispatcherListener, InstanceStates, Panics
from dispatcher.policies.load_balancing.services import Balancers
from dispatcher.service_discovery import StaticDiscovery
from tests.unit.dispatcher.doubles import Clock, service

URLS = ["http://a.test", "http://b.test"]


class Heard(DispatcherListener):
    """Keeps the news, and what states can be looked at."""

    def __init__(self) -> None:
        self.news: list[tuple[str, ...]] = []
        self.states: InstanceStates = lambda: ()
        self.panics: Panics = lambda: ()

    def balancing(self, states: InstanceStates, panics: Panics) -> None:
        self.states = states
        self.panics = panics

    def instance_out(self, service: str, instance: str, reason: str) -> None:
        self.news.append((service, instance, reason))

    def instance_returned(self, service: str, instance: str) -> None:
        self.news.append((service, instance, "returned"))


class Bench:
    """Balancers on a clock that stands until it is moved."""

    def __init__(self, zone: str | None = None) -> None:
        self.clock = Clock(0.0)
        self.heard = Heard()
        self.balancers = Balancers(self.heard, zone, self.clock)

    def serve(self, name: str = "users", **changes: Any) -> tuple[object, StaticDiscovery]:
        """The balancer of a service as configured, and its instances."""
        values: dict[str, Any] = {"base_url": None, "instances": [{"url": url} for url in URLS]}
        of = service(name, **values | changes)
        discovery = StaticDiscovery(of)
        return self.balancers.of(of, discovery.instances), discovery

    def fail(self, discovery: StaticDiscovery) -> None:
        """Have the first instance fail until it is ejected."""
        balancer = self.balancers._by_service["users"]
        for _ in range(5):
            balancer.began(discovery.instances[0])
            balancer.ended(discovery.instances[0], Verdict.FAILURE, 0.1)


def states(bench: Bench) -> Iterable[tuple[str, str, str]]:
    return list(bench.heard.states())


def test_state_survives_a_change_of_configuration() -> None:
    """The same service keeps its balancer, whatever changes about it."""
    bench = Bench()
    before, discovery = bench.serve()
    bench.fail(discovery)

    after, _ = bench.serve(strategy="adaptive", timeout=3)

    assert after is before
    assert states(bench) == [
        ("users", URLS[0], "ejected"),
        ("users", URLS[1], "healthy"),
    ]


def test_the_strategy_is_the_configured_one() -> None:
    """It is changed with the configuration."""
    bench = Bench()
    weights = [{"url": URLS[0], "weight": 2}, {"url": URLS[1]}]
    _, discovery = bench.serve(instances=weights, strategy="weighted_round_robin")
    balancer = bench.balancers._by_service["users"]
    a, b = discovery.instances
    assert [balancer.pick(discovery.instances) for _ in range(3)] == [a, b, a]

    _, discovery = bench.serve(instances=weights)

    a, b = discovery.instances
    assert [balancer.pick(discovery.instances) for _ in range(4)] == [a, b, a, b]


def test_a_service_that_is_gone_is_forgotten() -> None:
    """Nothing is told of it; when it comes again it is a new one."""
    bench = Bench()
    before, _ = bench.serve()
    bench.serve("orders")

    bench.balancers.retain({"orders": None})

    assert {name for name, _, _ in states(bench)} == {"orders"}
    assert bench.serve()[0] is not before


def test_news_are_logged_once_and_passed_on(caplog: pytest.LogCaptureFixture) -> None:
    """An ejection, a failed probe and each return are a line and an event."""
    bench = Bench()
    _, discovery = bench.serve()
    with caplog.at_level(logging.INFO):
        bench.fail(discovery)
        bench.clock.now += 30
        bench.balancers._by_service["users"].pick(discovery.instances)
        bench.balancers.set_probed("users", URLS[1], healthy=False)
        bench.balancers.set_probed("users", URLS[1], healthy=True)

    assert bench.heard.news == [
        ("users", URLS[0], "ejected"),
        ("users", URLS[0], "returned"),
        ("users", URLS[1], "unhealthy"),
        ("users", URLS[1], "returned"),
    ]
    assert [record.getMessage() for record in caplog.records] == [
        "users: http://a.test failed too many calls in a row, ejected for 30 s",
        "users: http://a.test gets calls again",
        "users: http://b.test fails its health checks",
        "users: http://b.test gets calls again",
    ]


def test_reports_about_the_unknown_are_nothing() -> None:
    """Probes may be ahead of this dispatcher, or behind."""
    bench = Bench()
    bench.serve()
    bench.balancers.set_probed("users", "http://c.test", healthy=False)
    bench.balancers.set_probed("orders", URLS[0], healthy=False)

    assert {state for _, _, state in states(bench)} == {"healthy"}


def test_the_own_zone_is_preferred() -> None:
    """The dispatcher's zone counts for every service."""
    bench = Bench(zone="z2")
    _, discovery = bench.serve(
        instances=[{"url": URLS[0], "zone": "z1"}, {"url": URLS[1], "zone": "z2"}]
    )
    balancer = bench.balancers._by_service["users"]
    picked = [balancer.pick(discovery.instances) for _ in range(3)]

    assert picked == [discovery.instances[1]] * 3


def test_panic_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Once when it begins, once when it ends, and to those who look meanwhile."""
    bench = Bench()
    bench.serve()
    bench.serve("calm")
    for url in URLS:
        bench.balancers.set_probed("users", url, healthy=False)
    assert list(bench.heard.panics()) == [("users", True), ("calm", False)]
    assert "users: only 0 of 2 instances are well, so all get calls (panic)" in caplog.messages
    for url in URLS:
        bench.balancers.set_probed("users", url, healthy=True)
    assert list(bench.heard.panics()) == [("users", False), ("calm", False)]
    told = [message for message in caplog.messages if "enough instances" in message]
    assert told == ["users: enough instances are well, only those get calls"]
    assert len([message for message in caplog.messages if "panic" in message]) == 1
