"""Instances that fail again and again are left alone for a while."""

import pytest

from dispatcher.call_end import Verdict
from tests.unit.dispatcher.policies.load_balancing.simulation import Fleet, weighted


@pytest.fixture
def fleet() -> Fleet:
    """Four instances in turns."""
    return Fleet("round_robin", weighted(a=1, b=1, c=1, d=1))


def test_five_failures_in_a_row(fleet: Fleet) -> None:
    """The fifth ejects; until then the instance has its turns."""
    fleet.fail("a", times=4)
    assert fleet.picks(4) == "abcd"
    fleet.fail("a", times=1)

    assert fleet.picks(6) == "bcdbcd"
    assert fleet.state("a") == "ejected"
    assert fleet.news.told == ["a ejected for 30"]


def test_a_success_between_them(fleet: Fleet) -> None:
    """Failures that are not in a row do not eject; what says nothing does not interrupt a row."""
    for _ in range(4):
        fleet.fail("a", times=4)
        fleet.end("a", Verdict.SUCCESS)
    assert fleet.state("a") == "healthy"

    fleet.fail("a", times=4)
    fleet.end("a", Verdict.UNKNOWN)
    fleet.fail("a", times=1)
    assert fleet.state("a") == "ejected"


def test_every_call_was_late_for_long(fleet: Fleet) -> None:
    """From ten seconds after the first of them they are failures; five of those eject."""
    fleet.late("a", times=100)
    fleet.clock.now += 9.9
    fleet.late("a", times=100)
    assert fleet.state("a") == "healthy"

    fleet.clock.now += 0.1
    fleet.late("a", times=4)
    assert fleet.state("a") == "healthy"
    fleet.late("a", times=1)
    assert fleet.state("a") == "ejected"


def test_late_calls_with_a_success_between_them(fleet: Fleet) -> None:
    """An instance that is of some use stays; so does one that is rarely called, and late once."""
    for _ in range(20):
        fleet.late("a", times=10)
        fleet.clock.now += 9.9
        fleet.end("a", Verdict.SUCCESS, seconds=0.0)
    fleet.clock.now += 3600
    fleet.late("a", times=10)

    assert fleet.state("a") == "healthy"


def test_late_calls_that_end_after_the_ejection(fleet: Fleet) -> None:
    """They say nothing of the instance when it has returned."""
    fleet.fail("a")
    fleet.late("a", times=1)
    fleet.clock.now += 30
    fleet.picks(1)
    fleet.late("a", times=10)

    assert fleet.news.told == ["a ejected for 30", "a returned"]


def test_it_returns_when_its_time_is_over(fleet: Fleet) -> None:
    """After 30 s it is picked again, and that is told."""
    fleet.fail("a")
    fleet.clock.now += 29.9
    assert "a" not in fleet.picks(20)

    fleet.clock.now += 0.1

    assert "a" in fleet.picks(40)
    assert fleet.news.told == ["a ejected for 30", "a returned"]
    assert fleet.state("a") == "warming"


def test_each_further_time_is_longer(fleet: Fleet) -> None:
    """30 s times the number of ejections, up to 300 s."""
    lengths = []
    for _ in range(12):
        fleet.fail("a")
        told = fleet.news.told[-1]
        lengths.append(int(told.rsplit(" ", 1)[1]))
        fleet.clock.now += lengths[-1]
        fleet.picks(1)

    assert lengths == [*range(30, 301, 30), 300, 300]


def test_good_times_are_remembered_too(fleet: Fleet) -> None:
    """Each 30 s without an ejection takes one off their number."""
    for seconds in (30, 60, 90):
        fleet.fail("a")
        fleet.clock.now += seconds
        fleet.picks(1)
    fleet.clock.now += 65
    fleet.fail("a")
    assert fleet.news.told[-1] == "a ejected for 60"

    fleet.clock.now += 3600
    fleet.picks(1)
    fleet.fail("a")
    assert fleet.news.told[-1] == "a ejected for 30"


@pytest.mark.parametrize(("size", "most"), [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2)])
def test_never_more_than_half(size: int, most: int) -> None:
    """When all fail, half of them stay, the only one too; the next goes when one has returned."""
    names = "abcde"[:size]
    fleet = Fleet("round_robin", weighted(**dict.fromkeys(names, 1)))
    for name in names:
        fleet.fail(name, times=20)

    out = [name for name in names if fleet.state(name) == "ejected"]
    assert len(out) == most
    if most:
        fleet.clock.now += 31
        fleet.picks(1)
        fleet.fail(names[-1], times=1)
        assert fleet.state(names[-1]) == "ejected"


def test_calls_that_were_under_way(fleet: Fleet) -> None:
    """Those that fail after the ejection don't make it longer, nor count when it is over."""
    a = fleet.instances[0]
    for _ in range(9):
        fleet.balancer.began(a)
    for _ in range(9):
        fleet.balancer.ended(a, Verdict.FAILURE, 1.0)
    fleet.clock.now += 30
    fleet.picks(1)

    fleet.fail("a", times=4)

    assert fleet.news.told == ["a ejected for 30", "a returned"]


def test_ejection_with_weights() -> None:
    """Without the heaviest, the others share its turns by their weights."""
    fleet = Fleet("weighted_round_robin", weighted(a=5, b=2, c=1))
    fleet.fail("a")

    assert fleet.picks(6) == "bcbbcb"


def test_ejection_with_least_connections() -> None:
    """An ejected instance is idle, and yet not picked."""
    fleet = Fleet("least_connections", weighted(a=1, b=1))
    fleet.balancer.began(fleet.instances[1])
    fleet.fail("a")

    assert fleet.picks(3) == "bbb"


def test_ejection_with_the_adaptive_strategy() -> None:
    """However fast its failures are."""
    fleet = Fleet("adaptive", weighted(a=1, b=1, c=1))
    for name in "bc":
        fleet.end(name, Verdict.SUCCESS, 5.0)
    fleet.fail("a")

    assert "a" not in fleet.picks(50)
