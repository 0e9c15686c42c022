"""A dispatcher from start to stop, and from one configuration to the next."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pytest

from broker.contract import ConnectionState
from broker.events import HealthReported, StateWanted
from config.models.gateway import Drain, GatewayOptions
from config.models.routes import Route
from config.models.services import Service
from config.models.tiers import Tier
from config.snapshot import Snapshot
from dispatcher.lifecycle import Dispatcher
from dispatcher.listener import DispatcherListener
from dispatcher.options import PoolLimits
from dispatcher.policies.circuit_breaker import CircuitBreaker, State, Transition
from dispatcher.upstream import ConnectFailed, ConnectionLost
from tests.unit.dispatcher.doubles import (
    TIERS,
    Clock,
    HeldClient,
    RecordingBroker,
    envelope,
    post,
    service,
    settled,
    tier,
)


def snapshot(
    *services: Service,
    routes: Sequence[Route] = (),
    tiers: Mapping[str, Tier] = TIERS,
    drain_timeout: float = 30,
) -> Snapshot:
    """A configuration with these services."""
    return Snapshot(
        routes=tuple(routes),
        services={service.name: service for service in services},
        tiers=tiers,
        options=GatewayOptions(drain=Drain(timeout=drain_timeout)),
    )


class Bench:
    """A dispatcher with a broker and a client that the test holds."""

    def __init__(self, first: Snapshot, listener: DispatcherListener | None = None) -> None:
        self.broker = RecordingBroker()
        self.client = HeldClient()
        self.clock = Clock()
        self.dispatcher = Dispatcher(
            self.broker, self.client, first, listener=listener, now=self.clock
        )

    def consumed(self) -> set[str]:
        """Routing keys of the queues that are consumed now."""
        subscriptions = self.broker.subscriptions.items()
        return {key for key, subscription in subscriptions if not subscription.cancelled}


def keys(*services: str) -> set[str]:
    """The routing keys of these services."""
    return {f"{name}.{tier_name}" for name in services for tier_name in TIERS}


async def test_every_service_is_served_from_entering_to_leaving() -> None:
    """Inside, each service's queues are consumed; afterwards none is."""
    bench = Bench(snapshot(service("users"), service("orders")))

    async with bench.dispatcher:
        assert bench.consumed() == keys("users", "orders")

    assert bench.consumed() == set()


async def test_leaving_answers_what_is_under_way() -> None:
    """It waits for calls, sends their replies, and has given back all that it had not begun."""
    bench = Bench(snapshot(service(limit=1)))
    await bench.dispatcher.__aenter__()
    for id_ in ("running", "waiting"):
        bench.broker.deliver(envelope(id_))
    await settled()
    assert bench.dispatcher.in_flight == 1

    stop = asyncio.create_task(bench.dispatcher.stop())
    await settled()
    assert bench.broker.log == ["waiting give back"]
    assert not stop.done()
    assert bench.dispatcher.in_flight == 1
    bench.client.calls[0].answer()
    await stop

    assert bench.broker.log == ["waiting give back", "running reply 200", "running ack"]
    assert bench.dispatcher.in_flight == 0


async def test_a_second_signal_breaks_off() -> None:
    """A forced stop has the GET retried at once and answers the POST, long before the timeout."""
    bench = Bench(snapshot(service(), drain_timeout=3600))
    await bench.dispatcher.__aenter__()
    bench.broker.deliver(envelope("get"))
    bench.broker.deliver(post("post"))
    await settled()
    stop = asyncio.create_task(bench.dispatcher.stop())
    await settled()
    assert not stop.done()

    bench.dispatcher.force()
    await stop

    assert bench.broker.log == ["post ack", "get retry", "post reply 502"]


async def test_stopping_is_bounded_by_the_drain_timeout() -> None:
    """A call that never ends does not keep the process."""
    bench = Bench(snapshot(service(), drain_timeout=0))
    async with bench.dispatcher:
        delivery = bench.broker.deliver(envelope())
        await settled()

    assert delivery.settled == "retry"


class TestUse:
    """From one configuration to the next."""

    async def test_new_services_come_and_gone_ones_go(self) -> None:
        """A gone service finishes what it has under way; others aren't touched."""
        bench = Bench(snapshot(service("users"), service("orders")))
        async with bench.dispatcher:
            untouched = bench.broker.subscriptions["users.FREE"]
            bench.broker.deliver(envelope("order", service="orders"))
            await settled()

            await bench.dispatcher.use(snapshot(service("users"), service("carts")))
            await settled()
            assert bench.consumed() == keys("users", "carts")
            assert bench.broker.subscriptions["users.FREE"] is untouched
            assert bench.dispatcher.in_flight == 1
            bench.client.calls[0].answer()
            await settled()

            assert bench.broker.log == ["order reply 200", "order ack"]
            assert bench.dispatcher.in_flight == 0

    async def test_a_changed_address_needs_no_new_consumer(self) -> None:
        """The next message goes to the new address; the one under way stays where it is."""
        bench = Bench(snapshot(service()))
        async with bench.dispatcher:
            before = bench.broker.subscriptions["users.FREE"]
            bench.broker.deliver(envelope("old"))
            await settled()
            await bench.dispatcher.use(snapshot(service(base_url="http://new.test", timeout=1)))
            bench.broker.deliver(envelope("new"))
            await settled()

            assert bench.broker.subscriptions["users.FREE"] is before
            assert [(c.address.host, c.timeout) for c in bench.client.calls] == [
                ("users.test", 10),
                ("new.test", 1),
            ]
            for call in bench.client.calls:
                call.answer()

    async def test_a_changed_limit_is_taken_over_in_order(self) -> None:
        """A new consumer has the new slots; the old one gives back what it had not begun."""
        bench = Bench(snapshot(service(limit=1)))
        async with bench.dispatcher:
            for id_ in ("running", "waiting"):
                bench.broker.deliver(envelope(id_))
            await settled()
            await bench.dispatcher.use(snapshot(service(limit=8)))
            await settled()
            assert bench.broker.subscriptions["users.FREE"].prefetch == 10
            assert bench.broker.log == ["waiting give back"]

            bench.broker.deliver(envelope("waiting"))
            await settled()
            assert len(bench.client.calls) == 2
            for call in bench.client.calls:
                call.answer()

    @pytest.mark.parametrize(
        ("changes", "limit"),
        [
            ({"timeout": 1}, 3),
            ({"concurrency": {"mode": "adaptive", "limit": 100}}, 10),
            ({"concurrency": {"limit": 36}}, 36),
        ],
    )
    async def test_an_adaptive_limit_survives(self, changes: dict[str, Any], limit: int) -> None:
        """What it has come to holds until its own settings change."""
        adaptive = {"mode": "adaptive", "limit": 36}
        limits: list[Callable[[], int]] = []

        class Watching(DispatcherListener):
            def consuming(
                self, service: str, in_flight: Callable[[], int], limit: Callable[[], int]
            ) -> None:
                limits.append(limit)

        bench = Bench(snapshot(service(concurrency=adaptive)), Watching())
        async with bench.dispatcher:
            assert limits[-1]() == 6
            while limits[-1]() > 3:
                bench.clock.now += 1
                for number in range(8):
                    bench.broker.deliver(envelope(str(number)))
                await settled()
                while under_way := [c for c in bench.client.calls if not c.future.done()]:
                    for call in under_way:
                        call.answer(503)
                    await settled()
                bench.broker.replies.clear()
                bench.client.calls.clear()

            await bench.dispatcher.use(snapshot(service(**{"concurrency": adaptive, **changes})))

            assert limits[-1]() == limit

    async def test_a_new_tier_is_consumed(self) -> None:
        """A tier that was added has its queue from then on."""
        bench = Bench(snapshot(service()))
        async with bench.dispatcher:
            await bench.dispatcher.use(snapshot(service(), tiers={**TIERS, "GOLD": tier(5)}))
            await settled()

            assert bench.consumed() == {*keys("users"), "users.GOLD"}

    async def test_each_service_is_called_in_its_own_way(self) -> None:
        """What services.yaml says of connections and answers holds from the next call on."""
        bench = Bench(snapshot(service(connections={"limit": 7, "read_timeout": 3})))
        async with bench.dispatcher:
            await bench.dispatcher.use(snapshot(service(max_response=1000)))

        first, second = bench.client.options
        assert first.limits == PoolLimits(max_connections=7, read_timeout=3)
        assert second.limits == PoolLimits(max_response=1000)
        assert first.tls is second.tls is None

    async def test_what_is_known_of_instances_survives(self) -> None:
        """An instance that was ejected stays so under the next configuration."""
        urls = [{"url": "http://a.test"}, {"url": "http://b.test"}]
        heard: list[Callable[[], Iterable[tuple[str, str, str]]]] = []

        class Watching(DispatcherListener):
            def balancing(
                self, states: Callable[[], Iterable[tuple[str, str, str]]], _: object
            ) -> None:
                heard.append(states)

        bench = Bench(snapshot(service(base_url=None, instances=urls)), Watching())
        async with bench.dispatcher:
            for number in range(10):
                bench.broker.deliver(envelope(f"r{number}"))
                await settled()
                if bench.client.calls[-1].address.host == "a.test":
                    bench.client.calls[-1].fail(ConnectFailed("refused", sent=False))
                else:
                    bench.client.calls[-1].answer()
                await settled()

            await bench.dispatcher.use(
                snapshot(service(base_url=None, instances=urls, strategy="adaptive", limit=9))
            )

            (states,) = heard
            assert list(states()) == [
                ("users", "http://a.test", "ejected"),
                ("users", "http://b.test", "healthy"),
            ]
            bench.dispatcher.balancers.set_probed("users", "http://b.test", healthy=False)
            assert [state for _, _, state in states()] == ["ejected", "unhealthy"]

    async def test_changes_follow_each_other(self) -> None:
        """Two changes at once end in the state of the second."""
        bench = Bench(snapshot(service("a")))
        async with bench.dispatcher:
            await asyncio.gather(
                bench.dispatcher.use(snapshot(service("b"))),
                bench.dispatcher.use(snapshot(service("c"))),
            )
            await settled()

            assert bench.consumed() == keys("c")
            assert [name for name, _, _ in bench.dispatcher.balancers._states()] == ["c"]


async def test_a_lost_connection_is_heard_and_a_restored_one_too() -> None:
    """What waited is forgotten, and replies that could not be sent go out afterwards."""
    bench = Bench(snapshot(service(limit=1)))
    async with bench.dispatcher:
        for id_ in ("running", "waiting"):
            bench.broker.deliver(post(id_))
        await settled()
        bench.broker.become(ConnectionState.DISCONNECTED)
        bench.client.calls[0].answer()
        await settled()
        assert bench.broker.replies == {}

        bench.broker.become(ConnectionState.CONNECTED)

        assert bench.broker.replies.keys() == {"running"}
        assert len(bench.client.calls) == 1


async def test_listeners_can_look_at_what_is_in_flight() -> None:
    """For each service, the listener is given a way to see how much is under way, and may be."""
    seen: dict[str, Callable[[], int]] = {}
    limits: dict[str, Callable[[], int]] = {}

    class Watching(DispatcherListener):
        def consuming(
            self, service: str, in_flight: Callable[[], int], limit: Callable[[], int]
        ) -> None:
            seen[service] = in_flight
            limits[service] = limit

    bench = Bench(snapshot(service("users"), service("orders")), Watching())
    async with bench.dispatcher:
        bench.broker.deliver(envelope())
        await settled()
        assert {name: in_flight() for name, in_flight in seen.items()} == {"users": 1, "orders": 0}
        assert {name: limit() for name, limit in limits.items()} == {"users": 2, "orders": 2}
        bench.client.calls[0].answer()


# --- what policies remember ---------------------------------------------------------------------


def guarded(name: str = "users", **changes: Any) -> Service:
    """A service with a breaker that one failure opens."""
    options = {"failure_threshold": 1, **changes.pop("circuit_breaker", {})}
    return service(name, circuit_breaker=options, **changes)


async def open_breaker(bench: Bench, of: str = "users") -> None:
    """Let a call of the service fail."""
    bench.broker.deliver(envelope(f"fail-{of}", service=of))
    await settled()
    bench.client.calls[-1].fail(ConnectionLost("gone", sent=True))
    await settled()


async def test_a_breaker_survives_changes_elsewhere() -> None:
    """Routes, tiers, other services and settings that do not concern it leave it open."""
    bench = Bench(snapshot(guarded(), service("orders")))
    async with bench.dispatcher:
        await open_breaker(bench)
        changed = [guarded(timeout=5.0, limit=7), guarded("others")]
        await bench.dispatcher.use(snapshot(*changed, tiers={"FREE": tier(weight=3)}))
        breakers = bench.dispatcher.breakers
        bench.broker.deliver(envelope("after"))
        await settled()

    assert {name: breaker.state for name, breaker in breakers.items()} == {
        "users": State.OPEN,
        "others": State.CLOSED,
    }
    assert bench.broker.replies["after"].status == 503
    assert len(bench.client.calls) == 1


@pytest.mark.parametrize(
    "instances",
    [
        [{"url": "http://users.test:8080"}, {"url": "http://more.test"}],
        [{"url": "http://users.test:8080", "weight": 5}],
    ],
)
async def test_a_breaker_survives_other_instances(instances: list[dict[str, Any]]) -> None:
    """An instance that is added, or weighted, does not end the outage of the service."""
    bench = Bench(snapshot(guarded()))
    async with bench.dispatcher:
        await open_breaker(bench)
        await bench.dispatcher.use(snapshot(guarded(base_url=None, instances=instances)))
        assert bench.dispatcher.breakers["users"].state is State.OPEN


@pytest.mark.parametrize(
    "changed",
    [
        guarded(base_url="http://elsewhere.test"),
        guarded(circuit_breaker={"reset_timeout": 1}),
        service(),
    ],
)
async def test_another_address_or_breaker_begins_anew(changed: Service) -> None:
    """What was learned at the old address, or under other rules, does not hold."""
    bench = Bench(snapshot(guarded()))
    async with bench.dispatcher:
        await open_breaker(bench)
        await bench.dispatcher.use(snapshot(changed))
        bench.broker.deliver(envelope("after"))
        await settled()
        bench.client.calls[-1].answer()
        await settled()

    assert bench.broker.replies["after"].status == 200


async def test_a_service_falls_back_to_another() -> None:
    """Whichever of them the configuration lists first, and after a change of it too."""
    first = guarded(circuit_breaker={"fallback_service": "others"})
    others = service("others", base_url="http://others.test")
    bench = Bench(snapshot(first, others))
    async with bench.dispatcher:
        await open_breaker(bench)
        for number in range(2):
            bench.broker.deliver(envelope(f"r{number}"))
            await settled()
            assert bench.client.calls[-1].address.host == "others.test"
            bench.client.calls[-1].answer()
            await settled()
            await bench.dispatcher.use(snapshot(others, first))

    assert [bench.broker.replies[f"r{n}"].instance for n in range(2)] == ["http://others.test"] * 2


class TestFallbackWithinItsLimit:
    """The outage of one service does not flood the one that stands in for it."""

    class Counting(DispatcherListener):
        """Whose calls and refusals are counted."""

        def __init__(self) -> None:
            self.called_of: list[str] = []
            self.refused_by: list[str] = []

        def called(self, service: str, seconds: float) -> None:
            self.called_of.append(service)

        def fallback_refused(self, service: str) -> None:
            self.refused_by.append(service)

    @staticmethod
    def bench(listener: DispatcherListener | None = None) -> Bench:
        """`users` falls back to `others`, which is called twice at a time."""
        first = guarded(limit=10, circuit_breaker={"fallback_service": "others"})
        others = service("others", base_url="http://others.test", limit=2)
        return Bench(snapshot(first, others), listener)

    async def test_no_more_calls_than_it_has_slots(self) -> None:
        """Those beyond are refused at once; calls and refusals count for who was called."""
        counting = self.Counting()
        bench = self.bench(counting)
        async with bench.dispatcher:
            await open_breaker(bench)
            for number in range(5):
                bench.broker.deliver(envelope(f"r{number}"))
            await settled()
            calls = bench.client.calls[1:]
            assert [call.address.host for call in calls] == ["others.test"] * 2
            refused = {
                reply.status for name, reply in bench.broker.replies.items() if name[0] == "r"
            }
            assert (refused, counting.refused_by) == ({503}, ["others"] * 3)
            for call in calls:
                call.answer()
            await settled()
            assert counting.called_of == ["users", "others", "others"]

    async def test_its_own_messages_and_guests_share_its_slots(self) -> None:
        """Its own wait while guests have them all, and go on when one of those has left."""
        bench = self.bench()
        async with bench.dispatcher:
            await open_breaker(bench)
            for number in range(2):
                bench.broker.deliver(envelope(f"guest{number}"))
            await settled()
            bench.broker.deliver(envelope("own", service="others"))
            await settled()
            assert len(bench.client.calls) == 3
            bench.client.calls[1].answer()
            await settled()
            assert len(bench.client.calls) == 4

            bench.broker.deliver(envelope("late"))
            await settled()
            assert bench.broker.replies["late"].status == 503
            for call in bench.client.calls[2:]:
                call.answer()
            await settled()
        assert bench.broker.replies["own"].status == 200


async def test_a_breaker_that_opens_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """With its service, and why."""
    bench = Bench(snapshot(guarded()))
    async with bench.dispatcher:
        await open_breaker(bench)
    [line] = [text for text in caplog.messages if "breaker" in text]
    assert line.startswith("circuit breaker of users OPEN until")
    assert line.endswith("failures in a row: 1")


async def test_held_messages_can_be_seen() -> None:
    """How many of a service wait for its breaker, and that they do not any more."""
    held: dict[str, Callable[[], int]] = {}

    class Watching(DispatcherListener):
        def holding(self, service: str, held_: Callable[[], int]) -> None:
            held[service] = held_

    patient = Route(path="/x", service="users", name="list-users", when_open="hold")
    bench = Bench(snapshot(guarded(), service("orders"), routes=[patient]), Watching())
    async with bench.dispatcher:
        await open_breaker(bench)
        for number in range(2):
            bench.broker.deliver(envelope(f"r{number}"))
        await settled()
        assert {name: count() for name, count in held.items()} == {"users": 2, "orders": 0}
    assert held["users"]() == 0


async def test_what_listeners_hear_of_a_breaker() -> None:
    """That there is one, each change of its state, and that there is none any more."""
    heard: list[tuple[str, str]] = []

    class Listener(DispatcherListener):
        def guarding(self, service: str, breaker: CircuitBreaker) -> None:
            heard.append((service, breaker.state))

        def unguarded(self, service: str) -> None:
            heard.append((service, "none"))

        def breaker_changed(self, service: str, transition: Transition) -> None:
            heard.append((service, transition.state))

    bench = Bench(snapshot(guarded(), service("orders")), Listener())
    async with bench.dispatcher:
        await open_breaker(bench)
        await bench.dispatcher.use(snapshot(guarded("others"), service()))

    assert heard == [
        ("users", "CLOSED"),
        ("users", "OPEN"),
        ("others", "CLOSED"),
        ("users", "none"),
    ]


# --- what workers find ----------------------------------------------------------------------------


def probed(name: str, healthy: dict[str, bool]) -> HealthReported:
    """What workers say of a service."""
    return HealthReported(service=name, node="w1", sequence=1, valid_for=60.0, healthy=healthy)


def asked(bench: Bench) -> int:
    """How often what is known of instances was asked for."""
    return bench.broker.events.count(StateWanted(kind="health"))


async def test_who_starts_asks_what_is_known_of_instances() -> None:
    """At the start, and whenever a connection stands again: meanwhile news has passed unheard."""
    bench = Bench(snapshot(service("users")))
    async with bench.dispatcher:
        assert asked(bench) == 1
        bench.broker.become(ConnectionState.DISCONNECTED)
        bench.broker.become(ConnectionState.CONNECTED)
    assert asked(bench) == 2


async def test_who_starts_without_a_broker_asks_when_it_is_there() -> None:
    """There is nobody to ask before."""
    bench = Bench(snapshot(service("users")))
    bench.broker.state = ConnectionState.DISCONNECTED
    async with bench.dispatcher:
        assert asked(bench) == 0
        bench.broker.become(ConnectionState.CONNECTED)
        assert asked(bench) == 1


def probed_service(*hosts: str) -> Service:
    """Users, on these hosts, with a health check."""
    instances = [{"url": f"http://{host}"} for host in hosts]
    return Service.model_validate({"name": "users", "instances": instances, "health_check": {}})


async def test_unhealthy_instances_get_no_calls() -> None:
    """As workers report it, though the configuration that names an instance may come later."""
    bench = Bench(snapshot(probed_service("a", "b")))
    news = probed("users", {"http://a": False, "http://b": True, "http://c": False})
    async with bench.dispatcher:
        bench.broker.tell(news)
        for each in range(4):
            bench.broker.deliver(envelope(f"first-{each}"))
        await settled()
        await bench.dispatcher.use(snapshot(probed_service("b", "c", "d")))
        for each in range(4):
            bench.broker.deliver(envelope(f"second-{each}"))
        await settled()
        for call in bench.client.calls:
            call.answer()
    assert {call.address.host for call in bench.client.calls[:4]} == {"b"}
    assert {call.address.host for call in bench.client.calls[4:]} == {"b", "d"}
