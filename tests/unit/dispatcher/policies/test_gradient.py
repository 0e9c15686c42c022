"""The adaptive limit, with simulated services of known capacity."""

from collections.abc import Sequence
from itertools import pairwise
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.policies.gradient import PROBE_INTERVAL, TOLERANCE, GradientLimit
from tests.unit.dispatcher.doubles import Clock
from tests.unit.dispatcher.policies.queueing import START, Service, Work, constant, mixed, varied

MEAN = 0.02  # seconds of work in a call


def enough(slots: int) -> float:
    """The most that the limit may come to: what is tolerated, and the root that may wait."""
    return TOLERANCE * slots + 2 * sqrt(TOLERANCE * slots) + 2


class TestCapacity:
    """The limit settles a little above what the service can do at a time."""

    @pytest.mark.parametrize("slots", [4, 8, 16, 40])
    @pytest.mark.parametrize("work", [constant(MEAN), varied(MEAN)], ids=["constant", "varied"])
    def test_it_is_found(self, slots: int, work: Work) -> None:
        """Nothing is lost of the throughput, and few calls wait; with 64, most would."""
        service = Service(slots, work)
        service.run(60)

        seen = service.run(120)

        assert slots <= service.limit <= enough(slots)
        assert seen.throughput > 0.94 * slots / MEAN
        assert seen.latency < 2.2 * MEAN

    def test_a_service_without_a_queue_gets_all(self) -> None:
        """Where nothing ever waits, the limit rises to its upper bound, and stays there."""
        service = Service(1000, varied(MEAN))
        service.run(15)
        for _ in range(20):
            service.run(3)
            assert service.limit > 50

    def test_slow_calls(self) -> None:
        """It works in calls, not in seconds: half a second each is as good."""
        service = Service(16, varied(0.5))
        service.run(120)

        seen = service.run(300)

        assert 16 <= service.limit <= enough(16)
        assert seen.throughput > 0.9 * 32

    def test_thousands(self) -> None:
        """A large bound is not reached for, and a large capacity is used."""
        service = Service(200, constant(MEAN), upper=10_000)
        service.run(40)

        seen = service.run(20)

        assert 200 <= service.limit <= enough(200)
        assert seen.throughput > 0.94 * 200 / MEAN

    def test_dispatchers_share(self) -> None:
        """Four that know nothing of each other overload the service no more than each its root."""
        service = Service(16, varied(MEAN), dispatchers=4)
        service.run(60)

        seen = service.run(120)

        assert seen.throughput > 0.94 * 16 / MEAN
        assert seen.latency < 3 * MEAN  # 256 calls at a time would wait for 16 times that


class TestChange:
    """What was right is not right for ever."""

    def test_less_capacity(self) -> None:
        """A service that loses three of four slots gets less at a time within seconds."""
        service = Service(16, varied(MEAN))
        service.run(35)
        before = service.limit
        service.slots = 4

        service.run(5)

        assert service.limit <= enough(4) < before

    def test_more_capacity(self) -> None:
        """When they are back, they are used within seconds."""
        service = Service(4, varied(MEAN))
        service.run(35)
        service.slots = 16
        service.run(10)

        assert service.run(10).throughput > 0.9 * 16 / MEAN

    def test_work_that_takes_longer_from_now_on(self) -> None:
        """It looks like a queue, until probes have found that there is none."""
        service = Service(16, varied(MEAN))
        service.run(35)
        before = service.limit
        service.work = varied(3 * MEAN)

        service.run(4)
        assert service.limit < before / 2
        service.run(60)

        assert service.run(60).throughput > 0.9 * 16 / (3 * MEAN)

    @pytest.mark.parametrize(("seconds", "part"), [(0.1, 0.9), (0.3, 0.75)])
    def test_it_does_not_wait_for_the_next_regular_probe(self, seconds: float, part: float) -> None:
        """Where calls take much longer from now on, that would be in 40 s, or in 80."""
        service = Service(8, constant(MEAN))
        service.run(41)
        service.work = constant(seconds)
        service.run(25)

        assert service.run(15).throughput > part * 8 / seconds

    def test_an_overload_is_not_probed_all_the_time(self) -> None:
        """Where regular probes are 80 s apart, a limit that falls for good is probed once more."""
        service = Service(16, constant(0.3))
        service.run(130)
        service.slots = 2
        limit = service.dispatchers[0].limit
        probing = []
        for _ in range(650):
            service.run(0.1)
            probing.append(limit.current < limit.settled)

        began = [now for last, now in pairwise(probing) if now and not last]
        assert len(began) == 1

    def test_work_that_becomes_quick_again(self) -> None:
        """Within some probes, the old slowness is no excuse for a queue any more."""
        service = Service(16, varied(3 * MEAN))
        service.run(60)
        service.work = varied(MEAN)
        service.run(40)

        seen = service.run(60)

        assert service.limit <= enough(16)
        assert seen.latency < 2.2 * MEAN

    def test_sudden_death(self) -> None:
        """With nobody there, one call at a time goes on; when it is back, all follow in seconds."""
        service = Service(16, varied(MEAN))
        service.run(35)
        service.dead = True
        service.run(30)
        assert service.limit == 1
        service.dead = False
        service.run(8)

        assert service.run(10).throughput > 0.9 * 16 / MEAN

    def test_an_overload_does_not_become_the_measure_of_itself(self) -> None:
        """After ten minutes without a free slot, few calls wait, as in the first."""
        service = Service(16, constant(MEAN))
        service.run(600)

        assert service.run(20).latency < 1.7 * MEAN

    def test_a_clock_that_is_set_back(self) -> None:
        """An hour lost changes nothing: windows and probes go on."""
        service = Service(4, constant(MEAN))
        service.run(45)
        service.set_clock_back(3600)
        service.slots = 40
        service.run(15)

        assert service.run(10).throughput > 0.9 * 40 / MEAN


class TestRoutes:
    """Calls of different routes take different times."""

    def test_another_mix_is_no_overload(self) -> None:
        """Though the average latency becomes eight times as much, the limit stays."""
        service = Service(16, mixed(slow=0.05))
        service.run(58)
        before = service.limit
        latency = service.run(1).latency
        service.work = mixed(slow=0.9)
        service.run(2)

        for _ in range(10):
            assert service.run(0.5).latency > 4 * latency
            assert service.limit >= 0.75 * before

    def test_a_mix_has_its_capacity_found(self) -> None:
        """Together they get what the service can do."""
        service = Service(16, mixed(slow=0.3))
        service.run(60)

        service.run(60)

        assert 16 <= service.limit <= enough(16)


class TestUse:
    """What is not used says nothing."""

    def test_it_grows_only_while_it_is_used(self) -> None:
        """Ten calls at a time never need more than a third more than ten."""
        service = Service(1000, varied(MEAN))
        service.dispatchers[0].demand = 10
        service.run(300)

        assert 10 <= service.limit <= 14

    def test_slots_without_a_call_do_not_stop_it(self) -> None:
        """A fifth of the messages that have slots may pause before retries."""
        clock = Clock(START)
        limit = GradientLimit(100, clock)
        for _ in range(20_000):
            send(limit, clock, [0.02], in_flight=limit.current - limit.current // 5)

        assert limit.settled > 90

    def test_what_is_idle_is_not_probed(self) -> None:
        """While there are free slots, there is no reason to hold anything back."""
        service = Service(1000, varied(MEAN))
        service.dispatchers[0].demand = 4
        for _ in range(100):
            service.run(0.3)
            assert service.dispatchers[0].limit.current >= 8

    def test_a_few_calls_are_no_reason_to_fall(self) -> None:
        """Slow calls while little is under way leave the limit, for there is no queue of ours."""
        clock = Clock(START)
        limit = GradientLimit(64, clock)
        send(limit, clock, [0.01] * 100, in_flight=3)
        send(limit, clock, [1.0] * 100, in_flight=3)

        assert limit.settled == 8

    def test_probes_are_short_and_at_the_same_time(self) -> None:
        """Every ten seconds, for a few calls' time, both dispatchers hold back together."""
        service = Service(16, constant(MEAN), dispatchers=2)
        service.run(2 * PROBE_INTERVAL - 1)
        probing: list[tuple[bool, ...]] = []
        for _ in range(300):
            service.run(0.01)
            probing.append(
                tuple(one.limit.current < one.limit.settled for one in service.dispatchers)
            )

        assert probing.count((True, True)) > 10
        assert probing.count((True, False)) + probing.count((False, True)) < 10
        assert probing[:90] == [(False, False)] * 90
        assert probing[-100:] == [(False, False)] * 100

    def test_slow_services_are_probed_more_seldom(self) -> None:
        """Probes take a small part of the time, however long calls take."""
        service = Service(16, constant(1.0))
        service.run(100)
        limit = service.dispatchers[0].limit
        probing = 0
        for _ in range(10_000):
            service.run(0.1)
            probing += limit.current < limit.settled

        assert 0 < probing < 0.1 * 10_000


class TestDropped:
    """Calls that were refused, or not served in time."""

    def test_a_few_do_not_matter(self) -> None:
        """One in fifty for ever is an error rate, not an overload."""
        clock = Clock(START)
        limit = GradientLimit(64, clock)
        for number in range(20_000):
            send(limit, clock, [0.001], limit.current, dropped=number % 50 == 0)

        assert limit.settled > 50

    def test_half_of_them_close_almost_everything(self) -> None:
        """Who refuses half gets next to nothing at a time."""
        clock = Clock(START)
        limit = GradientLimit(64, clock)
        for number in range(20_000):
            send(limit, clock, [0.001], limit.current, dropped=number % 2 == 0)

        assert limit.settled <= 2

    def test_their_times_are_no_latencies(self) -> None:
        """Refusals that come at once do not make served calls look slow."""
        clock = Clock(START)
        limit = GradientLimit(64, clock)
        for number in range(20_000):
            seconds, dropped = (0.00001, True) if number % 50 == 0 else (0.02, False)
            send(limit, clock, [seconds], limit.current, dropped=dropped)

        assert limit.settled > 50


def send(
    limit: GradientLimit,
    clock: Clock,
    times: Sequence[float],
    in_flight: int,
    *,
    dropped: bool = False,
) -> None:
    """Calls that end one after the other, 10 ms apart."""
    for seconds in times:
        clock.now += 0.01
        limit.ended("users", seconds, in_flight, dropped)


@given(
    upper=st.integers(1, 10_000),
    calls=st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "c"]),
            st.floats(0, 1e4),
            st.integers(1, 20_000),
            st.booleans(),
            st.floats(-100, 1e4),
        ),
        max_size=200,
    ),
)
def test_it_keeps_its_bounds(upper: int, calls: list[tuple[str, float, int, bool, float]]) -> None:
    """Whatever is heard, whenever: between 1 and the upper bound, now and when settled."""
    clock = Clock(START)
    limit = GradientLimit(upper, clock)
    for route, seconds, in_flight, dropped, later in calls:
        clock.now += later
        limit.ended(route, seconds, in_flight, dropped)
        assert 1 <= limit.current <= limit.settled <= upper
