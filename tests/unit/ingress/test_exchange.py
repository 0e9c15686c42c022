"""Every request gets exactly one answer, whatever the broker does."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Self

import pytest

from broker.contract import Broker, ConnectionState, OnPublished, OnReply, OnState, Published
from broker.embedded import EmbeddedBroker
from broker.messages import Envelope, Problem, Reply
from broker.topology import RequestQueue
from ingress.exchange import RESEND_BATCH, Exchange, ExchangeListener

CONNECTED, BLOCKED, DISCONNECTED = ConnectionState


class ScriptedBroker:
    """A carrier whose every word a test decides; keeps to the contract's rule on callbacks."""

    def __init__(self) -> None:
        self.state = CONNECTED
        self.sent: list[tuple[Envelope, OnPublished]] = []
        self.arrived = asyncio.Event()
        self.on_state: OnState
        self.on_reply: OnReply

    def watch(self, on_state: OnState) -> None:
        self.on_state = on_state

    async def receive_replies(self, node: str, on_reply: OnReply) -> None:
        self.on_reply = on_reply

    def publish(self, envelope: Envelope, on_published: OnPublished) -> None:
        self.sent.append((envelope, on_published))
        self.arrived.set()

    def become(self, state: ConnectionState) -> None:
        self.state = state
        self.on_state(state)

    async def published(self, count: int = 1) -> None:
        """Wait until so many messages were published."""
        while len(self.sent) < count:
            self.arrived.clear()
            await self.arrived.wait()


class Counts(ExchangeListener):
    def __init__(self) -> None:
        self.unmatched = 0
        self.again = 0
        self.results: list[Published] = []
        self.pending: Callable[[], int] = lambda: -1

    def opened(self, pending: Callable[[], int]) -> None:
        self.pending = pending

    def not_accepted(self, result: Published) -> None:
        self.results.append(result)

    def published_again(self) -> None:
        self.again += 1

    def reply_unmatched(self) -> None:
        self.unmatched += 1


class Setup:
    """An exchange over a scripted broker."""

    def __init__(self, **options: Any) -> None:
        self.broker = ScriptedBroker()
        self.counts = Counts()
        self.exchange = Exchange(
            self.broker,  # type: ignore[arg-type]  # as much of one as an exchange uses
            "n1",
            listener=self.counts,
            **options,
        )

    async def __aenter__(self) -> Self:
        await self.exchange.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.exchange.__aexit__(*exc_info)

    async def ask(self, request: Envelope) -> asyncio.Task[Reply]:
        """Ask, and return once it is published."""
        before = len(self.broker.sent)
        task = asyncio.create_task(self.exchange.ask(request))
        await self.broker.published(before + 1)
        return task


def envelope(name: str = "r1", *, idempotent: bool = True, timeout: float = 30.0) -> Envelope:
    now = time.time()
    return Envelope(
        id=name,
        route="r",
        service="s",
        tier="FREE",
        method="GET",
        path="/",
        target="/",
        headers=(),
        body=b"",
        principal=None,
        deadline=now + timeout,
        idempotent=idempotent,
        reply_to="gateway.replies.n1",
        published_at=now,
    )


def problem(reply: Reply) -> tuple[int, str, str | None]:
    assert isinstance(reply.problem, Problem)
    return reply.status, reply.problem.type, reply.problem.executed


async def test_reply_is_matched_by_id() -> None:
    """Replies may come in any order; each finds its own request."""
    async with Setup() as setup:
        one, two = [await setup.ask(envelope(name)) for name in ("one", "two")]
        assert setup.counts.pending() == 2
        for name in ("two", "one"):
            setup.broker.on_reply(Reply(id=name, status=200, body=name.encode()))
        assert [(await one).body, (await two).body] == [b"one", b"two"]
        assert setup.counts.pending() == 0


async def test_late_and_double_replies_are_dropped_and_counted() -> None:
    """Only the first reply counts, and one that nobody waits for harms nobody."""
    async with Setup() as setup:
        task = await setup.ask(envelope())
        for status in (200, 500):
            setup.broker.on_reply(Reply(id="r1", status=status))
        assert (await task).status == 200
        setup.broker.on_reply(Reply(id="r1", status=500))
        setup.broker.on_reply(Reply(id="stranger", status=500))
        assert setup.counts.unmatched == 3


async def test_deadline() -> None:
    """Without an answer there is a 504 at the deadline, and a later reply is dropped."""
    async with Setup() as setup:
        task = await setup.ask(envelope(timeout=0.02))
        setup.broker.sent[0][1](Published.ACCEPTED)
        assert problem(await task) == (504, "deadline-exceeded", "unknown")
        setup.broker.on_reply(Reply(id="r1", status=200))
        assert setup.counts.unmatched == 1


async def test_deadline_passed_already() -> None:
    """What can't be answered in time is not sent at all."""
    async with Setup() as setup:
        reply = await setup.exchange.ask(envelope(timeout=0.0))
        assert problem(reply) == (504, "deadline-exceeded", "no")
        assert not setup.broker.sent


@pytest.mark.parametrize(
    ("result", "idempotent", "answer"),
    [
        (Published.QUEUE_FULL, True, (503, "queue-full", "no")),
        (Published.UNROUTABLE, True, (503, "broker-unavailable", "no")),
        (Published.UNAVAILABLE, True, (503, "broker-unavailable", "no")),
        (Published.UNAVAILABLE, False, (503, "broker-unavailable", "no")),
        (Published.LOST, False, (503, "broker-unavailable", "unknown")),
    ],
)
async def test_refused_by_the_broker(
    result: Published, idempotent: bool, answer: tuple[int, str, str]
) -> None:
    """A refusal is answered at once, with when to come back; only what was sent is in doubt."""
    async with Setup() as setup:
        task = await setup.ask(envelope(idempotent=idempotent))
        setup.broker.sent[0][1](result)
        reply = await task
        assert problem(reply) == answer
        assert reply.problem is not None
        assert reply.problem.retry_after
        assert setup.counts.results == [result]


async def test_larger_than_what_the_broker_takes() -> None:
    """It is refused for good: nothing was sent, and nobody is told to come back."""
    async with Setup() as setup:
        task = await setup.ask(envelope())
        setup.broker.sent[0][1](Published.TOO_LARGE)
        reply = await task
        assert problem(reply) == (413, "body-too-large", "no")
        assert reply.problem is not None
        assert reply.problem.retry_after is None
        assert setup.counts.results == [Published.TOO_LARGE]


async def test_too_large_only_the_second_time() -> None:
    """Where less is taken than before, it is not tried on; its first copy may have passed."""
    async with Setup() as setup:
        task = await setup.ask(envelope())
        setup.broker.become(DISCONNECTED)
        setup.broker.become(CONNECTED)
        await setup.broker.published(2)
        setup.broker.sent[1][1](Published.TOO_LARGE)
        assert problem(await task) == (413, "body-too-large", "unknown")


@pytest.mark.parametrize("state", [BLOCKED, DISCONNECTED])
async def test_new_requests_while_the_broker_is_away(state: ConnectionState) -> None:
    """New requests are refused at once, before they are sent."""
    async with Setup() as setup:
        setup.broker.become(state)
        reply = await setup.exchange.ask(envelope())
        assert problem(reply) == (503, "broker-unavailable", "no")
        assert reply.problem is not None
        assert reply.problem.retry_after
        assert not setup.broker.sent


async def test_blocked_keeps_waiting() -> None:
    """A broker that takes no messages still delivers replies."""
    async with Setup() as setup:
        task = await setup.ask(envelope(idempotent=False))
        setup.broker.become(BLOCKED)
        setup.broker.on_reply(Reply(id="r1", status=200))
        assert (await task).status == 200


async def test_lost_connection() -> None:
    """What may be repeated is published again on return; the rest is answered at once."""
    async with Setup() as setup:
        get = await setup.ask(envelope("get"))
        post = await setup.ask(envelope("post", idempotent=False))
        setup.broker.sent[0][1](Published.ACCEPTED)
        setup.broker.become(DISCONNECTED)
        setup.broker.sent[1][1](Published.LOST)
        assert problem(await post) == (503, "broker-unavailable", "unknown")
        setup.broker.become(CONNECTED)
        await setup.broker.published(3)
        assert [sent.id for sent, _ in setup.broker.sent] == ["get", "post", "get"]
        assert setup.counts.again == 1
        setup.broker.on_reply(Reply(id="get", status=200))
        assert (await get).status == 200


async def test_reply_that_survived_the_loss() -> None:
    """A reply that waited at the broker answers the request, which is not sent again then."""
    async with Setup() as setup:
        task = await setup.ask(envelope())
        setup.broker.become(DISCONNECTED)
        setup.broker.become(CONNECTED)
        setup.broker.on_reply(Reply(id="r1", status=200))
        assert (await task).status == 200
        other = await setup.ask(envelope("r2"))
        assert [sent.id for sent, _ in setup.broker.sent] == ["r1", "r2"]
        setup.broker.on_reply(Reply(id="r2", status=200))
        await other
    assert setup.counts.again == 0


async def test_lost_while_connected_is_sent_again() -> None:
    """A confirm that never comes, or a broker not ready again, only costs time."""
    async with Setup() as setup:
        task = await setup.ask(envelope())
        for sent, result in enumerate(
            (Published.LOST, Published.UNAVAILABLE, Published.UNROUTABLE), start=1
        ):
            setup.broker.sent[-1][1](result)
            await setup.broker.published(sent + 1)
        setup.broker.sent[-1][1](Published.QUEUE_FULL)
        assert problem(await task) == (503, "queue-full", "unknown")


async def test_what_one_of_two_copies_says() -> None:
    """That it was not executed is true of itself only: the first copy may have been."""
    not_done = Problem("deadline-exceeded", "There was no time left.", "no")
    async with Setup() as setup:
        task = await setup.ask(envelope())
        setup.broker.sent[-1][1](Published.LOST)
        await setup.broker.published(2)
        setup.broker.on_reply(Reply(id="r1", status=504, problem=not_done))
        assert problem(await task) == (504, "deadline-exceeded", "unknown")
        once = await setup.ask(envelope("r2"))
        setup.broker.on_reply(Reply(id="r2", status=504, problem=not_done))
        assert problem(await once) == (504, "deadline-exceeded", "no")


async def test_away_until_the_deadline() -> None:
    """A broker that stays away makes nobody wait past the deadline."""
    async with Setup() as setup:
        task = await setup.ask(envelope(timeout=0.05))
        setup.broker.become(DISCONNECTED)
        assert problem(await task) == (504, "deadline-exceeded", "unknown")
        setup.broker.become(CONNECTED)
        assert len(setup.broker.sent) == 1


async def test_sent_again_in_batches() -> None:
    """After a loss no single turn of the loop publishes everything."""
    async with Setup() as setup:
        total = RESEND_BATCH * 2 + 1
        tasks = [asyncio.create_task(setup.exchange.ask(envelope(f"{n}"))) for n in range(total)]
        await setup.broker.published(total)
        setup.broker.become(DISCONNECTED)
        setup.broker.become(CONNECTED)
        await setup.broker.published(total + 1)
        assert len(setup.broker.sent) == total + RESEND_BATCH
        await setup.broker.published(2 * total)
        assert {sent.id for sent, _ in setup.broker.sent[total:]} == {str(n) for n in range(total)}
        for n in range(total):
            setup.broker.on_reply(Reply(id=f"{n}", status=200))
        assert [reply.status for reply in await asyncio.gather(*tasks)] == [200] * total


async def test_client_that_left_leaves_nothing() -> None:
    """Cancelling forgets the request in every state, and late news about it is harmless."""
    async with Setup() as setup:
        tasks = [await setup.ask(envelope(f"{n}")) for n in range(1000)]
        setup.broker.become(DISCONNECTED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert setup.exchange.pending == 0
        assert not setup.exchange._stranded
        setup.broker.become(CONNECTED)
        for _, on_published in setup.broker.sent:
            on_published(Published.LOST)
        setup.broker.on_reply(Reply(id="5", status=200))
        assert len(setup.broker.sent) == 1000


async def test_bounded() -> None:
    """More than the limit may not wait; the next one is refused, and may come when one is done."""
    async with Setup(max_waiting=1) as setup:
        task = await setup.ask(envelope("one"))
        assert problem(await setup.exchange.ask(envelope("two"))) == (503, "queue-full", "no")
        setup.broker.on_reply(Reply(id="one", status=200))
        await task
        third = await setup.ask(envelope("three"))
        setup.broker.on_reply(Reply(id="three", status=204))
        assert (await third).status == 204


async def test_closing_answers_who_still_waits() -> None:
    """At the end nobody is left without an answer, and nobody new is taken."""
    async with Setup() as setup:
        task = await setup.ask(envelope())
    assert problem(await task) == (503, "shutting-down", "unknown")
    assert problem(await setup.exchange.ask(envelope())) == (503, "shutting-down", "no")


@asynccontextmanager
async def answering(broker: Broker, *, limit: int = 10) -> AsyncIterator[None]:
    """A dispatcher that sends every body back."""

    def answer(delivery: Any) -> None:
        asked = delivery.envelope
        broker.reply(
            asked.reply_to, Reply(id=asked.id, status=200, body=asked.body), asked.deadline
        )
        delivery.ack()

    consumer = await broker.consume(RequestQueue("s", "FREE", limit), 10, answer)
    yield
    await consumer.cancel()


async def test_over_the_embedded_broker() -> None:
    """With a real carrier and a dispatcher behind it, a request comes back answered."""
    async with EmbeddedBroker() as broker, Exchange(broker, "n1") as exchange, answering(broker):
        asked = [envelope(f"{n}") for n in range(5)]
        replies = await asyncio.gather(*map(exchange.ask, asked))
        assert [reply.id for reply in replies] == [each.id for each in asked]


async def test_refusals_of_the_embedded_broker() -> None:
    """A missing and a full queue are told apart."""
    async with EmbeddedBroker() as broker, Exchange(broker, "n1") as exchange:
        assert problem(await exchange.ask(envelope())) == (503, "broker-unavailable", "no")
        await broker.declare([RequestQueue("s", "FREE", 1)])
        first = asyncio.create_task(exchange.ask(envelope("first", timeout=0.05)))
        await asyncio.sleep(0)
        assert problem(await exchange.ask(envelope("second"))) == (503, "queue-full", "no")
        assert problem(await first) == (504, "deadline-exceeded", "unknown")
