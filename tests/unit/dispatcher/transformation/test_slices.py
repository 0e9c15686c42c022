"""Jobs on the loop, a slice of time in each of its turns."""

import asyncio
from functools import partial

import pytest

from dispatcher.transformation.slices import Slices
from tests.unit.dispatcher.doubles import Clock, settled


def costly(clock: Clock, done: list[str], name: str) -> str:
    clock.now += 0.0015
    done.append(name)
    return name


async def test_a_turn_does_no_more_than_a_slice() -> None:
    """The loop has its turn between jobs that are longer together."""
    clock, done = Clock(), list[str]()
    slices = Slices[str](clock)
    tasks = [
        asyncio.create_task(slices.in_turn("a", partial(costly, clock, done, name)))
        for name in "12345"
    ]
    seen = []
    while len(done) < len(tasks):
        await asyncio.sleep(0)
        seen.append(len(done))
    assert max(b - a for a, b in zip([0, *seen], seen, strict=False)) == 2
    assert await asyncio.gather(*tasks) == list("12345")


async def test_what_is_done_at_once_is_charged() -> None:
    """Until the next turn of the loop."""
    clock, done = Clock(), list[str]()
    slices = Slices[str](clock)
    assert slices.free
    slices.at_once(lambda: costly(clock, done, "1"))
    assert slices.free
    slices.at_once(lambda: costly(clock, done, "2"))
    assert not slices.free
    await settled()
    assert slices.free


async def test_what_was_cancelled_is_not_done() -> None:
    """Nor does it stand in the way of the next one."""
    clock, done = Clock(), list[str]()
    slices = Slices[str](clock)
    first = asyncio.create_task(slices.in_turn("a", lambda: costly(clock, done, "1")))
    await asyncio.sleep(0)
    first.cancel()
    assert await slices.in_turn("a", lambda: costly(clock, done, "2")) == "2"
    assert done == ["2"]


async def test_errors_are_passed_on() -> None:
    """To whoever waits for the job, and to nobody else."""

    def bad() -> None:
        raise LookupError

    slices = Slices[None](Clock())
    with pytest.raises(LookupError):
        await slices.in_turn("a", bad)
    await slices.in_turn("a", lambda: None)
