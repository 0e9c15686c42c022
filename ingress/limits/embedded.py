"""Levels, and sessions, in the memory of this process."""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from ingress.identity.embedded_sessions import EmbeddedSessions
from ingress.identity.session_store import SessionOver, SessionRef
from ingress.limits.allowance import Charge, Outcome

_MAX_KEYS = 100_000
_LOOKED_AT = 2  # old keys for each new one


def _monotonic_microseconds() -> int:
    return time.monotonic_ns() // 1000


class EmbeddedStore:
    """Limits of one process; ``clock`` gives whole microseconds that never go back.

    A level that has drained is worth nothing, and each new key pushes out a few of those. Beyond
    ``max_keys`` the key that was used first is forgotten, whatever its level.
    """

    def __init__(
        self,
        clock: Callable[[], int] = _monotonic_microseconds,
        max_keys: int = _MAX_KEYS,
        sessions: EmbeddedSessions | None = None,
    ) -> None:
        self.sessions = EmbeddedSessions() if sessions is None else sessions
        self._clock = clock
        self._max_keys = max_keys
        self._states: OrderedDict[bytes, tuple[int, int, int]] = OrderedDict()  # at, level, rate

    def __len__(self) -> int:
        return len(self._states)

    async def check(
        self, charges: Sequence[Charge], cost: int = 1, session: SessionRef | None = None
    ) -> Outcome:
        """Count a request under all of its charges, or, if one does not fit, under none.

        Raises SessionOver, and counts nothing, if it has a session that does not last.
        """
        if session is not None and not self.sessions.holds(session):
            raise SessionOver
        now = self._clock()
        levels = []
        fits = True
        for key, allowance in charges:
            level = self._level(key, allowance.per_minute, now)
            levels.append(level)
            if level + allowance.units(cost) > allowance.room:
                fits = False
        if fits:
            for index, (key, allowance) in enumerate(charges):
                levels[index] += allowance.units(cost)
                self._put(key, now, levels[index], allowance.per_minute)
        return Outcome(fits, charges, levels)

    def _level(self, key: bytes, rate: int, now: int) -> int:
        state = self._states.get(key)
        return 0 if state is None else max(0, state[1] - (now - state[0]) * rate)

    def _put(self, key: bytes, now: int, level: int, rate: int) -> None:
        if key not in self._states:
            self._make_room(now)
        self._states[key] = (now, level, rate)

    def _make_room(self, now: int) -> None:
        """Drop what has drained among the oldest, and put back what has not behind the youngest."""
        states = self._states
        if len(states) >= self._max_keys:
            states.popitem(last=False)
        for _ in range(min(_LOOKED_AT, len(states))):
            key, state = states.popitem(last=False)
            if self._level_of(state, now) > 0:
                states[key] = state

    @staticmethod
    def _level_of(state: tuple[int, int, int], now: int) -> int:
        at, level, rate = state
        return level - (now - at) * rate
