"""The circuit breaker, its states and its library face."""

import asyncio
import math
from typing import Any

import pytest

from api_gateway import CircuitBreaker
from dispatcher.policies.circuit_breaker import CircuitOpen, State, Transition
from tests.unit.dispatcher.doubles import Clock

CLOSED, OPEN, HALF_OPEN = State.CLOSED, State.OPEN, State.HALF_OPEN


class Bench:
    """A breaker on a clock that the test moves, and what it tells."""

    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.told: list[Transition] = []
        values = {"failure_threshold": 3, "reset_timeout": 60.0, **options}
        self.breaker = CircuitBreaker(**values, listener=self.told.append, clock=self.clock)

    @property
    def states(self) -> list[State]:
        return [transition.state for transition in self.told]

    def call(self, well: bool = True, seconds: float = 0.0) -> bool:
        """Whether a call was let through; it ends at once."""
        permit = self.breaker.acquire()
        if permit is None:
            return False
        end = self.breaker.succeeded if well else self.breaker.failed
        end(permit, seconds)
        return True

    def fail(self, times: int) -> None:
        for _ in range(times):
            assert self.call(well=False)

    def permit(self) -> int:
        """A permit, which there must be."""
        permit = self.breaker.acquire()
        assert permit is not None
        return permit


# --- failures in a row --------------------------------------------------------------------------


def test_failures_in_a_row_open_it() -> None:
    """The third failure in a row does; a success in between starts the count again."""
    bench = Bench()
    bench.fail(2)
    bench.call()
    bench.fail(2)
    assert bench.breaker.state is CLOSED
    assert bench.breaker.failures == 2

    bench.fail(1)

    assert bench.breaker.state is OPEN
    assert bench.told == [Transition(CLOSED, OPEN, reset_after=60.0, reason="failures in a row: 3")]


def test_nothing_passes_while_it_is_open() -> None:
    """Until reset_timeout is over there is no permit, and retry_after counts down."""
    bench = Bench()
    bench.fail(3)

    bench.clock.now += 59.0
    assert not bench.call()
    assert not bench.breaker.permits
    assert bench.breaker.retry_after == 1.0
    bench.clock.now += 1.0
    assert bench.breaker.permits
    assert bench.breaker.retry_after == 0.0
    assert bench.breaker.state is OPEN


def test_one_whose_time_is_over_says_so() -> None:
    """It is OPEN until a call comes, however late; that this one would be tried can be seen."""
    bench = Bench()
    due = [bench.breaker.probe_due]
    bench.fail(3)
    due.append(bench.breaker.probe_due)
    bench.clock.now += 600.0
    due.append(bench.breaker.probe_due)
    assert (bench.breaker.state, bench.breaker.retry_after) == (OPEN, 0.0)
    assert bench.call()
    due.append(bench.breaker.probe_due)

    assert due == [False, False, True, False]


def test_a_good_probe_closes_it() -> None:
    """After reset_timeout one call passes; when it goes well, all do, and the count is at zero."""
    bench = Bench()
    bench.fail(3)
    bench.clock.now += 60.0

    probe = bench.permit()
    assert bench.breaker.acquire() is None
    assert bench.breaker.retry_after == 1.0
    bench.breaker.succeeded(probe)

    assert bench.states == [OPEN, HALF_OPEN, CLOSED]
    bench.fail(2)
    assert bench.breaker.state is CLOSED


def test_a_failed_probe_opens_it_anew() -> None:
    """And for the whole of reset_timeout."""
    bench = Bench()
    bench.fail(3)
    bench.clock.now += 60.0
    bench.fail(1)

    assert bench.states == [OPEN, HALF_OPEN, OPEN]
    bench.clock.now += 59.9
    assert not bench.call()
    bench.clock.now += 0.1
    assert bench.call()
    assert bench.breaker.state is CLOSED


def test_probes_are_bounded_and_all_must_succeed() -> None:
    """Of three probes three are let through at a time, and the third success closes it."""
    bench = Bench(half_open_max_calls=3)
    bench.fail(3)
    bench.clock.now += 60.0
    probes = [bench.permit() for _ in range(3)]
    assert bench.breaker.acquire() is None

    for probe in probes:
        assert bench.breaker.state is HALF_OPEN
        assert bench.breaker.acquire() is None
        bench.breaker.succeeded(probe)
    assert bench.breaker.state is CLOSED


def test_what_began_earlier_does_not_count_later() -> None:
    """Late ends of calls from before neither close, nor open, nor free a probe's place."""
    bench = Bench()
    late = [bench.permit() for _ in range(3)]
    bench.fail(3)
    bench.breaker.succeeded(late[0])
    assert bench.breaker.state is OPEN
    bench.clock.now += 60.0
    probe = bench.permit()
    bench.breaker.succeeded(late[1])
    bench.breaker.failed(late[2])
    bench.breaker.released(late[2])

    assert bench.breaker.state is HALF_OPEN
    assert bench.breaker.acquire() is None
    bench.breaker.succeeded(probe)
    assert bench.breaker.state is CLOSED


def test_a_probe_that_says_nothing_makes_room_for_another() -> None:
    """A cancelled probe frees its place; the next one decides."""
    bench = Bench()
    bench.fail(3)
    bench.clock.now += 60.0
    bench.breaker.released(bench.permit())

    assert bench.breaker.state is HALF_OPEN
    assert bench.call()
    assert bench.breaker.state is CLOSED


def test_probes_that_never_end_are_given_up() -> None:
    """After another reset_timeout other calls probe, and the lost one counts no more."""
    bench = Bench()
    bench.fail(3)
    bench.clock.now += 60.0
    lost = bench.permit()
    bench.clock.now += 60.0
    assert bench.breaker.permits
    probe = bench.permit()
    assert bench.breaker.acquire() is None
    bench.breaker.failed(lost)

    assert bench.breaker.state is HALF_OPEN
    bench.breaker.succeeded(probe)
    assert bench.states == [OPEN, HALF_OPEN, CLOSED]


# --- rates --------------------------------------------------------------------------------------


def rated(**options: Any) -> Bench:
    return Bench(failure_threshold=1000, minimum_calls=10, window=60.0, **options)


def test_what_is_broken_off_may_have_been_slow() -> None:
    """It took so long in any case, and counts as slow; what took less counts as nothing."""
    bench = rated(slow_call_rate=0.5, slow_call_duration=1.0)
    for _ in range(20):
        bench.breaker.released(bench.permit(), 0.9)
    for _ in range(9):
        bench.breaker.released(bench.permit(), 1.0)
    assert bench.breaker.state is CLOSED
    bench.breaker.released(bench.permit(), 1.0)
    assert bench.breaker.state is OPEN

    bench.clock.now += 60.0
    bench.breaker.released(bench.permit(), 0.9)
    assert bench.breaker.state is HALF_OPEN
    bench.breaker.released(bench.permit(), 1.0)
    assert bench.states == [OPEN, HALF_OPEN, OPEN]


def test_a_failure_rate_opens_it() -> None:
    """Every second call failing opens it, though never two in a row; not before the volume."""
    bench = rated(failure_rate=0.5)
    for number in range(9):
        bench.call(well=number % 2 == 1)
    assert bench.breaker.state is CLOSED

    bench.call()

    assert bench.breaker.state is OPEN


def test_a_lower_failure_rate_does_not() -> None:
    """Four of ten are not a half."""
    bench = rated(failure_rate=0.5)
    for number in range(1000):
        bench.call(well=number % 10 < 6)

    assert bench.told == []


def test_failures_of_long_ago_are_forgotten() -> None:
    """What is older than the window does not count, neither as failures nor as volume."""
    bench = rated(failure_rate=0.5)
    for _ in range(9):
        bench.call(well=False)
    bench.clock.now += 60.0
    for _ in range(9):
        bench.call(well=False)
    assert bench.breaker.state is CLOSED

    bench.call(well=False)

    assert bench.breaker.state is OPEN


def test_a_slow_call_rate_opens_it() -> None:
    """Calls that go well, but take too long, open it too; a slow probe keeps it open."""
    bench = rated(slow_call_rate=0.8, slow_call_duration=2.0)
    for number in range(10):
        assert bench.breaker.state is CLOSED
        bench.call(seconds=1.9 if number < 2 else 2.0)
    assert bench.breaker.state is OPEN

    bench.clock.now += 60.0
    bench.call(seconds=2.0)
    assert bench.breaker.state is OPEN
    bench.clock.now += 60.0
    bench.call(seconds=1.9)
    assert bench.breaker.state is CLOSED


def test_slow_failures_count_under_both_rates() -> None:
    """A call that took long and failed is a slow one, whatever it ended in."""
    bench = rated(slow_call_rate=1.0, slow_call_duration=2.0)
    for _ in range(10):
        bench.call(well=False, seconds=2.0)

    assert bench.breaker.state is OPEN


def test_after_closing_the_window_is_empty() -> None:
    """The failures that opened it do not open it again at the first call."""
    bench = rated(failure_rate=0.5)
    for _ in range(10):
        bench.call(well=False)
    bench.clock.now += 60.0
    bench.call()
    bench.fail(1)

    assert bench.states == [OPEN, HALF_OPEN, CLOSED]


# --- peers --------------------------------------------------------------------------------------


def test_a_peers_word_has_a_call_tried() -> None:
    """One at once, and no more until it has ended: for so long this one knows nothing itself."""
    bench = Bench()
    bench.breaker.peer_opened("n2", 5.0)

    assert bench.told == [
        Transition(CLOSED, HALF_OPEN, reason="that of n2 has opened, a call is tried")
    ]
    probe = bench.permit()
    assert bench.breaker.acquire() is None
    bench.breaker.succeeded(probe)
    assert bench.breaker.state is CLOSED


def test_a_peers_word_and_one_failure_open_it() -> None:
    """An outage is seen by all: of three failures that it takes otherwise, one is enough."""
    bench = Bench()
    bench.breaker.peer_opened("n2", 5.0)
    bench.fail(1)

    assert bench.states == [HALF_OPEN, OPEN]
    assert bench.breaker.retry_after == 60.0


def test_a_good_call_of_ones_own_speaks_against_a_peer() -> None:
    """One that ended since the first of the peer's failures: the peer is ill, not the service."""
    bench = Bench()
    bench.call()
    bench.clock.now += 3.0
    bench.breaker.peer_opened("n2", 5.0)
    bench.call(well=False)
    bench.breaker.peer_opened("n2", 5.0)
    assert bench.told == []

    bench.breaker.peer_opened("n2", 2.0)

    assert bench.states == [HALF_OPEN]


def test_a_good_probe_speaks_against_a_peer() -> None:
    """One that is ill for long says so after each of its own probes; it is believed once."""
    bench = Bench()
    bench.breaker.peer_opened("n2", 5.0)
    bench.call()
    for _ in range(3):
        bench.clock.now += 60.0
        bench.breaker.peer_opened("n2", bench.clock.now)

    assert bench.states == [HALF_OPEN, CLOSED]


def test_a_call_under_way_speaks_against_a_peer() -> None:
    """It began before the peer's word, and ends well after it: nobody needs to wait for a probe."""
    bench = Bench()
    early, late = bench.permit(), bench.permit()
    bench.breaker.peer_opened("n2", 5.0)
    bench.permit()
    bench.breaker.succeeded(early)
    bench.breaker.succeeded(late)

    assert bench.states == [HALF_OPEN, CLOSED]
    bench.fail(3)
    bench.breaker.succeeded(late)
    assert bench.states == [HALF_OPEN, CLOSED, OPEN]


def test_a_slow_call_does_not_speak_against_a_peer() -> None:
    """Where slow calls open breakers, they are no sign of health."""
    bench = Bench(slow_call_rate=0.5, slow_call_duration=2.0)
    bench.call(seconds=2.0)
    bench.breaker.peer_opened("n2", 5.0)

    assert bench.states == [HALF_OPEN]


def test_own_knowledge_comes_before_hearsay() -> None:
    """In OPEN and HALF_OPEN a peer's word changes nothing."""
    bench = Bench()
    bench.fail(3)
    bench.clock.now += 30.0
    bench.breaker.peer_opened("n2", 60.0)
    assert bench.breaker.retry_after == 30.0
    bench.clock.now += 30.0
    bench.permit()
    bench.breaker.peer_opened("n2", 60.0)

    assert bench.states == [OPEN, HALF_OPEN]
    assert not bench.breaker.permits


def test_how_long_it_is_failing() -> None:
    """From the end of the first bad call, over all states, until one goes well, and fast enough."""
    bench = Bench(slow_call_rate=1.0, slow_call_duration=2.0)
    lasted = [bench.breaker.failing_for]
    bench.call()
    bench.clock.now += 10.0
    lasted.append(bench.breaker.failing_for)
    bench.fail(1)
    bench.clock.now += 1.0
    bench.call(seconds=2.0)
    bench.fail(3)
    bench.clock.now += 60.0
    bench.fail(1)
    lasted.append(bench.breaker.failing_for)
    bench.clock.now += 60.0
    bench.call()
    lasted.append(bench.breaker.failing_for)

    assert lasted == [0.0, 0.0, 61.0, 0.0]


# --- alone --------------------------------------------------------------------------------------


async def double(number: int, by: int = 2) -> int:
    """Something to call."""
    return number * by


async def break_down() -> None:
    """Something that fails."""
    raise ConnectionError("refused")


async def test_call_gives_the_result() -> None:
    """Arguments and result pass through."""
    assert await CircuitBreaker().call(double, 2, by=3) == 6


async def test_call_gives_the_fallback_while_open() -> None:
    """Failures are raised until it opens; then the fallback is given, each time a fresh copy."""
    breaker = CircuitBreaker(failure_threshold=2, reset_timeout=60, fallback_response={"error": []})
    for _ in range(2):
        with pytest.raises(ConnectionError):
            await breaker.call(break_down)

    spoiled = await breaker.call(double, 1)
    assert spoiled == {"error": []}
    spoiled["error"].append("mine")
    assert await breaker.call(double, 1) == {"error": []}


async def test_call_without_a_fallback() -> None:
    """CircuitOpen says when to come back."""
    breaker = CircuitBreaker(failure_threshold=1, clock=Clock())
    with pytest.raises(ConnectionError):
        await breaker.call(break_down)

    with pytest.raises(CircuitOpen) as caught:
        await breaker.call(double, 1)
    assert caught.value.retry_after == 60.0


@pytest.mark.parametrize(
    "options",
    [
        {"failure_threshold": 0},
        {"failure_threshold": "5"},
        {"failure_threshold": 2.5},
        {"failure_threshold": True},
        {"reset_timeout": "60"},
        {"reset_timeout": None},
        {"failure_rate": "0.5"},
        {"half_open_max_calls": 0},
        {"minimum_calls": 0},
        {"reset_timeout": 0},
        {"reset_timeout": math.nan},
        {"reset_timeout": math.inf},
        {"failure_rate": 0},
        {"failure_rate": 5},
        {"failure_rate": math.nan},
        {"slow_call_rate": -1},
        {"slow_call_duration": 0},
        {"window": 0, "failure_rate": 0.5},
    ],
)
def test_numbers_that_make_no_breaker(options: dict[str, Any]) -> None:
    """One that could never open or close, or is open from the start, is refused by name."""
    with pytest.raises(ValueError, match=next(iter(options))):
        CircuitBreaker(**options)


@pytest.mark.parametrize("mistake", [lambda: 7, 7])
async def test_what_is_not_async_is_the_callers_mistake(mistake: Any) -> None:
    """It is told so, and the service is not to blame: neither in CLOSED nor as a probe."""
    clock = Clock()
    breaker = CircuitBreaker(failure_threshold=1, clock=clock)
    with pytest.raises(TypeError, match=r"not async|no function"):
        await breaker.call(mistake)
    assert (breaker.state, breaker.failures) == (CLOSED, 0)

    breaker.peer_opened("n2", 60)
    with pytest.raises(TypeError, match=r"not async|no function"):
        await breaker.call(mistake)
    assert await breaker.call(double, 1) == 2
    assert breaker.state is CLOSED


async def test_a_cancelled_call_is_no_failure() -> None:
    """Neither in CLOSED nor as a probe, whose place it frees."""
    clock = Clock()
    breaker = CircuitBreaker(failure_threshold=1, clock=clock)

    async def cancel_one() -> None:
        task = asyncio.create_task(breaker.call(asyncio.Event().wait))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    await cancel_one()
    assert breaker.state is CLOSED
    with pytest.raises(ConnectionError):
        await breaker.call(break_down)
    clock.now += 60.0
    await cancel_one()
    assert breaker.state is HALF_OPEN
    assert await breaker.call(double, 1) == 2
    assert breaker.state is CLOSED
