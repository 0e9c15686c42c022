"""How many calls of one service may be under way: what tells a limit, and who keeps count.

The algorithm, a ``Limit``, is apart from its enforcement, as in Netflix's concurrency-limits
(https://github.com/Netflix/concurrency-limits): it hears how calls ended and gives a number. The
consumer takes messages only while fewer are under way.
"""

import time
from collections.abc import Callable
from enum import Enum
from typing import Protocol

from config.models import Concurrency
from dispatcher.policies.gradient import GradientLimit
from dispatcher.upstream import (
    ConnectFailed,
    ConnectionLost,
    ConnectTimedOut,
    TooManyCalls,
    UpstreamError,
    UpstreamTimeout,
)


class Ending(Enum):
    """What the end of a call says about the load of the service."""

    SUCCESS = "success"  # its time counts
    IGNORED = "ignored"  # nothing: broken off from this side, or failed for another reason
    DROPPED = "dropped"  # too much: refused, or not served in time


# A proxy before the service says 504 where the service would have let this call time out.
_DROPPED = frozenset({429, 503, 504})


def of_status(status: int) -> Ending:
    """Of a response. The time of an error of the service's own tells nothing of good answers'."""
    if status in _DROPPED:
        return Ending.DROPPED
    return Ending.SUCCESS if status < 500 else Ending.IGNORED


def of_error(error: UpstreamError, *, patient: bool) -> Ending:
    """Of a call that got no response.

    ``patient``: it had time enough. A client in a hurry must not lower the limit for all others.
    """
    match error:
        case TooManyCalls():
            return Ending.IGNORED
        case UpstreamTimeout() | ConnectTimedOut():
            return Ending.DROPPED if patient else Ending.IGNORED
        case ConnectFailed() | ConnectionLost():
            return Ending.DROPPED
    return Ending.IGNORED


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

    def ended(self, route: str, seconds: float, ending: Ending) -> None:
        """It has ended. To be called once for each that began."""
        if ending is not Ending.IGNORED:
            self.limit.ended(route, seconds, self.in_flight, ending is Ending.DROPPED)
        self.in_flight -= 1


def limiter_of(options: Concurrency, now: Callable[[], float] = time.time) -> Limiter:
    """A fresh one; ``now`` is Unix seconds."""
    if options.mode == "fixed":
        return Limiter(FixedLimit(options.limit))
    return Limiter(GradientLimit(options.limit, now))
