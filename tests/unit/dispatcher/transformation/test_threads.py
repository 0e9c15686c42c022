"""Jobs on threads, services beside each other."""

import asyncio
import threading

import pytest

from dispatcher.transformation import threads
from dispatcher.transformation.budget import Budget, TooMuchWork
from dispatcher.transformation.threads import Threads, TooManyWaiting
from tests.unit.dispatcher.doubles import settled


class Held:
    """A job that begins, and ends when it may."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.begun = asyncio.Event()
        self.go_on = threading.Event()

    def __call__(self, budget: Budget) -> int:
        self.loop.call_soon_threadsafe(self.begun.set)
        self.go_on.wait(10)
        return 1


def budget() -> Budget:
    return Budget(10, 10)


async def test_one_service_does_not_hold_up_another() -> None:
    """While one has a job under way and more of them waiting, the other's is done."""
    jobs, held = Threads[int](), Held()
    tasks = [asyncio.create_task(jobs.run("a", held, budget())) for _ in range(3)]
    try:
        await held.begun.wait()
        assert await jobs.run("b", lambda _: 2, budget()) == 2
    finally:
        held.go_on.set()
    assert await asyncio.gather(*tasks) == [1, 1, 1]


async def test_what_was_cancelled_is_not_begun() -> None:
    """And what is under way ends at its next step."""
    jobs, held, done = Threads[int](), Held(), list[int]()
    stopped = asyncio.Event()

    def stoppable(budget: Budget) -> int:
        held(budget)
        try:
            budget.tick()
        except TooMuchWork:
            held.loop.call_soon_threadsafe(stopped.set)
        return 1

    def begun(budget: Budget) -> int:
        done.append(2)
        return 2

    first = asyncio.create_task(jobs.run("a", stoppable, budget()))
    second = asyncio.create_task(jobs.run("a", begun, budget()))
    await held.begun.wait()
    for task in (first, second):
        task.cancel()
    await asyncio.wait([first, second])
    third = asyncio.create_task(jobs.run("a", lambda _: 3, budget()))
    await settled()
    assert not third.done()  # the thread is still at the first
    held.go_on.set()
    await stopped.wait()
    assert await third == 3
    assert done == []


async def test_the_queue_of_a_service_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes beyond it is refused at once; other services have queues of their own."""
    monkeypatch.setattr(threads, "MOST_WAITING", 1)
    jobs, held = Threads[int](), Held()
    tasks = [asyncio.create_task(jobs.run("a", held, budget())) for _ in range(2)]
    try:
        await held.begun.wait()
        with pytest.raises(TooManyWaiting):
            await jobs.run("a", held, budget())
        assert await jobs.run("b", lambda _: 2, budget()) == 2
    finally:
        held.go_on.set()
        await asyncio.gather(*tasks)


async def test_errors_are_passed_on() -> None:
    """And the thread goes on with the next job."""

    def bad(_: Budget) -> int:
        raise LookupError

    jobs = Threads[int]()
    with pytest.raises(LookupError):
        await jobs.run("a", bad, budget())
    assert await jobs.run("a", lambda _: 2, budget()) == 2
