"""How much work one body may cause."""

import pytest

from dispatcher.transformation.budget import Budget, TooMuchWork
from tests.unit.dispatcher.doubles import Clock


def test_time_begins_with_the_first_tick() -> None:
    """What was done before does not count; what takes longer ends at the next tick."""
    clock = Clock()
    budget = Budget(0.5, 0, clock)
    clock.now += 100
    budget.tick()
    clock.now += 0.5
    budget.tick()
    clock.now += 0.01
    with pytest.raises(TooMuchWork, match=r"0\.5 s"):
        budget.tick()


def test_characters_are_spent() -> None:
    """As many as allowed, and no more."""
    budget = Budget(1, 10)
    budget.spend(4)
    budget.spend(6)
    with pytest.raises(TooMuchWork, match="text"):
        budget.spend(1)


def test_stopped_from_outside() -> None:
    """The next step is the last, though there was time left."""
    budget = Budget(60, 10)
    budget.tick()
    budget.stop()
    with pytest.raises(TooMuchWork, match="nobody waits"):
        budget.tick()
    assert not budget.out_of_time
