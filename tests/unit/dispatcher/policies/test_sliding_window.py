"""Counts over the last seconds."""

import random

from dispatcher.policies.sliding_window import SlidingWindow
from tests.unit.dispatcher.doubles import Clock


def test_what_is_over_is_forgotten() -> None:
    """A count stays for at least nine tenths of the window, and never for longer than all of it."""
    clock = Clock(now=1000.0)
    window = SlidingWindow(10.0, 2, clock)
    window.add(0)
    window.add(1)
    window.add(1)

    clock.now += 9.0
    window.advance()
    assert window.totals == [1, 2]
    clock.now += 1.0
    window.advance()
    assert window.totals == [0, 0]


def test_the_totals_are_those_of_the_slices() -> None:
    """At any rhythm, the totals are what a list of all events would give; memory stays bounded."""
    clock, source = Clock(now=0.5), random.Random(1)
    window = SlidingWindow(10.0, 1, clock)
    slices: list[int] = []
    for _ in range(5_000):
        clock.now += source.choice((0.0, 0.01, 0.3, 4.0, 11.0))
        window.add(0)
        slices.append(int(clock.now))

        assert window.totals == [sum(each > int(clock.now) - 10 for each in slices)]
        assert len(window._slices) <= 10


def test_cleared() -> None:
    """Nothing of before counts, and what follows does."""
    window = SlidingWindow(10.0, 1, Clock())
    window.add(0)
    window.clear()
    window.add(0)

    assert window.totals == [1]
