"""A second call beside one that is late."""

import asyncio

import pytest

from config.models.routes import Hedge
from dispatcher.attempt import NO_INSTANCE, Attempt, responded
from dispatcher.call_end import of_status
from dispatcher.policies.hedging import hedged
from dispatcher.upstream import UpstreamResponse
from tests.unit.dispatcher.doubles import settled

GOOD, BAD, WORSE = (
    responded(UpstreamResponse(status, b"", (), b""), "a", 1.0, of_status(status).service)
    for status in (200, 500, 503)
)
AT_ONCE = Hedge(delay=0.001)
NEVER = Hedge(delay=3600)


class Calls:
    """Calls that the test ends."""

    def __init__(self) -> None:
        self.futures: list[asyncio.Future[Attempt | None]] = []
        self.refused = 0
        self.made = asyncio.Condition()

    async def call(self) -> Attempt | None:
        future: asyncio.Future[Attempt | None] = asyncio.get_running_loop().create_future()
        async with self.made:
            self.futures.append(future)
            self.made.notify_all()
        return await future

    def refuse(self) -> None:
        self.refused += 1

    def start(self, hedge: Hedge) -> asyncio.Task[Attempt | None]:
        return asyncio.create_task(hedged(self.call(), self.call, hedge))

    async def reach(self, count: int) -> None:
        async with self.made:
            await self.made.wait_for(lambda: len(self.futures) == count)


@pytest.fixture
def calls() -> Calls:
    """None yet."""
    return Calls()


async def test_in_time_there_is_one_call(calls: Calls) -> None:
    """A call that ends before the delay is the only one, however it ends."""
    for end in (GOOD, BAD, None):
        outcome = calls.start(NEVER)
        await settled()
        calls.futures[-1].set_result(end)
        assert await outcome == end

    assert len(calls.futures) == 3


@pytest.mark.parametrize(("first", "second"), [(0, 1), (1, 0)])
async def test_the_first_good_answer_wins(calls: Calls, first: int, second: int) -> None:
    """Whichever call it comes from; the other one is cancelled, and over."""
    outcome = calls.start(AT_ONCE)
    await calls.reach(2)
    calls.futures[first].set_result(GOOD)

    assert await outcome == GOOD
    assert calls.futures[second].cancelled()


async def test_a_failure_waits_for_the_other(calls: Calls) -> None:
    """One that failed does not end the other, which may still go well."""
    outcome = calls.start(AT_ONCE)
    await calls.reach(2)
    calls.futures[0].set_result(BAD)
    await settled()
    calls.futures[1].set_result(GOOD)

    assert await outcome == GOOD


async def test_all_failed(calls: Calls) -> None:
    """The last failure is the outcome; a call that was not made is none."""
    outcome = calls.start(Hedge(delay=0.001, max=3))
    await calls.reach(4)
    for future, end in zip(calls.futures, (BAD, NO_INSTANCE, WORSE, None), strict=True):
        future.set_result(end)
        await settled()

    assert await outcome == WORSE


async def test_no_more_than_the_maximum(calls: Calls) -> None:
    """Refusals count too: who may not hedge now is not asked for ever."""
    outcome = asyncio.create_task(hedged(calls.call(), calls.refuse, Hedge(delay=0.001, max=2)))
    await calls.reach(1)
    async with asyncio.timeout(10):
        while calls.refused < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    await settled()
    calls.futures[0].set_result(GOOD)

    assert await outcome == GOOD
    assert calls.refused == 2


async def test_breaking_off_ends_all(calls: Calls) -> None:
    """Cancelling cancels every call, and waits for them."""
    outcome = calls.start(AT_ONCE)
    await calls.reach(2)
    outcome.cancel()
    with pytest.raises(asyncio.CancelledError):
        await outcome

    assert all(future.cancelled() for future in calls.futures)


async def test_a_fault_of_our_own_is_raised(calls: Calls) -> None:
    """And nothing is left running."""
    outcome = calls.start(AT_ONCE)
    await calls.reach(2)
    calls.futures[0].set_exception(RuntimeError("ours"))
    with pytest.raises(RuntimeError):
        await outcome

    assert calls.futures[1].cancelled()
