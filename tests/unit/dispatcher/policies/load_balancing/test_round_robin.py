"""Each in its turn."""

from tests.unit.dispatcher.policies.load_balancing.simulation import Fleet, weighted


def test_each_has_its_turn() -> None:
    """Instances follow each other in their order, over and over; weights don't count."""
    fleet = Fleet("round_robin", weighted(a=1, b=7, c=1))

    assert fleet.picks(7) == "abcabca"


def test_instances_may_come_and_go() -> None:
    """A shorter or longer list between two calls is no trouble."""
    fleet = Fleet("round_robin", weighted(a=1, b=1, c=1))
    picked = [fleet.picks(2)]
    for names in ({"a": 1}, {"a": 1, "b": 1}, {"b": 1}):
        fleet.instances = weighted(**names)
        picked.append(fleet.picks(2))

    assert picked == ["ab", "aa", "ab", "bb"]
