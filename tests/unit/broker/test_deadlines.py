"""Deadlines by the loop's clock, which these tests turn themselves."""

import asyncio
from collections.abc import Callable
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from broker.deadlines import TICK, Deadlines


class Loop:
    """A clock that the test turns, and its timers."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None]) -> "Loop":
        self.timers.append((self.now + delay, callback))
        return self

    def cancel(self) -> None:
        self.timers.clear()

    def turn(self, until: float) -> None:
        while self.timers and min(self.timers, key=lambda timer: timer[0])[0] <= until:
            timer = min(self.timers, key=lambda timer: timer[0])
            self.timers.remove(timer)
            self.now = timer[0]
            timer[1]()
        self.now = until


class Item:
    """Notes when it expired."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.expired_at: list[float] = []

    def expire(self) -> None:
        self.expired_at.append(self.loop.now)


def made() -> tuple[Loop, Deadlines[Item]]:
    loop = Loop()
    return loop, Deadlines[Item](cast(asyncio.AbstractEventLoop, loop))


@given(st.lists(st.floats(0, 20), max_size=30))
def test_every_deadline_is_kept_once_and_never_early(seconds: list[float]) -> None:
    """Whatever else waits, each item ends within two ticks of its time."""
    loop, deadlines = made()
    items = [Item(loop) for _ in seconds]
    for item, after in zip(items, seconds, strict=True):
        deadlines.add(item, after)
    loop.turn(until=25)
    for item, after in zip(items, seconds, strict=True):
        assert len(item.expired_at) == 1
        assert after <= item.expired_at[0] <= after + 2 * TICK + 1e-6


def test_what_ended_by_itself_does_not_expire() -> None:
    """And once nothing waits, the loop has no timer of ours."""
    loop, deadlines = made()
    item = Item(loop)
    deadlines.discard(item, deadlines.add(item, 1))
    loop.turn(until=5)
    assert item.expired_at == []
    assert loop.timers == []


def test_expiring_may_end_others_and_add_new_ones() -> None:
    """The callbacks of one tick change the wheel that turns them."""
    loop, deadlines = made()
    later = Item(loop)

    class Chain(Item):
        def expire(self) -> None:
            super().expire()
            deadlines.discard(other, tick)
            deadlines.add(later, 1)

    other = Item(loop)
    deadlines.add(Chain(loop), 1)
    tick = deadlines.add(other, 2)
    loop.turn(until=10)
    assert other.expired_at == []
    assert len(later.expired_at) == 1


def test_after_closing_nothing_expires() -> None:
    """Its owner is gone."""
    loop, deadlines = made()
    item = Item(loop)
    deadlines.add(item, 1)
    deadlines.close()
    loop.turn(until=5)
    assert item.expired_at == []
