"""Whose message next."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.models.tiers import Tier
from dispatcher.turns import Turns
from tests.unit.dispatcher.doubles import tier


def flooded(tiers: dict[str, Tier], of_each: int = 1000) -> Turns[str]:
    """Turns in which every tier has the same amount of work; items are the names of their tiers."""
    turns: Turns[str] = Turns(tiers)
    for name in tiers:
        for _ in range(of_each):
            turns.add(name, name)
    return turns


def take(turns: Turns[str], count: int) -> list[str]:
    """The next items."""
    items = [turns.take() for _ in range(count)]
    assert None not in items
    return [item for item in items if item is not None]


def test_nothing_waits_nothing_is_taken() -> None:
    """Without work there is no turn."""
    turns: Turns[str] = Turns({"FREE": tier()})

    assert turns.take() is None
    assert len(turns) == 0


def test_one_tier_keeps_its_order() -> None:
    """Within a tier the oldest comes first."""
    turns: Turns[int] = Turns({"FREE": tier()})
    for item in (1, 2, 3):
        turns.add("FREE", item)

    assert [turns.take(), turns.take(), turns.take(), turns.take()] == [1, 2, 3, None]


def test_weights_are_spread_out() -> None:
    """Weights 3 and 1 alternate smoothly in the ratio 3 to 1, instead of in bursts."""
    turns = flooded({"light": tier(weight=1), "heavy": tier(weight=3)})

    assert "".join(name[0] for name in take(turns, 12)) == "hlhhhlhhhlhh"


def test_weights_are_shares_of_turns() -> None:
    """Over a whole cycle every tier gets exactly its weight."""
    tiers = {"FREE": tier(weight=1), "BASIC": tier(weight=3), "PRO": tier(weight=8)}
    taken = take(flooded(tiers), 12 * 20)

    assert Counter(taken) == {"FREE": 20, "BASIC": 60, "PRO": 160}


def test_idle_tiers_leave_their_turns_to_others() -> None:
    """No slot stays free while anybody has work, whatever its weight."""
    turns: Turns[str] = Turns({"FREE": tier(weight=1), "ENTERPRISE": tier(weight=32)})
    for number in range(5):
        turns.add("FREE", str(number))

    assert take(turns, 5) == ["0", "1", "2", "3", "4"]


def test_a_heavier_tier_overtakes_at_once() -> None:
    """What ENTERPRISE sends into a flood of FREE is next, message by message."""
    turns: Turns[str] = Turns({"FREE": tier(weight=1), "ENTERPRISE": tier(weight=32)})
    for _ in range(100):
        turns.add("FREE", "FREE")
    take(turns, 10)

    for _ in range(30):
        turns.add("ENTERPRISE", "ENTERPRISE")
        assert turns.take() == "ENTERPRISE"


def test_idle_time_earns_nothing() -> None:
    """A tier that was away while another had a thousand turns does not get them back."""
    turns: Turns[str] = Turns({"a": tier(weight=1), "b": tier(weight=1)})
    for _ in range(2000):
        turns.add("a", "a")
    take(turns, 1000)
    for _ in range(1000):
        turns.add("b", "b")

    assert Counter(take(turns, 100)) == {"a": 50, "b": 50}


def test_a_floor_holds_against_any_weight() -> None:
    """A floor of 0.05 is one turn in every 20, where the weight alone would give one in 1001."""
    tiers = {"FREE": tier(weight=1, floor=0.05), "ENTERPRISE": tier(weight=1000)}
    taken = take(flooded(tiers), 200)

    assert [turn for turn, name in enumerate(taken, 1) if name == "FREE"] == [
        *(2, 22, 42, 62, 82, 102, 122, 142, 162, 182)
    ]


def test_a_floor_below_the_weight_changes_nothing() -> None:
    """Who gets more than its floor anyway gets no turn on top."""
    without = flooded({"FREE": tier(weight=1), "PRO": tier(weight=3)})
    with_floor = flooded({"FREE": tier(weight=1, floor=0.2), "PRO": tier(weight=3)})

    assert take(with_floor, 400) == take(without, 400)


def test_turns_by_floor_leave_no_debt() -> None:
    """After a flood of ENTERPRISE, FREE has its full share again, whatever its floor gave it."""
    tiers = {"FREE": tier(weight=1, floor=0.25), "PRO": tier(1), "ENTERPRISE": tier(32)}
    turns: Turns[str] = Turns(tiers)
    for name, count in (("FREE", 500), ("PRO", 500), ("ENTERPRISE", 300)):
        for _ in range(count):
            turns.add(name, name)
    flood = 0
    while flood < 300:
        flood += turns.take() == "ENTERPRISE"

    taken = Counter(take(turns, 100))
    assert 49 <= taken["FREE"] <= 51


def test_floors_that_ask_for_too_much_starve_nobody() -> None:
    """Where floors add up to more than all turns, each tier still comes again and again."""
    tiers = {name: tier(weight=1, floor=0.9) for name in "abc"} | {
        "d": tier(weight=1000, floor=0.9)
    }
    taken = take(flooded(tiers), 400)

    assert Counter(taken) == {"a": 100, "b": 100, "c": 100, "d": 100}


def test_draining_takes_everything() -> None:
    """What is drained is no longer there, and new work finds its turn as ever."""
    turns: Turns[int] = Turns({"FREE": tier(weight=1), "PRO": tier(weight=2)})
    turns.add("FREE", 1)
    turns.add("PRO", 2)

    assert turns.drain() == [2, 1]
    assert turns.take() is None
    turns.add("FREE", 3)
    assert turns.take() == 3


def test_those_that_are_asked_for_are_taken_out() -> None:
    """Oldest of the heaviest tier first; the others stay in their order, and are counted."""
    turns: Turns[int] = Turns({"FREE": tier(weight=1), "PRO": tier(weight=8)})
    for number in range(4):
        turns.add("FREE", number)
        turns.add("PRO", 10 + number)

    assert turns.take_those(lambda item: item % 2 == 1) == [11, 13, 1, 3]
    assert len(turns) == 4
    assert turns.drain() == [10, 12, 0, 2]


def test_an_unknown_tier_is_an_error() -> None:
    """Work of a tier that the configuration doesn't have is refused, not lost."""
    with pytest.raises(KeyError):
        Turns[int]({"FREE": tier()}).add("GOLD", 1)


@given(
    weights=st.lists(st.integers(1, 1000), min_size=1, max_size=5),
    floor=st.floats(0, 1),
    steps=st.lists(st.tuples(st.booleans(), st.integers(0, 4)), max_size=200),
)
def test_any_history_is_work_conserving_and_ordered(
    weights: list[int], floor: float, steps: list[tuple[bool, int]]
) -> None:
    """Whatever comes and goes: all that is added is taken once, oldest of its tier first."""
    tiers = {str(n): tier(weight=w, floor=floor if n == 0 else 0) for n, w in enumerate(weights)}
    turns: Turns[tuple[str, int]] = Turns(tiers)
    added: dict[str, list[int]] = {name: [] for name in tiers}
    taken: dict[str, list[int]] = {name: [] for name in tiers}
    for number, (adding, index) in enumerate(steps):
        if adding:
            name = str(index % len(weights))
            turns.add(name, (name, number))
            added[name].append(number)
        elif item := turns.take():
            taken[item[0]].append(item[1])
        else:
            assert added == taken
    while item := turns.take():
        taken[item[0]].append(item[1])

    assert taken == added
    assert len(turns) == 0


@given(
    weight=st.integers(1, 1000),
    floor=st.floats(0.01, 1),
    others=st.lists(st.integers(1, 1000), min_size=1, max_size=4),
)
def test_a_floor_is_a_bound_on_waiting(weight: int, floor: float, others: list[int]) -> None:
    """With work, the tier with a floor never waits for more than 1/floor turns."""
    tiers = {"floored": tier(weight=weight, floor=floor)}
    tiers |= {str(n): tier(weight=w) for n, w in enumerate(others)}
    taken = take(flooded(tiers, of_each=300), 300)

    last = 0
    for turn, name in enumerate(taken, 1):
        if name == "floored":
            last = turn
        assert turn - last <= 1 / floor
