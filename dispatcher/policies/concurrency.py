"""How many calls of one service may be under way: what tells a limit, and who keeps count.

The algorithm, a ``Limit``, is apart from its enforcement, as in Netflix's concurrency-limits
(https://github.com/Netflix/concurrency-limits): it hears how calls ended and gives a number. The
consumer takes messages only while fewer are under way.
"""

import time
from collections.abc import Callable
from typing import Protocol

from config.models.services import Concurrency
from dispatcher.call_end import Load
from dispatcher.policies.gradient import GradientLimit


class Limit(Protocol):
    """An algorithm."""

    @property
    def settled(self) -> int:
        """The limit that it has come to; never above ``upper``."""

    @property
    def current(self) -> int:
        """The limit now, at least 1: ``settled``, or less for a moment."""

    @property
    def upper(self) -> int:
        """The largest that it gives."""

    def ended(self, route: str, seconds: float, in_flight: int, dropped: bool) -> None:
        """A call of this route took so long; with it so many were under way."""


class FixedLimit:
    """Always the same."""

    def __init__(self, limit: int) -> None:
        self.settled = self.current = self.upper = limit

    def ended(self, route: str, seconds: float, in_flight: int, dropped: bool) -> None:
        """Makes no difference."""


class Limiter:
    """Keeps count of the calls under way, and tells the limit how they end.

    ``guests`` are messages of other services that fall back to this one. They take a slot each, of
    those that its own messages leave.
    """

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self.in_flight = 0
        self.guests = 0
        self._owned: Callable[[], int] = lambda: 0
        self._freed: Callable[[], None] = lambda: None

    def belongs_to(self, owned: Callable[[], int], freed: Callable[[], None]) -> None:
        """``owned`` tells how many slots are taken; ``freed`` hears when a guest gives one back."""
        self._owned, self._freed = owned, freed

    def admit(self) -> bool:
        """Whether there is a slot for a guest; he has taken it then."""
        if self._owned() + self.guests >= self.limit.current:
            return False
        self.guests += 1
        return True

    def leave(self) -> None:
        """A guest gives his slot back."""
        self.guests -= 1
        self._freed()

    def began(self) -> None:
        """A call is made now."""
        self.in_flight += 1

    def ended(self, route: str, seconds: float, load: Load) -> None:
        """It has ended. To be called once for each that began."""
        if load is not Load.IGNORED:
            self.limit.ended(route, seconds, self.in_flight, load is Load.DROPPED)
        self.in_flight -= 1


def limiter_of(options: Concurrency, now: Callable[[], float] = time.time) -> Limiter:
    """A fresh one; ``now`` is Unix seconds."""
    if options.mode == "fixed":
        return Limiter(FixedLimit(options.limit))
    return Limiter(GradientLimit(options.limit, now))
