"""The arithmetic of rate limits: GCRA, as the leaky bucket that it is (ITU-T I.371, annex A).

What a caller has used is a level. It rises by one for each request, and drains at the steady rate;
a request that would lift it above the allowance is refused and changes nothing. So there are no
windows, and no double allowance at the edge of one.

Levels are counted in units of which a request is 60,000,000: as a minute has that many
microseconds, N requests a minute drain N units each microsecond, and everything is whole numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from config.models.rates import OnStoreFailure
from ingress.identity.session_store import SessionRef, SessionStore

REQUEST = 60_000_000  # units
_SECOND = 1_000_000  # microseconds


@dataclass(slots=True, eq=False)
class Allowance:
    """So many requests a minute, and ``burst`` more at once; whole numbers.

    ``name`` is as header fields show it: a quoted string; ``policy`` what they say of all of it:
    the quota ``q`` in a window ``w``. ``room`` is the highest level, in units.
    """

    name: bytes
    per_minute: int
    burst: int = 0
    on_store_failure: OnStoreFailure = "local"
    room: int = field(init=False)
    policy: bytes = field(init=False)
    _each_second: int = field(init=False)  # units

    def __post_init__(self) -> None:
        self.room = (self.per_minute + self.burst) * REQUEST
        self._each_second = self.per_minute * _SECOND
        self.policy = b"%b;q=%d;w=60" % (self.name, self.per_minute)

    def share(self, nodes: int) -> "Allowance":
        """What one of so many nodes may admit by itself, at least one request."""
        if nodes == 1:
            return self
        per_minute = max(1, self.per_minute // nodes)
        return Allowance(self.name, per_minute, self.burst // nodes, self.on_store_failure)

    def remaining(self, level: int) -> int:
        """How many requests may follow at once."""
        return max(0, self.room - level) // REQUEST

    def until_more(self, level: int) -> float:
        """Seconds until ``remaining`` has grown by one."""
        return self._seconds(level + REQUEST * (self.remaining(level) + 1) - self.room)

    def state(self, level: int) -> bytes:
        """What header fields say of it: ``r`` may follow at once, in ``t`` seconds one more."""
        left = self.room - level
        remaining = left // REQUEST if left > 0 else 0
        missing = REQUEST * (remaining + 1) - left
        return b"%b;r=%d;t=%d" % (self.name, remaining, -(-missing // self._each_second))

    def until_whole(self, level: int) -> float:
        """Seconds until nothing is used any more."""
        return self._seconds(level)

    def units(self, cost: int) -> int:
        """What a request takes that counts for so many; no more than all of the allowance."""
        return min(cost * REQUEST, self.room)

    def until_fits(self, level: int, cost: int) -> float:
        """Seconds until such a request may be made; 0 if it may be now."""
        return self._seconds(max(0, level + self.units(cost) - self.room))

    def _seconds(self, units: int) -> float:
        return -(-units // self.per_minute) / _SECOND  # whole microseconds, never too few


class Charge(NamedTuple):
    """A request counts under this key, against this allowance."""

    key: bytes
    allowance: Allowance


class Outcome(NamedTuple):
    """Whether a request may pass, and the levels after that: one for each charge, in units."""

    allowed: bool
    charges: Sequence[Charge]
    levels: Sequence[int]

    def retry_after(self, cost: int = 1) -> float:
        """Seconds until all charges would fit."""
        return max(
            charge.allowance.until_fits(level, cost)
            for charge, level in zip(self.charges, self.levels, strict=True)
        )


class StoreUnavailable(Exception):
    """The levels can't be had at the moment; whether a request was counted is not known."""


class Store(Protocol):
    """Keeps the levels, and the sessions."""

    @property
    def sessions(self) -> SessionStore:
        """Those that ``check`` knows."""

    async def check(
        self, charges: Sequence[Charge], cost: int = 1, session: SessionRef | None = None
    ) -> Outcome:
        """Count a request under all of its charges, or, if one does not fit, under none.

        It counts for ``cost`` requests; where that is more than the whole allowance, for all of it.
        Raises StoreUnavailable; SessionOver, and counts nothing, if it has a session that does not
        last; SessionsUnavailable if that can't be told.
        """
