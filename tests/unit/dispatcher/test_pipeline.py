"""The way of one message."""

import asyncio
from collections.abc import Callable

import pytest

from broker.messages import Envelope, Reply
from config.models.services import Service
from config.models.transforms import Transform
from dispatcher.settle import Answered, Expired, Outcome, Work
from dispatcher.upstream import (
    Address,
    BodyTooLarge,
    ConnectFailed,
    ConnectionLost,
    ConnectTimedOut,
    InvalidRequest,
    ProtocolError,
    ResponseTooLarge,
    TooManyCalls,
    UpstreamError,
    UpstreamTimeout,
)
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


class Walk:
    """One message on its way through the pipeline."""

    def __init__(self, message: Envelope, of: Service | None = None) -> None:
        self.clock = Clock()
        self.client = HeldClient()
        self.delivery = RecordingDelivery(message, redelivered=False, log=[])
        way = pipeline(self.client, of or service(), self.clock)
        self.outcome: asyncio.Task[Outcome] = asyncio.create_task(way.handle(Work(self.delivery)))

    async def reply(self) -> Reply:
        """What the message is answered with."""
        outcome = await self.outcome
        assert isinstance(outcome, Answered)
        return outcome.reply


async def test_the_request_is_passed_on() -> None:
    """The upstream is asked what the client asked, and told how long there is."""
    walk = Walk(post(body=b"\x00\xff", headers=((b"A", b"1"), (b"a", b"2")), deadline=NOW + 1.2345))
    await settled()

    call = walk.client.calls[0]
    assert call.address == Address("http", "users.test", 8080)
    assert (call.request.method, call.request.target) == ("POST", "/users?x=1")
    assert call.request.headers == (
        (b"A", b"1"),
        (b"a", b"2"),
        (b"X-Request-Deadline-Ms", b"1234"),
        (b"X-Request-Attempt", b"1"),
    )
    assert call.request.body == b"\x00\xff"


async def test_the_response_is_the_reply() -> None:
    """Status, reason, headers and body go home as they came, with the times and the instance."""
    walk = Walk(envelope())
    await settled()
    walk.clock.now += 0.5
    walk.client.calls[0].answer(404, b"none")

    assert await walk.reply() == Reply(
        id="r1",
        status=404,
        reason=b"OK",
        headers=((b"X", b"y"),),
        body=b"none",
        queue_ms=250.0,
        upstream_ms=500.0,
        attempts=1,
        instance="http://users.test:8080",
    )


async def test_a_clock_ahead_makes_no_negative_wait() -> None:
    """A message from a node whose clock is ahead was never in the queue for less than nothing."""
    walk = Walk(envelope(published_at=NOW + 3))
    await settled()
    walk.client.calls[0].answer()

    assert (await walk.reply()).queue_ms == 0


@pytest.mark.parametrize(("left", "of_service", "timeout"), [(10, 30, 10), (60, 30, 30)])
async def test_a_try_has_the_smaller_of_two_times(
    left: float, of_service: float, timeout: float
) -> None:
    """A try ends with the service's timeout or with the deadline, whichever comes first."""
    walk = Walk(envelope(deadline=NOW + left), service(timeout=of_service))
    await settled()

    assert walk.client.calls[0].timeout == timeout


@pytest.mark.parametrize("message", [envelope(deadline=NOW), post(deadline=NOW - 5)])
async def test_nothing_is_called_too_late(message: Envelope) -> None:
    """At the deadline or past it there is no call and no early ack."""
    walk = Walk(message)

    assert await walk.outcome == Expired()
    assert walk.client.calls == []
    assert walk.delivery.settled == ""


async def test_only_what_must_not_repeat_is_settled_first() -> None:
    """A POST is acknowledged before its call; a GET is not."""
    get, posted = Walk(envelope()), Walk(post())
    await settled()

    assert (get.delivery.settled, posted.delivery.settled) == ("", "ack")


async def test_instances_take_turns() -> None:
    """Several instances are called one after the other, and the reply names the one."""
    clock, client = Clock(), HeldClient()
    urls = ["http://a.test", "http://b.test:81"]
    way = pipeline(client, service(base_url=None, instances=[{"url": url} for url in urls]), clock)
    names = []
    for _ in range(3):
        delivery = RecordingDelivery(envelope(), redelivered=False, log=[])
        task = asyncio.create_task(way.handle(Work(delivery)))
        await settled()
        client.calls[-1].answer()
        outcome = await task
        assert isinstance(outcome, Answered)
        names.append(outcome.reply.instance)

    assert names == ["http://a.test", "http://b.test:81", "http://a.test"]


@pytest.mark.parametrize(
    ("error", "left", "state"),
    [
        (ConnectFailed, 10, "ejected"),
        (ConnectionLost, 10, "ejected"),
        (UpstreamTimeout, 20, "ejected"),
        (UpstreamTimeout, 10, "healthy"),
        (ResponseTooLarge, 10, "ejected"),
        (BodyTooLarge, 10, "healthy"),
    ],
)
async def test_the_balancer_hears_of_failures(
    error: type[UpstreamError], left: float, state: str
) -> None:
    """Five of them in a row eject an instance, if they speak against it."""
    assert await state_after_calls(lambda call: call.fail(error("x", sent=True)), left) == state


@pytest.mark.parametrize(("status", "state"), [(503, "ejected"), (500, "healthy")])
async def test_the_balancer_hears_of_answers(status: int, state: str) -> None:
    """Gateway failures count; an error of the application is an answer."""
    assert await state_after_calls(lambda call: call.answer(status)) == state


async def test_the_balancer_hears_of_what_is_broken_off() -> None:
    """It is no longer under way, and says nothing about the instance."""
    assert await state_after_calls(lambda call: call.future.cancel()) == "healthy"


async def state_after_calls(end: Callable[[Call], object], left: float = 10) -> str:
    """How the first of two instances is seen after ten calls that ended so where they met it."""
    clock, client = Clock(), HeldClient()
    of = service(
        base_url=None,
        instances=[{"url": url} for url in ("http://a.test", "http://b.test")],
        strategy="round_robin",
    )
    way = pipeline(client, of, clock)
    for _ in range(10):
        delivery = RecordingDelivery(envelope(deadline=NOW + left), redelivered=False, log=[])
        task = asyncio.create_task(way.handle(Work(delivery)))
        await settled()
        if client.calls[-1].address.host == "a.test":
            end(client.calls[-1])
        else:
            client.calls[-1].answer()
        await asyncio.wait([task])
    assert {member.in_flight for member in way._balancer._members} == {0}
    return way._balancer.states()["http://a.test"]


async def test_no_instance() -> None:
    """A service that has none is answered 503 with a time to come back."""
    walk = Walk(envelope(), service(base_url=None, discovery={"type": "registry"}))
    reply = await walk.reply()

    assert (reply.status, reply.attempts, reply.instance) == (503, 0, "")
    assert reply.problem is not None
    assert (reply.problem.type, reply.problem.executed) == ("no-instance", "no")
    assert reply.problem.retry_after == 1


@pytest.mark.parametrize("sent", [False, True])
@pytest.mark.parametrize(
    ("error", "status", "slug"),
    [
        (ConnectFailed, 502, "upstream-connection"),
        (ConnectTimedOut, 504, "deadline-exceeded"),
        (TooManyCalls, 503, "no-instance"),
        (ConnectionLost, 502, "upstream-connection"),
        (ProtocolError, 502, "upstream-protocol"),
        (ResponseTooLarge, 502, "upstream-protocol"),
        (BodyTooLarge, 502, "upstream-protocol"),
        (UpstreamTimeout, 504, "deadline-exceeded"),
        (InvalidRequest, 400, "bad-request"),
        (UpstreamError, 502, "upstream-connection"),
    ],
)
async def test_a_failed_call_is_a_problem(
    error: type[UpstreamError], status: int, slug: str, sent: bool
) -> None:
    """Each failure has its type; it says whether the upstream may have acted, not where it is."""
    walk = Walk(envelope())
    await settled()
    walk.clock.now += 0.1
    walk.client.calls[0].fail(error("10.0.0.1 refused", sent=sent))
    reply = await walk.reply()

    assert reply.status == status
    assert reply.problem is not None
    assert (reply.problem.type, reply.problem.executed) == (slug, "unknown" if sent else "no")
    assert "10.0.0.1" not in reply.problem.detail
    assert reply.problem.proxy_error == error.proxy_error
    assert (reply.attempts, reply.instance) == (1, "http://users.test:8080")
    assert reply.upstream_ms == pytest.approx(100)


async def test_breaking_off_aborts_the_call() -> None:
    """Cancelling the message's task cancels the call that it waits for."""
    walk = Walk(envelope())
    await settled()

    walk.outcome.cancel()
    await settled()

    assert walk.client.calls[0].future.cancelled()


CHANGING = Transform.model_validate(
    {
        "name": "change",
        "request_transform": {"jsonpath": {"sent": "$.asked"}},
        "response_transform": {"template": {"got": "{{ answered }}"}},
    }
)


async def test_both_bodies_are_transformed() -> None:
    """The upstream gets the changed request, the client the changed answer; times stay."""
    client, clock = HeldClient(), Clock()
    way = pipeline(client, service(), clock, transforms=[CHANGING])
    delivery = RecordingDelivery(post(body=b'{"asked":1}'), redelivered=False, log=[])
    task = asyncio.create_task(way.handle(Work(delivery)))
    await settled()
    assert client.calls[0].request.body == b'{"sent":1}'
    clock.now += 0.5
    client.calls[0].answer(body=b'{"answered":2}')
    outcome = await task

    assert isinstance(outcome, Answered)
    reply = outcome.reply
    assert (reply.status, reply.reason, reply.body) == (200, b"OK", b'{"got":"2"}')
    assert (reply.upstream_ms, reply.attempts) == (500, 1)


async def transformed_for(seconds: float, message: Envelope) -> tuple[Outcome, int]:
    """How a message ends whose transform takes so long, and how many calls were made for it."""
    clock, client = Clock(), HeldClient()

    def passed(name: str, ended: str) -> None:
        clock.now += seconds

    way = pipeline(client, service(), clock, transforms=[CHANGING], ended=passed)
    delivery = RecordingDelivery(message, redelivered=False, log=[])
    outcome = await asyncio.wait_for(way.handle(Work(delivery)), 5)
    return outcome, len(client.calls)


@pytest.mark.parametrize("message", [envelope(body=b'{"asked":1}'), post(body=b'{"asked":1}')])
async def test_nothing_is_called_after_a_transform_that_took_too_long(message: Envelope) -> None:
    """The deadline holds after the transform as it did before."""
    assert await transformed_for(10, message) == (Expired(), 0)


async def test_nothing_is_called_that_could_not_be_answered_in_time() -> None:
    """With a few milliseconds left the client hears that nothing was done."""
    outcome, calls = await transformed_for(9.998, post(body=b'{"asked":1}'))

    assert isinstance(outcome, Answered)
    reply = outcome.reply
    assert (reply.status, reply.attempts, reply.instance, calls) == (504, 0, "", 0)
    assert reply.problem is not None
    assert (reply.problem.type, reply.problem.executed) == ("deadline-exceeded", "no")


async def test_a_request_that_can_not_be_transformed_is_not_sent() -> None:
    """It is answered with a problem, as after no call."""
    client, ended = HeldClient(), list[tuple[str, str]]()
    change = {"name": "t", "request_transform": {"template": {"a": "{{ missing }}"}}}
    way = pipeline(
        client,
        service(),
        Clock(),
        transforms=[Transform.model_validate(change)],
        ended=lambda *e: ended.append(e),
    )
    work = Work(RecordingDelivery(post(body=b"{}"), redelivered=False, log=[]))
    outcome = await way.handle(work)

    assert isinstance(outcome, Answered)
    reply = outcome.reply
    assert (reply.status, reply.attempts, client.calls) == (502, 0, [])
    assert reply.problem is not None
    assert (reply.problem.type, reply.problem.executed) == ("transform-failed", "no")
    assert ended == [("t", "failed")]


async def test_an_answer_that_can_not_be_transformed_is_a_problem() -> None:
    """With the instance and the time of the call that was made."""
    client, clock = HeldClient(), Clock()
    way = pipeline(client, service(), clock, transforms=[CHANGING])
    delivery = RecordingDelivery(envelope(), redelivered=False, log=[])
    task = asyncio.create_task(way.handle(Work(delivery)))
    await settled()
    clock.now += 0.5
    client.calls[0].answer(body=b"{}")
    outcome = await task

    assert isinstance(outcome, Answered)
    reply = outcome.reply
    assert (reply.status, reply.body, reply.headers) == (502, b"", ())
    assert reply.problem is not None
    assert (reply.problem.type, reply.problem.executed) == ("transform-failed", "unknown")
    assert (reply.upstream_ms, reply.instance) == (500, "http://users.test:8080")
