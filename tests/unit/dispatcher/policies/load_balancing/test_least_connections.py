"""The fewest calls under way."""

from collections import Counter

from tests.unit.dispatcher.policies.load_balancing.simulation import Fleet, weighted


def begin(fleet: Fleet, count: int) -> str:
    """Begin so many calls that don't end; the names of who has them."""
    names = ""
    for _ in range(count):
        one = fleet.balancer.pick(fleet.instances)
        assert one is not None
        fleet.balancer.began(one)
        names += one.name
    return names


def test_the_idle_one_is_picked() -> None:
    """Who has no call under way goes before who has one."""
    fleet = Fleet("least_connections", weighted(a=1, b=1, c=1))
    a, b, c = fleet.instances
    for busy in (a, a, b, c, c):
        fleet.balancer.began(busy)

    assert begin(fleet, 1) == "b"


def test_those_that_tie_take_turns() -> None:
    """When all are idle, one call after the other, nobody has them all."""
    fleet = Fleet("least_connections", weighted(a=1, b=1, c=1))

    assert "".join(fleet.call() for _ in range(6)) == "abcabc"


def test_weights_are_how_many_it_can_bear() -> None:
    """Of calls that don't end, each has a part by its weight; idle ones take weighted turns."""
    fleet = Fleet("least_connections", weighted(a=3, b=2, c=1))

    assert Counter(begin(fleet, 60)) == {"a": 30, "b": 20, "c": 10}

    idle = Fleet("least_connections", weighted(a=5, b=1, c=1))
    assert "".join(idle.call() for _ in range(7)) == "aabacaa"


def test_slow_ones_get_less() -> None:
    """An instance whose calls don't end gets no more than the others have under way."""
    fleet = Fleet("least_connections", weighted(a=1, b=1))
    fleet.balancer.began(fleet.instances[0])

    assert {fleet.call() for _ in range(10)} == {"b"}
