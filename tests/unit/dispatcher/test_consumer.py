"""Taking the messages of one service."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import pytest

from broker.contract import ConnectionState
from broker.messages import Envelope, Reply
from config.models.tiers import Tier
from dispatcher.consumer import DELIVERY_LIMIT, ServiceConsumer
from dispatcher.listener import DispatcherListener
from dispatcher.policies.memory import Memory
from dispatcher.route_rules import RouteRules
from dispatcher.settle import Settler
from dispatcher.subscriptions import prefetch_for
from dispatcher.upstream import ConnectionLost
from tests.unit.dispatcher.doubles import (
    NOW,
    TIERS,
    Clock,
    HeldClient,
    RecordingBroker,
    RecordingDelivery,
    envelope,
    pipeline,
    post,
    service,
    settled,
    tier,
)


class Counts(DispatcherListener):
    """Counts the events that consumers are to report."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def expired(self, envelope: Envelope) -> None:
        self.events.append(f"expired {envelope.id}")

    def redelivered(self, envelope: Envelope) -> None:
        self.events.append(f"redelivered {envelope.id}")

    def dead_lettered(self, envelope: Envelope, reason: str) -> None:
        self.events.append(f"dead-lettered {envelope.id}")

    def dropped(self, service: str) -> None:
        self.events.append("dropped")

    def answered(self, envelope: Envelope, reply: Reply) -> None:
        self.events.append(f"answered {envelope.id}")


class Bench:
    """A consumer with a broker and a client that the test holds."""

    def __init__(self, limit: int = 2, tiers: Mapping[str, Tier] = TIERS, **changes: Any) -> None:
        self.clock = Clock()
        self.broker = RecordingBroker()
        self.client = HeldClient()
        self.counts = Counts()
        self.settler = Settler(self.broker, self.counts, self.clock)
        self.service = service(limit=limit, **changes)
        self.consumer = ServiceConsumer(
            self.service,
            tiers,
            pipeline(self.client, self.service, self.clock, listener=self.counts),
            self.broker,
            self.settler,
            self.counts,
            self.clock,
        )

    async def answer_all(self) -> None:
        """End every call, and those that begin thereby."""
        await settled()
        while under_way := [call for call in self.client.calls if not call.future.done()]:
            for call in under_way:
                call.answer()
            await settled()

    def called(self) -> list[str]:
        """Targets of the calls so far; tests put the message's id there."""
        return [call.request.target for call in self.client.calls]


@pytest.fixture
async def bench() -> Bench:
    """Two slots, three tiers, subscribed."""
    bench = Bench()
    await bench.consumer.start()
    return bench


async def concluded(deliveries: list[RecordingDelivery]) -> None:
    """Wait for a look after which these are settled."""
    async with asyncio.timeout(10):
        while not all(delivery.settled for delivery in deliveries):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def problem_of(reply: Reply) -> tuple[int, str, str | None]:
    """Status, type and whether the request was executed."""
    assert reply.problem is not None
    return reply.status, reply.problem.type, reply.problem.executed


async def test_every_tier_has_its_queue(bench: Bench) -> None:
    """A queue for each tier is declared with the tier's limit, then consumed."""
    assert {queue.routing_key: queue.limit for queue in bench.broker.declared} == {
        "users.FREE": 10,
        "users.PRO": 20,
        "users.ENTERPRISE": 30,
    }
    assert {key: s.prefetch for key, s in bench.broker.subscriptions.items()} == dict.fromkeys(
        ("users.FREE", "users.PRO", "users.ENTERPRISE"), 3
    )


async def test_no_more_calls_than_slots(bench: Bench) -> None:
    """With two slots, the third message waits until a call has ended."""
    for number in range(3):
        bench.broker.deliver(envelope(f"m{number}", target=f"/m{number}"))
    await settled()
    assert bench.called() == ["/m0", "/m1"]
    assert bench.consumer.in_flight == 2

    bench.client.calls[0].answer()
    await settled()

    assert bench.called() == ["/m0", "/m1", "/m2"]
    assert bench.broker.log == ["m0 reply 200", "m0 ack"]


class TestAdaptiveLimit:
    """The limit says how many are taken."""

    @pytest.fixture
    async def bench(self) -> Bench:
        """At most 36 slots, so 6 at first; twenty messages wait for them."""
        bench = Bench(concurrency={"mode": "adaptive", "limit": 36})
        await bench.consumer.start()
        for number in range(20):
            bench.broker.deliver(envelope(f"m{number}"))
        await settled()
        return bench

    async def test_no_more_calls_than_it_allows(self, bench: Bench) -> None:
        """The seventh waits until a call has ended."""
        assert bench.consumer.in_flight == len(bench.client.calls) == 6
        limiter = bench.consumer.pipeline.limiter
        assert limiter.in_flight == 6

        bench.client.calls[0].answer()
        await settled()

        assert len(bench.client.calls) == 7
        assert limiter.in_flight == 6

    async def test_refusals_lower_it(self, bench: Bench) -> None:
        """Once the service refuses, slots that free up are not filled any more."""
        bench.clock.now += 1  # the time of a window
        for call in bench.client.calls[:6]:
            call.answer(503)
        await settled()

        assert bench.consumer.in_flight == 5
        assert bench.consumer.pipeline.limiter.limit.current == 5
        assert bench.counts.events.count("dropped") == 6

    async def test_what_is_broken_off_is_not_counted_for_ever(self, bench: Bench) -> None:
        """A call that is cancelled is under way no more."""
        limiter = bench.consumer.pipeline.limiter
        await bench.consumer.drain(timeout=0)

        assert limiter.in_flight == 0

    async def test_as_much_is_at_hand_as_it_needs(self, bench: Bench) -> None:
        """Not what its upper bound would need."""
        prefetches = {one.prefetch for one in bench.broker.subscriptions.values()}
        assert prefetches == {prefetch_for(12)}


async def test_the_answer_goes_home_before_the_ack(bench: Bench) -> None:
    """An idempotent message is settled last, so that it survives this process."""
    delivery = bench.broker.deliver(envelope())
    await settled()
    assert delivery.settled == ""

    bench.client.calls[0].answer(201, b"body")
    await settled()

    assert bench.broker.log == ["r1 reply 201", "r1 ack"]
    assert bench.broker.replies["r1"].body == b"body"


async def test_a_post_is_settled_before_its_call(bench: Bench) -> None:
    """A message that must not be executed twice is acknowledged first, and only once."""
    delivery = bench.broker.deliver(post())
    await settled()
    assert delivery.settled == "ack"
    assert len(bench.client.calls) == 1

    bench.client.calls[0].answer()
    await settled()

    assert bench.broker.log == ["r1 ack", "r1 reply 200"]


async def test_past_the_deadline_nothing_is_called(bench: Bench) -> None:
    """What became too late while it waited is counted and settled, without call or reply."""
    for number in range(3):
        bench.broker.deliver(envelope(f"m{number}"))
    await settled()
    bench.clock.now = NOW + 10

    bench.client.calls[0].answer()
    await settled()

    assert len(bench.client.calls) == 2
    assert bench.broker.log == ["m0 ack", "m2 ack"]
    assert bench.counts.events == ["expired m2"]


async def test_enterprise_overtakes_a_flood() -> None:
    """With one slot and FREE waiting, ENTERPRISE is next, and FREE still gets its floor."""
    tiers = {"FREE": tier(weight=1, floor=0.1), "ENTERPRISE": tier(weight=1000)}
    bench = Bench(limit=1, tiers=tiers)
    await bench.consumer.start()
    for number in range(10):
        bench.broker.deliver(envelope(f"f{number}", target="/free"))
    for number in range(40):
        bench.broker.deliver(envelope(f"e{number}", target="/ent", tier="ENTERPRISE"))

    for turn in range(50):
        await settled()
        bench.client.calls[turn].answer()
    await settled()

    called = bench.called()
    assert called[1] == "/ent"
    assert [turn for turn in range(40) if called[turn] == "/free"] == [0, 10, 20, 30]
    assert len(bench.broker.replies) == 50


async def test_another_services_slowness_is_not_felt(bench: Bench) -> None:
    """Slots belong to one service: when its own are full, another's are not."""
    other = Bench()
    await other.consumer.start()
    for number in range(3):
        bench.broker.deliver(envelope(f"m{number}"))
    other.broker.deliver(envelope("other"))
    await settled()

    assert len(other.client.calls) == 1


class TestRedelivery:
    """Messages that somebody may have taken before."""

    async def test_a_post_is_not_executed_again(self, bench: Bench) -> None:
        """Nobody knows what became of it: so says the answer, and there is no call."""
        bench.broker.deliver(post(), redelivered=True)
        await settled()

        assert bench.client.calls == []
        assert problem_of(bench.broker.replies["r1"]) == (502, "outcome-unknown", "unknown")
        assert bench.broker.log == ["r1 reply 502", "r1 ack"]
        assert bench.counts.events == ["redelivered r1", "answered r1"]

    async def test_a_post_under_way_here_goes_on(self, bench: Bench) -> None:
        """Its early ack was lost with a connection: the copy is acknowledged without a word."""
        bench.broker.deliver(post())
        await settled()
        again = bench.broker.deliver(post(), redelivered=True)
        assert again.settled == "ack"
        assert bench.broker.replies == {}

        bench.client.calls[0].answer()
        await settled()

        assert len(bench.client.calls) == 1
        assert bench.broker.replies["r1"].status == 200

    async def test_a_get_is_counted_and_tried_again(self, bench: Bench) -> None:
        """It returns as a fresh copy whose attempt the queue can't forget."""
        delivery = bench.broker.deliver(envelope(attempt=DELIVERY_LIMIT - 1), redelivered=True)

        assert delivery.settled == "retry"
        assert bench.client.calls == []
        assert bench.broker.replies == {}

    async def test_a_get_that_keeps_killing_is_dead_lettered(self, bench: Bench) -> None:
        """After the last attempt it is kept for a human, and the client is told."""
        delivery = bench.broker.deliver(envelope(attempt=DELIVERY_LIMIT), redelivered=True)

        assert delivery.settled == "dead-letter: delivery limit: lost 5 times"
        assert problem_of(bench.broker.replies["r1"]) == (502, "delivery-limit", "unknown")
        assert "dead-lettered r1" in bench.counts.events

    async def test_a_get_under_way_here_goes_on(self, bench: Bench) -> None:
        """The first handle died with its connection: the answer settles the second."""
        bench.broker.deliver(envelope())
        await settled()
        again = bench.broker.deliver(envelope(), redelivered=True)
        assert again.settled == ""

        bench.client.calls[0].answer()
        await settled()

        assert len(bench.client.calls) == 1
        assert bench.broker.log == ["r1 reply 200", "r1 ack"]
        assert again.settled == "ack"

    async def test_one_past_its_deadline_is_dropped(self, bench: Bench) -> None:
        """Ingress has answered it already, whatever kind it is."""
        deliveries = [
            bench.broker.deliver(message, redelivered=True)
            for message in (envelope("get", deadline=NOW), post("post", deadline=NOW))
        ]

        assert [delivery.settled for delivery in deliveries] == ["ack", "ack"]
        assert bench.broker.replies == {}

    async def test_a_fresh_copy_is_called(self, bench: Bench) -> None:
        """What another dispatcher sent back for a further attempt is handled like any other."""
        bench.broker.deliver(envelope(attempt=3))
        await settled()

        assert len(bench.client.calls) == 1


class TestConnectionLost:
    """What waits is the broker's again; what is under way goes on."""

    async def test_what_waits_is_forgotten(self, bench: Bench) -> None:
        """It is not called, for another dispatcher may have it by now."""
        for number in range(4):
            bench.broker.deliver(envelope(f"m{number}", target=f"/m{number}"))
        await settled()

        bench.consumer.connection_lost()
        for call in bench.client.calls:
            call.answer()
        await settled()

        assert bench.called() == ["/m0", "/m1"]
        assert sorted(bench.broker.replies) == ["m0", "m1"]

    async def test_two_copies_of_one_request(self, bench: Bench) -> None:
        """The end of one is not the end of the other, which is forgotten by itself."""
        for id_ in ("twice", "m1", "m2", "twice"):
            bench.broker.deliver(envelope(id_))
        await settled()
        bench.client.calls[0].answer()
        await settled()
        assert len(bench.client.calls) == 3  # the second one waits still

        bench.consumer.connection_lost()
        await bench.answer_all()

        assert not bench.consumer._in_hand

    async def test_a_post_that_waited_is_safe_to_execute(self, bench: Bench) -> None:
        """It was handed to this dispatcher first, which did not start it: so nobody did."""
        for id_ in ("m0", "m1"):
            bench.broker.deliver(envelope(id_))
        bench.broker.deliver(post("waiting"))
        await settled()
        bench.consumer.connection_lost()

        bench.broker.deliver(post("waiting"), redelivered=True)
        bench.client.calls[0].answer()
        await settled()

        assert [call.request.method for call in bench.client.calls] == ["GET", "GET", "POST"]

    async def test_but_only_once(self, bench: Bench) -> None:
        """When the same message comes yet again, it has been started."""
        for id_ in ("m0", "m1"):
            bench.broker.deliver(envelope(id_))
        bench.broker.deliver(post("waiting"))
        await settled()
        bench.consumer.connection_lost()
        bench.broker.deliver(post("waiting"), redelivered=True)
        await bench.answer_all()
        assert bench.broker.replies.pop("waiting").status == 200

        bench.broker.deliver(post("waiting"), redelivered=True)

        assert problem_of(bench.broker.replies["waiting"])[1] == "outcome-unknown"

    async def test_memory_of_what_waited_ends_with_its_deadline(self, bench: Bench) -> None:
        """Nothing is remembered for longer than it could matter."""
        for id_ in ("m0", "m1", "waiting"):
            bench.broker.deliver(post(id_))
        await settled()
        bench.consumer.connection_lost()
        assert bench.consumer._unstarted.keys() == {"waiting"}

        bench.clock.now = NOW + 10
        bench.consumer.connection_lost()

        assert bench.consumer._unstarted == {}

    async def test_replies_wait_for_the_broker(self, bench: Bench) -> None:
        """An answer that comes while the broker is away is sent when it is back, if in time."""
        bench.broker.deliver(post("early", deadline=NOW + 1))
        bench.broker.deliver(post("late", deadline=NOW + 9))
        await settled()
        bench.broker.state = ConnectionState.DISCONNECTED
        for call in bench.client.calls:
            call.answer()
        await settled()
        assert bench.broker.replies == {}

        bench.clock.now = NOW + 5
        bench.broker.state = ConnectionState.CONNECTED
        bench.settler.connection_restored()

        assert bench.broker.replies.keys() == {"late"}


class TestCrash:
    """Messages at which the gateway's own code fails."""

    async def test_a_poison_message_is_dead_lettered(
        self, bench: Bench, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is kept with the reason, answered without details, logged; the next one is served."""
        delivery = bench.broker.deliver(envelope("poison"))
        await settled()
        bench.client.calls[0].fail(ZeroDivisionError("secret"))
        await settled()

        assert delivery.settled == "dead-letter: ZeroDivisionError: secret"
        problem = bench.broker.replies["poison"].problem
        assert problem_of(bench.broker.replies["poison"]) == (500, "internal", "unknown")
        assert problem is not None
        assert "secret" not in problem.detail
        assert any(record.levelno == logging.ERROR for record in caplog.records)

        bench.broker.deliver(envelope("next"))
        await settled()
        bench.client.calls[1].answer()
        await settled()
        assert bench.broker.replies["next"].status == 200
        assert bench.consumer.in_flight == 0

    async def test_a_post_that_crashes_is_answered(self, bench: Bench) -> None:
        """It was settled before; what is left is the answer."""
        delivery = bench.broker.deliver(post())
        await settled()
        bench.client.calls[0].fail(ZeroDivisionError())
        await settled()

        assert delivery.settled == "ack"
        assert problem_of(bench.broker.replies["r1"]) == (500, "internal", "unknown")


class TestDrain:
    """Stopping without losing anything."""

    async def test_waiting_goes_back_and_running_is_finished(self, bench: Bench) -> None:
        """No more comes, then what waits is given back, then calls end and answers go home."""
        for number in range(4):
            bench.broker.deliver(envelope(f"m{number}"))
        await settled()
        drain = asyncio.create_task(bench.consumer.drain(timeout=30))
        await settled()
        assert all(subscription.cancelled for subscription in bench.broker.subscriptions.values())
        assert bench.broker.log == ["m2 give back", "m3 give back"]
        assert not drain.done()

        for call in bench.client.calls:
            call.answer()
        await drain

        assert len(bench.client.calls) == 2
        assert bench.broker.log[2:] == ["m0 reply 200", "m0 ack", "m1 reply 200", "m1 ack"]

    async def test_a_delivery_while_cancelling_goes_back_afterwards(self, bench: Bench) -> None:
        """What the broker sent before it heard of the end is not called; it is given back after."""
        subscription = bench.broker.subscriptions["users.FREE"]
        subscription.cancelling = asyncio.Event()
        drain = asyncio.create_task(bench.consumer.drain(timeout=30))
        await settled()
        delivery = bench.broker.deliver(envelope())
        await settled()
        assert delivery.settled == ""

        subscription.cancelling.set()
        await drain

        assert delivery.settled == "give back"
        assert bench.client.calls == []

    async def test_what_takes_too_long_is_broken_off(self, bench: Bench) -> None:
        """After the timeout a GET is retried elsewhere, and of a POST the outcome is unknown."""
        bench.broker.deliver(envelope("get"))
        bench.broker.deliver(post("post"))
        await settled()

        await bench.consumer.drain(timeout=0)

        assert all(call.future.cancelled() for call in bench.client.calls)
        assert bench.broker.log == ["post ack", "get retry", "post reply 502"]
        assert problem_of(bench.broker.replies["post"]) == (502, "outcome-unknown", "unknown")

    async def test_what_had_no_chance_to_begin_goes_back(self, bench: Bench) -> None:
        """A POST whose task was broken off before its first step was neither settled nor called."""
        delivery = bench.broker.deliver(post())

        bench.consumer.interrupt()
        await settled()

        assert delivery.settled == "give back"
        assert bench.client.calls == []


# --- held while a breaker is open ---------------------------------------------------------------


HOLD = {"list-users": RouteRules(when_open="hold"), "fast": RouteRules(when_open="fail")}


class HoldingBench(Bench):
    """A consumer of two slots; its breaker is open until the clock is moved by 5 seconds."""

    def __init__(self) -> None:
        super().__init__(circuit_breaker={"failure_threshold": 1, "reset_timeout": 5})
        memory = Memory.of(self.service, self.counts.breaker_changed, self.clock)
        assert memory.breaker is not None
        self.breaker = memory.breaker
        self.consumer.pipeline = pipeline(
            self.client, self.service, self.clock, memory=memory, by_route=HOLD
        )
        permit = self.breaker.acquire()
        assert permit is not None
        self.breaker.failed(permit)

    def hold(self, count: int, **changes: Any) -> list[RecordingDelivery]:
        """Deliver so many messages of the route that waits."""
        return [
            self.broker.deliver(envelope(f"h{n}", target=f"/h{n}", **changes)) for n in range(count)
        ]

    def close(self) -> None:
        """The service is well again."""
        self.clock.now += 5
        permit = self.breaker.acquire()
        assert permit is not None
        self.breaker.succeeded(permit)


@pytest.fixture
async def holding() -> HoldingBench:
    """Subscribed."""
    bench = HoldingBench()
    await bench.consumer.start()
    return bench


async def test_held_messages_take_no_slot(holding: HoldingBench) -> None:
    """More of them than slots wait unsettled, while others of the service are answered at once."""
    held = holding.hold(5)
    await settled()
    assert holding.consumer.in_flight == 0
    fast = holding.broker.deliver(envelope("fast", route="fast"))
    await settled()

    assert holding.broker.replies["fast"].status == 503
    assert fast.settled == "ack"
    assert [delivery.settled for delivery in held] == [""] * 5
    assert holding.called() == []


async def test_what_was_held_goes_on_when_the_breaker_closes(holding: HoldingBench) -> None:
    """In its order, by the slots there are; POSTs among them are settled only then."""
    held = holding.hold(2)
    held.append(holding.broker.deliver(post("p", target="/p")))
    await settled()
    assert held[2].settled == ""

    holding.close()
    async with asyncio.timeout(10):
        while not holding.client.calls:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert holding.called() == ["/h0", "/h1"]
    await holding.answer_all()

    assert holding.called() == ["/h0", "/h1", "/p"]
    assert {reply.status for reply in holding.broker.replies.values()} == {200}
    assert [delivery.settled for delivery in held] == ["ack"] * 3


async def test_held_messages_probe(holding: HoldingBench) -> None:
    """When the breaker's time is over one of them is called; if that goes well, the others are."""
    holding.hold(4)
    await settled()
    holding.clock.now += 5
    async with asyncio.timeout(10):
        while not holding.client.calls:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await settled()
    assert holding.called() == ["/h0"]

    holding.client.calls[0].answer()
    await settled()

    assert holding.called() == ["/h0", "/h1", "/h2"]
    await holding.answer_all()
    assert len(holding.broker.replies) == 4


async def test_a_failed_probe_holds_the_others_on(holding: HoldingBench) -> None:
    """The probe gets its failure, having no more tries; the others wait for the next probe."""
    held = holding.hold(3)
    await settled()
    holding.clock.now += 5
    async with asyncio.timeout(10):
        while not holding.client.calls:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    holding.client.calls[0].fail(ConnectionLost("gone", sent=True))
    await settled()

    assert holding.broker.replies["h0"].status == 502
    assert holding.called() == ["/h0"]
    assert [delivery.settled for delivery in held] == ["ack", "", ""]


async def test_a_held_message_whose_deadline_passes(holding: HoldingBench) -> None:
    """It is settled without a call and without a reply, and makes room for another."""
    held = holding.hold(2, deadline=NOW + 4)
    await settled()
    holding.clock.now += 4
    await concluded(held)

    assert [delivery.settled for delivery in held] == ["ack", "ack"]
    assert holding.called() == []
    assert holding.broker.replies == {}
    assert sorted(holding.counts.events) == ["expired h0", "expired h1"]


async def test_what_was_held_in_vain_was_not_executed(holding: HoldingBench) -> None:
    """A little before the deadline it is answered so; what has more time is held on."""
    held = holding.hold(1, deadline=NOW + 4)
    held += [holding.broker.deliver(post("p", deadline=NOW + 4)), *holding.hold(1)]
    await settled()
    holding.clock.now += 3.95
    await concluded(held[:2])

    assert [delivery.settled for delivery in held] == ["ack", "ack", ""]
    answers = {id_: problem_of(reply) for id_, reply in holding.broker.replies.items()}
    assert answers == dict.fromkeys(("h0", "p"), (504, "deadline-exceeded", "no"))


async def test_what_was_held_in_vain_after_a_probe_may_have_been_executed(
    holding: HoldingBench,
) -> None:
    """It was called once, and that it failed does not say that nothing was done."""
    held = holding.hold(1, retry_count=3)
    await settled()
    holding.clock.now += 5
    async with asyncio.timeout(10):
        while not holding.client.calls:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    holding.client.calls[0].fail(ConnectionLost("gone", sent=True))
    await settled()
    holding.clock.now += 4.95
    await concluded(held)

    reply = holding.broker.replies["h0"]
    assert problem_of(reply) == (504, "deadline-exceeded", "unknown")
    assert reply.attempts == 1


async def test_what_waits_for_a_slot_in_vain_was_not_executed(bench: Bench) -> None:
    """While all slots are taken it is answered as what is held is."""
    busy = [bench.broker.deliver(envelope(f"b{n}", deadline=NOW + 60)) for n in range(2)]
    waiting = [bench.broker.deliver(post(f"w{n}")) for n in range(2)]
    await settled()
    bench.clock.now += 9.95
    await concluded(waiting)

    for delivery in waiting:
        answer = bench.broker.replies[delivery.envelope.id]
        assert problem_of(answer) == (504, "deadline-exceeded", "no")
    assert [delivery.settled for delivery in busy] == ["", ""]


async def test_what_has_little_time_is_not_given_up_early(bench: Bench) -> None:
    """A tenth of a second is much of half a second: it may still get a slot, and does."""
    for number in range(2):
        bench.broker.deliver(envelope(f"b{number}", deadline=NOW + 60))
    waiting = [bench.broker.deliver(envelope("w1", deadline=NOW + 0.25, target="/w1"))]
    late = [bench.broker.deliver(envelope("w2", deadline=NOW + 0.2))]
    await settled()
    bench.clock.now += 0.17
    await concluded(late)

    assert waiting[0].settled == ""
    await bench.answer_all()
    assert bench.called()[2:] == ["/w1"]


@pytest.mark.parametrize(("time", "left"), [(0.1, 0.05), (0.2, 0.07), (0.5, 0.07), (1, 0.07)])
async def test_what_has_little_time_is_told_in_time(bench: Bench, time: float, left: float) -> None:
    """No look comes too late to tell it: one tick and the way of the answer are left."""
    for number in range(2):
        bench.broker.deliver(envelope(f"b{number}", deadline=NOW + 60))
    short = envelope("w", published_at=NOW, deadline=NOW + time)
    waiting = [bench.broker.deliver(short)]
    await settled()
    bench.clock.now += time - left + 1e-6
    await concluded(waiting)

    answer = bench.broker.replies["w"]
    assert problem_of(answer) == (504, "deadline-exceeded", "no")


async def test_held_messages_are_given_back_on_leaving(holding: HoldingBench) -> None:
    """Others shall hold, or call; nothing is left behind."""
    held = holding.hold(3)
    await settled()
    await holding.consumer.drain(timeout=10)

    assert [delivery.settled for delivery in held] == ["give back"] * 3
    assert not holding.consumer._in_hand
    assert not holding.consumer._holding


async def test_what_was_held_may_be_elsewhere_after_a_lost_connection(
    holding: HoldingBench,
) -> None:
    """What the broker does not hand out here again is with another dispatcher: no call of it."""
    holding.hold(2)
    await settled()
    holding.consumer.connection_lost()
    holding.close()
    holding.broker.deliver(envelope("new", target="/new"))
    await holding.answer_all()

    assert holding.called() == ["/new"]
    assert not holding.consumer._in_hand


async def test_held_messages_of_a_lost_connection(holding: HoldingBench) -> None:
    """The broker hands them out again; they were not begun, so they are held again, once each."""
    holding.hold(2)
    await settled()
    holding.consumer.connection_lost()
    again = [
        holding.broker.deliver(envelope(f"h{n}", target=f"/h{n}"), redelivered=True)
        for n in range(2)
    ]
    await settled()
    holding.close()
    async with asyncio.timeout(10):
        while len(holding.client.calls) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await holding.answer_all()

    assert holding.called() == ["/h0", "/h1"]
    assert [delivery.settled for delivery in again] == ["ack", "ack"]
