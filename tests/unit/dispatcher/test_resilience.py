"""Retry, hedge, breaker and fallback together, in the order that the pipeline has them."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from broker.messages import Envelope, Reply
from config.models.routes import Hedge
from config.models.services import Service
from config.models.transforms import Transform
from dispatcher.listener import DispatcherListener
from dispatcher.pipeline import Pipeline
from dispatcher.policies.circuit_breaker import CircuitBreaker, State
from dispatcher.policies.memory import Memory
from dispatcher.route_rules import NO_RULES, RouteRules
from dispatcher.settle import Answered, Held, Outcome, Work
from dispatcher.upstream import ConnectFailed, ConnectionLost, UpstreamResponse, UpstreamTimeout
from tests.unit.dispatcher.doubles import (
    NOW,
    Call,
    Clock,
    HeldClient,
    RecordingDelivery,
    envelope,
    pipeline,
    post,
    service,
    settled,
)

TWO: dict[str, Any] = {
    "base_url": None,
    "instances": [{"url": "http://a.test"}, {"url": "http://b.test"}],
}
FALLBACK = {"error": "away"}


class Events(DispatcherListener):
    """Counts what it hears."""

    def __init__(self) -> None:
        self.heard: Counter[str] = Counter()

    def retried(self, service: str) -> None:
        self.heard["retried"] += 1

    def hedged(self, service: str) -> None:
        self.heard["hedged"] += 1

    def retry_budget_exhausted(self, service: str) -> None:
        self.heard["exhausted"] += 1

    def fell_back(self, service: str, to: str) -> None:
        self.heard[f"{service} fell back to {to}"] += 1


class Bench:
    """A pipeline whose calls the test ends."""

    def __init__(
        self,
        rules: RouteRules = NO_RULES,
        fall_back_to: Pipeline | None = None,
        client: HeldClient | None = None,
        transforms: Sequence[Transform] = (),
        **changes: Any,
    ) -> None:
        self.clock = Clock()
        self.client = client or HeldClient()
        self.events = Events()
        self.service: Service = service(**changes)
        self.memory = Memory.of(self.service, self.events.breaker_changed, self.clock)
        self.pipeline = pipeline(
            self.client,
            self.service,
            self.clock,
            rules=rules,
            memory=self.memory,
            listener=self.events,
            fall_back_to=fall_back_to,
            transforms=transforms,
        )

    @property
    def breaker(self) -> CircuitBreaker:
        assert self.memory.breaker is not None
        return self.memory.breaker

    def open(self) -> None:
        """Open the breaker, for its whole time."""
        while self.breaker.state is not State.OPEN:
            permit = self.breaker.acquire()
            assert permit is not None
            self.breaker.failed(permit)

    def handle(self, message: Envelope) -> asyncio.Task[Outcome]:
        delivery = RecordingDelivery(message, redelivered=False, log=[])
        return asyncio.create_task(self.pipeline.handle(Work(delivery)))

    async def call(self, number: int) -> Call:
        """The call of that number, counted from 1, when it has been made."""
        await settled()
        assert len(self.client.calls) == number
        return self.client.calls[-1]

    async def ask(self, message: Envelope, *ends: int | Exception) -> Reply:
        """The reply to a message whose calls end so, each with a status or an error."""
        made = len(self.client.calls)
        task = self.handle(message)
        for number, end in enumerate(ends, start=made + 1):
            call = await self.call(number)
            if isinstance(end, int):
                call.answer(end)
            else:
                call.fail(end)
        await settled()
        assert len(self.client.calls) == made + len(ends), "more calls than were foreseen"
        outcome = await task
        assert isinstance(outcome, Answered)
        return outcome.reply


def lost() -> Exception:
    return ConnectionLost("gone", sent=True)


def refused() -> Exception:
    return ConnectFailed("nobody there", sent=False)


def response_with(status: int, *headers: tuple[bytes, bytes]) -> UpstreamResponse:
    return UpstreamResponse(status, b"OK", headers, b"ok")


def many(count: int, **changes: Any) -> Envelope:
    """A GET with so many retries."""
    return envelope(retry_count=count, deadline=NOW + 1000, **changes)


# --- retry --------------------------------------------------------------------------------------


async def test_a_failed_call_is_repeated_at_another_instance() -> None:
    """Each try goes to an instance that was not tried, if there is one, and tells its number."""
    bench = Bench(**TWO)
    reply = await bench.ask(many(3), 503, lost(), 200)

    hosts = [call.address.host for call in bench.client.calls]
    assert (reply.status, reply.attempts, reply.instance) == (200, 3, f"http://{hosts[2]}")
    assert set(hosts[:2]) == {"a.test", "b.test"}
    told = [dict(call.request.headers)[b"X-Request-Attempt"] for call in bench.client.calls]
    assert told == [b"1", b"2", b"3"]
    assert bench.events.heard == {"retried": 2}


async def test_once_more_on_a_fresh_connection_only_within_bounds() -> None:
    """The client may repeat a GET as the budget allows, and never what may reach nobody twice."""
    bench = Bench()
    await bench.ask(envelope(), 200)
    await bench.ask(post(), 200)
    await bench.ask(envelope(idempotent=False), 200)
    again, *others = [call.request.again for call in bench.client.calls]
    assert others == [None, None]
    assert again is not None
    allowed = 0
    while again():
        allowed += 1
    assert allowed == 3
    assert bench.events.heard == {"exhausted": 1}


async def test_only_so_often() -> None:
    """After retry_count retries the last failure is the answer."""
    reply = await Bench().ask(many(2), 503, 504, 502)
    assert (reply.status, reply.attempts) == (502, 3)


async def test_no_retry_where_none_is_asked_for() -> None:
    """Without a retry_count there is one call."""
    reply = await Bench().ask(envelope(), 503)
    assert (reply.status, reply.attempts) == (503, 1)


async def test_a_copy_after_a_lost_dispatcher_is_another_attempt() -> None:
    """The upstream may have seen the first one."""
    bench = Bench()
    await bench.ask(envelope(attempt=2), 200)
    assert (b"X-Request-Attempt", b"2") in bench.client.calls[0].request.headers


async def test_statuses_that_the_route_names() -> None:
    """A 429 is repeated where the route says so."""
    bench = Bench(RouteRules(retry_on=frozenset({429})))
    assert (await bench.ask(many(1), 429, 200)).status == 200


async def test_a_post_is_repeated_only_if_it_never_left() -> None:
    """A refused connection is tried once more, though the message is settled; a lost one is not."""
    bench = Bench()
    assert (await bench.ask(post(retry_count=3), refused(), lost())).attempts == 2


async def test_an_earlier_try_may_have_been_executed() -> None:
    """When the last try never left, but one before did, the problem does not say "no"."""
    reply = await Bench().ask(many(1), lost(), refused())
    assert reply.problem is not None
    assert reply.problem.executed == "unknown"
    reply = await Bench().ask(many(1), refused(), refused())
    assert reply.problem is not None
    assert reply.problem.executed == "no"


async def test_retries_never_multiply_an_outage() -> None:
    """Of a hundred requests that fail, twenty are repeated, whatever retry_count says."""
    bench = Bench()
    for _ in range(89):
        bench.memory.budget.count()
    for _ in range(10):
        assert (await bench.ask(many(2), 503, 503, 503)).attempts == 3
    assert (await bench.ask(many(2), 503)).attempts == 1
    assert bench.events.heard == {"retried": 20, "exhausted": 1}


async def test_retry_after_beyond_the_deadline() -> None:
    """What can't be waited for is told to the client as it came."""
    bench = Bench()
    task = bench.handle(envelope(retry_count=3, deadline=NOW + 2))
    call = await bench.call(1)
    answer = response_with(503, (b"Retry-After", b"3"))
    call.future.set_result(answer)
    outcome = await task
    assert isinstance(outcome, Answered)
    assert outcome.reply.headers == ((b"Retry-After", b"3"),)


async def test_a_wait_that_took_too_long() -> None:
    """When the deadline has passed meanwhile, the next try is not made."""
    bench = Bench()

    class Oversleeping(Events):
        def retried(self, service: str) -> None:
            bench.clock.now += 10

    bench.pipeline._listener = Oversleeping()
    assert (await bench.ask(envelope(retry_count=3), 503)).attempts == 1


# --- breaker ------------------------------------------------------------------------------------


def guarded(**options: Any) -> dict[str, Any]:
    return {"circuit_breaker": {"failure_threshold": 2, "reset_timeout": 60, **options}}


async def test_failures_open_it_and_calls_end() -> None:
    """While open the answer is a 503 problem with the time to come back, and no call is made."""
    bench = Bench(**guarded())
    await bench.ask(envelope(), 500)
    await bench.ask(envelope(), lost())
    reply = await bench.ask(envelope())

    assert (reply.status, reply.attempts, reply.instance) == (503, 0, "")
    assert reply.problem is not None
    assert (reply.problem.type, reply.problem.executed) == ("circuit-open", "no")
    assert reply.problem.retry_after == 60


async def test_after_a_while_it_is_tried_again() -> None:
    """One call probes; others are refused meanwhile; when it goes well, all pass."""
    bench = Bench(**guarded())
    bench.open()
    bench.clock.now += 60
    probe = bench.handle(many(0))
    call = await bench.call(1)
    refused = await bench.ask(many(0))
    assert refused.problem is not None
    assert refused.problem.type == "circuit-open"
    call.answer()
    await probe

    assert bench.breaker.state is State.CLOSED
    assert (await bench.ask(many(0), 200)).status == 200


@pytest.mark.parametrize("status", [200, 304, 404, 429])
async def test_what_is_no_failure(status: int) -> None:
    """The service is well when it refuses what was asked for."""
    bench = Bench(**guarded(failure_threshold=1))
    await bench.ask(envelope(), status)
    assert bench.breaker.state is State.CLOSED


@pytest.mark.parametrize(
    ("left", "state"), [(30.0, State.OPEN), (15.0, State.OPEN), (14.0, State.CLOSED)]
)
async def test_impatience_is_no_failure(left: float, state: State) -> None:
    """A client that gives the service less than half of its time can't open its breaker."""
    bench = Bench(RouteRules(timeout=60.0), **guarded(failure_threshold=1))
    await bench.ask(envelope(deadline=NOW + left), UpstreamTimeout("late", sent=True))
    assert bench.breaker.state is state


async def test_a_short_route_opens_it_too() -> None:
    """The time that counts is the smaller of the service's and the route's."""
    bench = Bench(RouteRules(timeout=2.0), **guarded(failure_threshold=1))
    await bench.ask(envelope(deadline=NOW + 1.5), UpstreamTimeout("late", sent=True))
    assert bench.breaker.state is State.OPEN


async def test_breaking_off_a_probe_frees_its_place() -> None:
    """A dispatcher that stops, or a client that leaves, says nothing of the service."""
    bench = Bench(**guarded())
    bench.open()
    bench.clock.now += 60
    probe = bench.handle(many(0))
    await bench.call(1)
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)

    assert bench.breaker.permits
    assert bench.client.calls[0].future.cancelled()


async def test_without_an_instance_nothing_is_known() -> None:
    """A service that has registered nobody does not open its breaker, and a probe is not used."""
    nobody: dict[str, Any] = {"base_url": None, "discovery": {"type": "registry"}}
    bench = Bench(**nobody, **guarded(failure_threshold=1))
    reply = await bench.ask(envelope())
    assert reply.problem is not None
    assert reply.problem.type == "no-instance"
    assert bench.breaker.state is State.CLOSED


# --- retry outside breaker ----------------------------------------------------------------------


async def test_a_retry_sees_the_breaker_open() -> None:
    """The try that opens it is the last: its failure is the answer, further tries are not made."""
    bench = Bench(RouteRules(when_open="fail"), **guarded())
    reply = await bench.ask(many(3), 503, 504)

    assert (reply.status, reply.attempts) == (504, 2)
    assert bench.breaker.state is State.OPEN


async def test_a_retry_that_finds_it_open_falls_back() -> None:
    """With a fallback, that is the answer; the tries that were made are told."""
    bench = Bench(**guarded(fallback_response=FALLBACK))
    reply = await bench.ask(many(3), lost(), lost())

    assert (reply.status, reply.body, reply.attempts) == (503, b'{"error": "away"}', 2)
    assert bench.events.heard == {"retried": 1, "users fell back to response": 1}


async def test_each_try_counts_at_the_breaker() -> None:
    """One request with retries can open it: that is what retry outside breaker means."""
    bench = Bench(**guarded())
    await bench.ask(many(1), 503, 503)
    assert bench.breaker.state is State.OPEN


async def test_a_fallback_costs_no_retries() -> None:
    """While it is open the budget stays whole, however many are asked."""
    bench = Bench(**guarded(fallback_response=FALLBACK, fallback_status=200))
    bench.open()
    for _ in range(50):
        assert (await bench.ask(many(3))).status == 200

    assert bench.events.heard == {"users fell back to response": 50}
    assert bench.memory.budget.take()


# --- when_open ----------------------------------------------------------------------------------


async def test_hold() -> None:
    """The message is neither answered nor settled; it may go on when the breaker lets it."""
    bench = Bench(RouteRules(when_open="hold"), **guarded(fallback_response=FALLBACK))
    bench.open()
    for message in (envelope(), post()):
        delivery = RecordingDelivery(message, redelivered=False, log=[])
        assert await bench.pipeline.handle(Work(delivery)) == Held()
        assert delivery.settled == ""
    bench.clock.now += 60

    assert (await bench.ask(many(0), 200)).status == 200


async def test_a_probe_that_was_lost_to_another_is_held() -> None:
    """Of two POSTs that are let go, one is called; the other is as it was, and waits on."""
    change = {"name": "t", "request_transform": {"mode": "merge", "jsonpath": {"b": "$.a"}}}
    transforms = [Transform.model_validate(change)]
    rules = RouteRules(when_open="hold")
    bench = Bench(rules, transforms=transforms, **guarded(failure_threshold=1))
    bench.open()
    bench.clock.now += 60
    body = b'{"a": "%s"}' % (b"x" * 100_000)  # so large that its transform is left to a thread
    deliveries = [
        RecordingDelivery(
            post(headers=((b"Content-Type", b"application/json"),), body=body, deadline=NOW + 100),
            redelivered=False,
            log=[],
        )
        for _ in range(2)
    ]
    works = [Work(delivery) for delivery in deliveries]
    tasks = {asyncio.create_task(bench.pipeline.handle(work)) for work in works}
    done, _ = await asyncio.wait(tasks, timeout=10, return_when=asyncio.FIRST_COMPLETED)

    assert [task.result() for task in done] == [Held()]
    assert sorted(delivery.settled for delivery in deliveries) == ["", "ack"]
    (await bench.call(1)).answer()
    await asyncio.wait(tasks)
    held = next(work for work in works if not work.settled)
    ready = held.outgoing
    again = asyncio.create_task(bench.pipeline.handle(held))
    (await bench.call(2)).answer()
    await again
    assert held.outgoing is ready  # a transform is made once


async def test_what_is_held_is_shaped_by_the_configuration_that_calls() -> None:
    """A reload replaces transforms; what was made by the ones before is made anew."""
    delivery = RecordingDelivery(
        post(headers=((b"Content-Type", b"application/json"),), body=b'{"a":1}'),
        redelivered=False,
        log=[],
    )
    work = Work(delivery)
    for name in ("b", "c"):
        change = {"name": "t", "request_transform": {"jsonpath": {name: "$.a"}}}
        bench = Bench(transforms=[Transform.model_validate(change)])
        task = asyncio.create_task(bench.pipeline.handle(work))
        call = await bench.call(1)
        assert call.request.body == b'{"%s":1}' % name.encode()
        call.answer()
        await task


async def test_the_configured_answer_is_not_transformed() -> None:
    """It has the shape that it is to have; answers of the service are changed."""
    change = {"name": "t", "response_transform": {"jsonpath": {"b": "$.a"}}}
    transforms = [Transform.model_validate(change)]
    options = guarded(failure_threshold=1, fallback_response={"a": 1}, fallback_status=200)
    bench = Bench(transforms=transforms, **options)
    bench.open()
    assert (await bench.ask(envelope())).body == b'{"a": 1}'


async def test_a_held_request_goes_on_where_it_was() -> None:
    """Tries before it was held count, so that it is not tried more often than others."""
    bench = Bench(RouteRules(when_open="hold"), **guarded())
    work = Work(RecordingDelivery(many(2), redelivered=False, log=[]))
    first = asyncio.create_task(bench.pipeline.handle(work))
    (await bench.call(1)).fail(lost())
    (await bench.call(2)).fail(lost())
    assert await first == Held()

    bench.clock.now += 60
    again = asyncio.create_task(bench.pipeline.handle(work))
    (await bench.call(3)).fail(lost())
    outcome = await again

    assert isinstance(outcome, Answered)
    assert outcome.reply.attempts == 3


async def test_what_was_settled_is_not_held() -> None:
    """A POST whose connection was refused can't wait any more: it gets its failure."""
    bench = Bench(RouteRules(when_open="hold"), **guarded(failure_threshold=1))
    reply = await bench.ask(post(retry_count=3), refused())
    assert reply.problem is not None
    assert (reply.problem.type, reply.problem.executed) == ("upstream-connection", "no")


async def test_fail_has_no_fallback() -> None:
    """A route that says fail gets the problem, though there is a fallback."""
    bench = Bench(RouteRules(when_open="fail"), **guarded(fallback_response=FALLBACK))
    bench.open()
    assert (await bench.ask(envelope())).problem is not None


# --- fallback -----------------------------------------------------------------------------------


async def test_the_configured_response() -> None:
    """JSON with its status; a 503 says when to come back."""
    bench = Bench(**guarded(fallback_response=FALLBACK))
    bench.open()
    bench.clock.now += 17.5
    reply = await bench.ask(many(0))

    assert (reply.status, reply.body, reply.instance) == (503, b'{"error": "away"}', "")
    assert dict(reply.headers) == {
        b"Content-Type": b"application/json",
        b"Cache-Control": b"no-store",
        b"Retry-After": b"43",
    }


async def test_the_last_good_answer_comes_first() -> None:
    """What the service said before is better than what was configured."""
    bench = Bench(**guarded(fallback_response=FALLBACK, last_good={}))
    task = bench.handle(envelope())
    response = response_with(200, (b"Cache-Control", b"public"))
    (await bench.call(1)).future.set_result(response)
    await task
    bench.open()
    bench.clock.now += 5

    known, unknown = await bench.ask(envelope()), await bench.ask(envelope(target="/other"))

    assert (known.status, known.instance) == (200, "")
    assert known.headers == ((b"Cache-Control", b"public"), (b"Age", b"5"))
    assert unknown.status == 503
    assert bench.events.heard == {
        "users fell back to last_good": 1,
        "users fell back to response": 1,
    }


def other(client: HeldClient, **options: Any) -> Bench:
    return Bench(client=client, name="others", base_url="http://others.test", **options)


async def test_another_service() -> None:
    """Its instances are called in place of this one's, under its own breaker."""
    client = HeldClient()
    backup = other(client, **guarded())
    bench = Bench(fall_back_to=backup.pipeline, client=client, **guarded(fallback_service="others"))
    bench.open()
    reply = await bench.ask(envelope(), 200)

    assert (reply.status, reply.instance) == (200, "http://others.test")
    assert client.calls[0].address.host == "others.test"
    await bench.ask(envelope(), 500)
    await bench.ask(envelope(), 500)
    assert backup.breaker.state is State.OPEN


async def test_when_the_other_service_fails_too() -> None:
    """Its failure is the answer, unless there is a configured one; its own fallback counts."""
    client = HeldClient()
    backup = other(client, **guarded(fallback_response={"from": "others"}, fallback_status=200))
    options = guarded(fallback_service="others")
    plain = Bench(fall_back_to=backup.pipeline, client=client, **options)
    options["circuit_breaker"]["fallback_response"] = FALLBACK
    configured = Bench(fall_back_to=backup.pipeline, client=client, **options)
    plain.open()
    configured.open()

    assert (await plain.ask(envelope(), 500)).status == 500
    assert (await configured.ask(envelope(), 404)).status == 404
    assert (await configured.ask(envelope(), 500)).body == b'{"error": "away"}'
    backup.open()
    assert (await plain.ask(envelope())).body == b'{"from": "others"}'


# --- hedge --------------------------------------------------------------------------------------


def hedging(delay: float = 0.001) -> RouteRules:
    return RouteRules(hedge=Hedge(delay=delay))


async def hedged_calls(bench: Bench) -> list[Call]:
    """Wait for the second call."""
    async with asyncio.timeout(10):
        while len(bench.client.calls) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    return bench.client.calls


async def test_a_hedge_goes_to_another_instance() -> None:
    """The first good answer wins, the other call is aborted, and both were attempts."""
    bench = Bench(hedging(), **TWO, **guarded(failure_threshold=1))
    task = bench.handle(envelope())
    first, second = await hedged_calls(bench)
    second.answer(200)
    outcome = await task

    assert isinstance(outcome, Answered)
    assert (outcome.reply.instance, outcome.reply.attempts) == ("http://b.test", 2)
    assert first.future.cancelled()
    assert bench.events.heard == {"hedged": 1}
    assert bench.breaker.state is State.CLOSED
    assert (b"X-Request-Attempt", b"2") in second.request.headers


async def test_a_slow_call_that_lost_to_its_hedge() -> None:
    """It was slow for the breaker, though nobody knows how it would have ended."""
    slow = {"slow_call_rate": 0.5, "slow_call_duration": 1, "minimum_calls": 2}
    bench = Bench(hedging(delay=0.1), **TWO, **guarded(**slow))
    task = bench.handle(envelope())
    await bench.call(1)
    bench.clock.now += 1.0
    _, second = await hedged_calls(bench)
    second.answer()
    await task

    assert bench.breaker.state is State.OPEN


async def test_an_instance_whose_calls_all_lose_to_their_hedges() -> None:
    """After ten seconds of that it is ejected, as if it had failed; the other is not."""
    bench = Bench(hedging(delay=0.05), **TWO, strategy="round_robin")
    firsts = []
    for _ in range(24):
        bench.client.calls.clear()
        task = bench.handle(envelope(deadline=bench.clock.now + 10))
        await settled()
        firsts.append(bench.client.calls[0].address.host)
        if firsts[-1] == "a.test":
            _, answering = await hedged_calls(bench)
        else:
            answering = bench.client.calls[0]
        answering.answer()
        await task
        bench.clock.now += 2.0  # or the hedges would be too many for their budget

    assert firsts[:12] == ["a.test", "b.test"] * 6
    assert firsts[-4:] == ["b.test"] * 4
    assert bench.pipeline._balancer.states() == {
        "http://a.test": "ejected",
        "http://b.test": "healthy",
    }


async def no_hedge(bench: Bench, message: Envelope, took: float = 0.0) -> None:
    """One call, which takes so many seconds, and no other after the delay."""
    task = bench.handle(message)
    call = await bench.call(1)
    bench.clock.now += took
    await asyncio.sleep(0.15)
    call.answer()
    await task
    assert len(bench.client.calls) == 1
    assert bench.events.heard["hedged"] == 0


async def test_no_hedge_where_it_could_do_harm_or_no_good() -> None:
    """Not for a POST, not without another instance, not past the deadline."""
    late = hedging(delay=0.1)  # long enough for the test to move the clock before
    await no_hedge(Bench(late, **TWO), post())
    await no_hedge(Bench(late), envelope())
    await no_hedge(Bench(late, **TWO), envelope(deadline=NOW + 1), took=0.996)


async def test_no_hedge_beyond_the_budget() -> None:
    """Hedges are paid from the budget of retries."""
    bench = Bench(hedging(), **TWO)
    while bench.memory.budget.take():
        pass
    await no_hedge(bench, envelope())
    assert bench.events.heard == {"exhausted": 1}


async def test_no_hedge_while_the_breaker_is_open() -> None:
    """One that opens while the first call is under way stops the second, at no cost."""
    bench = Bench(hedging(delay=0.2), **TWO, **guarded(failure_threshold=1))
    permit = bench.breaker.acquire()
    assert permit is not None
    task = bench.handle(envelope())
    await bench.call(1)
    bench.breaker.failed(permit)
    await asyncio.sleep(0.3)
    bench.client.calls[0].answer()
    await task

    assert len(bench.client.calls) == 1
    assert bench.events.heard == {}


async def test_a_hedged_call_that_failed_is_retried() -> None:
    """Retries are outside: when both calls have failed, the next try is hedged again."""
    bench = Bench(hedging(delay=3600), **TWO)
    assert (await bench.ask(many(1), 503, 200)).attempts == 2
