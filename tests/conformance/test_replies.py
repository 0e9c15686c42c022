"""The way home."""

import os
import time
from collections import Counter

import pytest

from broker.contract import Broker, Delivery, MessageTooLarge, Published
from broker.messages import Problem, Reply
from broker.topology import RequestQueue, reply_queue
from tests.conformance.carriers import Events, Inbox, envelope
from tests.conformance.conftest import Connect

BODIES = {
    "empty": b"",
    "binary": bytes(range(256)),
    "one byte over a frame": b"x" * (131_072 - 8 + 1),
    "1 MiB": os.urandom(1024**2),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
async def test_bodies_pass_unharmed_both_ways(
    broker: Broker, queue: RequestQueue, node: str, body: bytes
) -> None:
    """What the dispatcher gets is what was sent, and so is what comes home."""
    replies: Inbox[Reply] = Inbox()
    await broker.receive_replies(node, replies)
    inbox: Inbox[Delivery] = Inbox()
    await broker.consume(queue, 1, inbox)
    message = envelope(queue.service, body=body, reply_to=reply_queue(node))
    broker.publish(message, Inbox[Published]())
    delivery = await inbox.next()
    assert delivery.envelope.body == body

    reply = Reply(
        id=message.id,
        status=200,
        reason=b"Fine",
        headers=((b"Set-Cookie", b"b=1"), (b"Set-Cookie", b"a=1"), (b"x-\xe9", b"\xe9")),
        body=delivery.envelope.body,
        attempts=1,
    )
    broker.reply(delivery.envelope.reply_to, reply, message.deadline)
    delivery.ack()
    assert await replies.next() == reply


async def test_a_reply_larger_than_the_limit(broker: Broker, node: str) -> None:
    """Whoever sends it hears of it at once, and can send another in its place."""
    replies: Inbox[Reply] = Inbox()
    await broker.receive_replies(node, replies)
    broker.max_message = 100_000
    deadline = time.time() + 60
    with pytest.raises(MessageTooLarge):
        broker.reply(reply_queue(node), Reply(id="a", body=bytes(100_001)), deadline)
    fitting = Reply(id="a", body=bytes(99_000))
    broker.reply(reply_queue(node), fitting, deadline)
    assert await replies.next() == fitting
    assert replies.waiting == 0


async def test_problems_come_home_too(broker: Broker, node: str) -> None:
    """A reply that is a problem arrives as it was."""
    replies: Inbox[Reply] = Inbox()
    await broker.receive_replies(node, replies)
    problem = Problem("no-instance", "none is healthy", executed="no", retry_after=3)
    reply = Reply(id="x", problem=problem, queue_ms=1.5, instance="http://a")
    broker.reply(reply_queue(node), reply, time.time() + 60)
    assert await replies.next() == reply


async def test_a_reply_finds_its_own_node(connect: Connect, broker: Broker, node: str) -> None:
    """Two ingress nodes each get what is theirs, from any broker."""
    mine: Inbox[Reply] = Inbox()
    theirs: Inbox[Reply] = Inbox()
    await broker.receive_replies(node, mine)
    await (await connect()).receive_replies(node + "-2", theirs)
    broker.reply(reply_queue(node + "-2"), Reply(id="theirs"), time.time() + 60)
    broker.reply(reply_queue(node), Reply(id="mine"), time.time() + 60)
    assert (await mine.next()).id == "mine"
    assert (await theirs.next()).id == "theirs"
    assert mine.waiting == theirs.waiting == 0


async def test_a_reply_to_a_vanished_node_is_counted(connect: Connect, node: str) -> None:
    """A reply whose queue is gone is dropped, and the listener hears of it."""
    events = Events()
    broker = await connect(events)
    broker.reply(reply_queue(node), Reply(id="late"), time.time() + 60)
    assert await events.dropped_replies.next() == (reply_queue(node), "late")


async def test_a_reply_after_the_deadline_is_counted(connect: Connect, node: str) -> None:
    """A reply that comes too late is dropped, and the listener hears of it."""
    events = Events()
    broker = await connect(events)
    replies: Inbox[Reply] = Inbox()
    await broker.receive_replies(node, replies)
    broker.reply(reply_queue(node), Reply(id="late"), time.time() - 1)
    assert await events.dropped_replies.next() == (reply_queue(node), "late")
    broker.reply(reply_queue(node), Reply(id="in time"), time.time() + 60)
    assert (await replies.next()).id == "in time"


async def test_a_thousand_in_flight_are_each_answered_once(
    connect: Connect, broker: Broker, queue: RequestQueue, node: str
) -> None:
    """A thousand held at once and answered in reverse: each id has one answer, its own."""
    replies: Inbox[Reply] = Inbox()
    await broker.receive_replies(node, replies)
    dispatcher = await connect()
    inbox: Inbox[Delivery] = Inbox()
    await dispatcher.consume(queue, 1000, inbox)
    messages = [
        envelope(queue.service, body=b"%d" % i, reply_to=reply_queue(node)) for i in range(1000)
    ]
    for message in messages:
        broker.publish(message, Inbox[Published]())
    for delivery in reversed(await inbox.take(1000)):
        asked = delivery.envelope
        dispatcher.reply(asked.reply_to, Reply(id=asked.id, body=asked.body), asked.deadline)
        delivery.ack()
    answers = await replies.take(1000)
    assert Counter((a.id, a.body) for a in answers) == Counter((m.id, m.body) for m in messages)

    dispatcher.reply(reply_queue(node), Reply(id="last"), time.time() + 60)
    assert (await replies.next()).id == "last"  # nothing came twice
