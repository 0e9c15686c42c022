"""Instances that return, or join, get their share by and by."""

from collections import Counter

import pytest

from dispatcher.call_end import Verdict
from dispatcher.policies.load_balancing.slow_start import factor
from dispatcher.policies.load_balancing.strategy import StrategyName
from tests.unit.dispatcher.policies.load_balancing.simulation import Fleet, instance, weighted


def test_the_ramp() -> None:
    """From a tenth to all of it within 30 s, in a straight line."""
    assert [factor(seconds) for seconds in (0, 3, 15, 30, 3600)] == [0.1, 0.1, 0.5, 1, 1]


def returned(strategy: StrategyName, **weights: int) -> Fleet:
    """A fleet whose instance a was ejected and returns right now."""
    fleet = Fleet(strategy, weighted(**weights))
    fleet.fail("a")
    fleet.clock.now += 30
    return fleet


def begin(fleet: Fleet, count: int) -> Counter[str]:
    """Begin so many calls that don't end; how many each has."""
    begun: Counter[str] = Counter()
    for _ in range(count):
        one = fleet.balancer.pick(fleet.instances)
        assert one is not None
        fleet.balancer.began(one)
        begun[one.name] += 1
    return begun


def parts(fleet: Fleet, count: int) -> Counter[str]:
    """How many of so many calls at this moment each gets."""
    return Counter(fleet.call(seconds=0.0) for _ in range(count))


@pytest.mark.parametrize(
    ("strategy", "weights"),
    [
        ("round_robin", {"a": 1, "b": 1, "c": 1}),
        ("least_connections", {"a": 1, "b": 1, "c": 1}),
        ("weighted_round_robin", {"a": 3, "b": 3, "c": 3}),
    ],
)
def test_its_part_of_the_turns_grows(strategy: StrategyName, weights: dict[str, int]) -> None:
    """A tenth of what each other one gets at first, half of it after 15 s, the same after 30 s."""
    fleet = returned(strategy, **weights)

    assert parts(fleet, 210) == {"a": 10, "b": 100, "c": 100}
    fleet.clock.now += 15
    assert parts(fleet, 250)["a"] == pytest.approx(50, abs=1)
    fleet.clock.now += 15
    assert parts(fleet, 300)["a"] == pytest.approx(100, abs=1)


def test_with_least_connections_it_is_not_flooded() -> None:
    """Though it is idle and the others are busy, it has under way but a tenth of what they have."""
    fleet = returned("least_connections", a=1, b=1, c=1)
    begun = begin(fleet, 210)

    assert begun == {"a": 10, "b": 100, "c": 100}


def test_with_the_adaptive_strategy() -> None:
    """At equal latency it has about a tenth of the calls that the other has under way."""
    fleet = Fleet("adaptive", weighted(a=1, b=1))
    fleet.balancer.set_probed("a", healthy=False)
    fleet.balancer.set_probed("a", healthy=True)
    for name in "ab":
        fleet.end(name, Verdict.SUCCESS, 1e-3)

    begun = begin(fleet, 110)

    assert begun["a"] == pytest.approx(10, abs=2)


def test_who_joins_others_begins_slowly() -> None:
    """A further instance of a running service warms up; the first ones don't have to."""
    fleet = Fleet("round_robin", weighted(a=1))
    fleet.clock.now += 5
    fleet.instances = weighted(a=1, b=1)
    assert fleet.picks(4) == "abab"
    fleet.clock.now += 25

    fleet.instances = (*fleet.instances, instance("c"))

    assert parts(fleet, 210) == {"a": 100, "b": 100, "c": 10}
    assert fleet.state("c") == "warming"
    fleet.clock.now += 30
    assert fleet.state("c") == "healthy"


def test_when_all_return_they_share_alike() -> None:
    """A part of nothing is nothing: where everybody warms up, nobody waits."""
    fleet = Fleet("round_robin", weighted(a=1, b=1))
    for name in "ab":
        fleet.balancer.set_probed(name, healthy=False)
        fleet.balancer.set_probed(name, healthy=True)

    assert fleet.picks(4) == "abab"
