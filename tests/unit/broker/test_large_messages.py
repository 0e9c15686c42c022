"""Whose turn it is among large messages."""

import asyncio

from broker.contract import OnPublished, Published
from broker.large_messages import LargeMessages
from broker.messages import Envelope
from tests.conformance.carriers import Inbox, envelope

ROOM = 100


class Link:
    """Keeps what was sent, for the test to settle."""

    def __init__(self, timeout: float = 60) -> None:
        self.under_way: dict[str, OnPublished] = {}
        self.large = LargeMessages(self._send, ROOM, timeout)
        self.ended: Inbox[Published] = Inbox()

    def publish(self, *sizes: int) -> list[str]:
        """Messages of so many bytes; returns their ids."""
        messages = [envelope("service", body=bytes(size)) for size in sizes]
        for message in messages:
            self.large.publish(message, self.ended)
        return [message.id for message in messages]

    def settle(self, message: str, ended: Published = Published.ACCEPTED) -> None:
        """The broker's word."""
        self.under_way.pop(message)(ended)

    def _send(self, message: Envelope, on_published: OnPublished) -> None:
        self.under_way[message.id] = on_published


async def test_as_many_are_under_way_as_there_is_room_for() -> None:
    """The next one goes when the broker has had its word on those before, however it was."""
    link = Link()
    first, second, third, fourth = link.publish(60, 40, 30, 70)
    assert list(link.under_way) == [first, second]
    link.settle(second)
    assert list(link.under_way) == [first, third]
    link.settle(first, Published.LOST)
    assert list(link.under_way) == [third, fourth]
    assert await link.ended.take(2) == [Published.ACCEPTED, Published.LOST]


async def test_none_is_overtaken() -> None:
    """A smaller one, for which there were room, waits behind the larger one."""
    link = Link()
    first, second, third = link.publish(60, 50, 10)
    assert list(link.under_way) == [first]
    link.settle(first)
    assert list(link.under_way) == [second, third]


async def test_one_that_is_larger_than_the_room_goes_alone() -> None:
    """It is not for this place to refuse it."""
    link = Link()
    first, second, third = link.publish(10, ROOM + 1, 10)
    assert list(link.under_way) == [first]
    link.settle(first)
    assert list(link.under_way) == [second]
    link.settle(second)
    assert list(link.under_way) == [third]


async def test_one_whose_turn_does_not_come_is_not_sent() -> None:
    """It is UNAVAILABLE once, and what waits behind it is not held up by it any longer."""
    link = Link(timeout=0.02)
    first, second = link.publish(60, 50)
    assert await link.ended.next() is Published.UNAVAILABLE
    (third,) = link.publish(40)
    assert second not in link.under_way
    assert list(link.under_way) == [first, third]
    link.settle(first)
    assert await link.ended.next() is Published.ACCEPTED


async def test_what_was_sent_in_time_does_not_expire() -> None:
    """The wait of one that is sent ends there; that of one behind it runs on."""
    link = Link(timeout=0.02)
    first, second = link.publish(60, 50)
    link.settle(first)
    link.publish(60)
    assert await link.ended.take(2) == [Published.ACCEPTED, Published.UNAVAILABLE]
    link.settle(second)
    assert await link.ended.next() is Published.ACCEPTED
    assert not link.ended.waiting


async def test_a_turn_that_came_in_time_has_no_other_end() -> None:
    """What was sent is not told of as never sent when the time to wait is over."""
    link = Link(timeout=0.02)
    first, second = link.publish(60, 60)
    link.settle(first)
    assert list(link.under_way) == [second]
    failures: list[dict[str, object]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: failures.append(context))
    over = asyncio.Event()
    loop.call_later(0.05, over.set)
    await over.wait()
    link.settle(second)

    assert await link.ended.take(2) == [Published.ACCEPTED] * 2
    assert failures == []
