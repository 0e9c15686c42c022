"""The own zone first."""

from collections import Counter

import pytest

from tests.unit.dispatcher.policies.load_balancing.simulation import Fleet, instance

HERE = tuple(instance(name, zone="here") for name in ("a", "b", "c", "d"))
THERE = tuple(instance(name, zone="there") for name in ("x", "y"))


def part_here(fleet: Fleet, calls: int = 4000) -> float:
    """Which part of the calls stays in the zone."""
    picked = Counter(fleet.pick() for _ in range(calls))
    return sum(picked[one.name] for one in HERE) / calls


def test_calls_stay_in_the_zone() -> None:
    """As long as it is well, nothing goes elsewhere."""
    fleet = Fleet("round_robin", HERE + THERE, zone="here")

    assert fleet.picks(8) == "abcdabcd"


@pytest.mark.parametrize("zone", [None, "nowhere"])
def test_who_has_no_zone_uses_all(zone: str | None) -> None:
    """Without a zone, or without an instance in it, all are alike."""
    fleet = Fleet("round_robin", HERE + THERE, zone=zone)

    assert fleet.picks(6) == "abcdxy"


@pytest.mark.parametrize(("unhealthy", "part"), [("a", 1.0), ("ab", 0.7), ("abc", 0.35)])
def test_calls_spill_over(unhealthy: str, part: float) -> None:
    """1.4 times the healthy part of the zone stays, as with Envoy: 3 of 4 all, 2 of 4 70%."""
    fleet = Fleet("round_robin", (*HERE, *THERE, instance("z", zone="there")), zone="here")
    for name in unhealthy:
        fleet.balancer.set_probed(name, healthy=False)

    assert part_here(fleet) == pytest.approx(part, abs=0.03)


def test_a_zone_that_is_out_leaves_all_to_the_others() -> None:
    """Two of the own zone are ejected: everything goes elsewhere, then comes back."""
    fleet = Fleet("round_robin", (*HERE[:2], *THERE), zone="here")
    for name in "ab":
        fleet.fail(name)
    assert fleet.picks(4) == "xyxy"

    fleet.clock.now += 31

    assert set(fleet.picks(20)) == {"a", "b"}


def test_when_the_others_are_out_all_stays() -> None:
    """A zone that is ailing is better than none."""
    fleet = Fleet("round_robin", (*HERE, *THERE), zone="here")
    for name in "abxy":
        fleet.balancer.set_probed(name, healthy=False)
    assert set(fleet.picks(50)) == {"a", "b", "c", "d", "x", "y"}  # under half: panic

    fleet.balancer.set_probed("b", healthy=True)
    assert set(fleet.picks(50)) == {"b", "c", "d"}


def test_a_retry_goes_elsewhere_rather_than_to_the_same() -> None:
    """When all of the own zone were tried, one of another zone is."""
    fleet = Fleet("round_robin", (*HERE[:2], *THERE), zone="here")

    assert fleet.pick(avoid={"a"}) == "b"
    assert fleet.pick(avoid={"a", "b"}) in {"x", "y"}


def test_turns_are_even_in_spite_of_spilling() -> None:
    """Within each zone everybody has the same part, wherever the calls between went."""
    fleet = Fleet("round_robin", HERE + THERE, zone="here")
    for name in "ab":
        fleet.balancer.set_probed(name, healthy=False)
    picked = Counter(fleet.pick() for _ in range(1000))

    assert abs(picked["c"] - picked["d"]) <= 1
    assert abs(picked["x"] - picked["y"]) <= 1
