"""Whether a failed call is made again, and after how long."""

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable
from datetime import UTC
from email.utils import parsedate_to_datetime

from broker.messages import Envelope, Headers
from config.models.services import Backoff
from dispatcher.attempt import Attempt
from dispatcher.policies.sliding_window import SlidingWindow

_REPEATED_STATUSES = frozenset({502, 503, 504})
_LONGEST_WAIT = 5.0  # seconds; a call that waits has a slot, which others may want
SHORTEST_CALL = 0.005  # seconds; a call that has less could not be answered in time

_FIRST_CALLS, _REPEATED = range(2)


class RetryBudget:
    """How many calls may be repeated: ``ratio`` of those of the last ``window`` seconds.

    At least ``minimum``, so that a quiet service has retries at all. Without it, retries would
    multiply the load of a service just when it can't bear it ("The Site Reliability Workbook",
    chapter 22; the figures are those of Finagle).
    """

    def __init__(
        self,
        ratio: float = 0.2,
        window: float = 10.0,
        minimum: int = 3,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ratio = ratio
        self._minimum = minimum
        self._window = SlidingWindow(window, 2, clock)

    def count(self) -> None:
        """A call is made for the first time."""
        self._window.add(_FIRST_CALLS)

    def take(self) -> bool:
        """Whether a call may be made once more; counted if so."""
        self._window.advance()
        first_calls, repeated = self._window.totals
        if repeated >= max(self._minimum, self._ratio * first_calls):
            return False
        self._window.add(_REPEATED)
        return True


class Retry:
    """Which attempts are repeated, and when: full jitter between 0 and a bound that doubles.

    Full jitter is of Brooker, "Exponential Backoff And Jitter" (AWS, 2015). ``uniform`` gives a
    random number between two, ``sleep`` waits some seconds, ``now`` is Unix seconds.
    """

    def __init__(
        self,
        backoff: Backoff,
        *,
        uniform: Callable[[float, float], float] = random.uniform,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.sleep = sleep
        self._backoff = backoff
        self._uniform = uniform
        self._now = now

    def wanted(self, last: Attempt, envelope: Envelope, statuses: frozenset[int]) -> bool:
        """Whether the last attempt is worth another, and another does no harm.

        What must not be executed twice is repeated only if the upstream never saw it.
        """
        if last.response is not None:
            status = last.response.status
            worth = status in _REPEATED_STATUSES or status in statuses
            return worth and envelope.idempotent
        unseen = last.problem is not None and last.problem.executed == "no"
        return last.repeatable and (envelope.idempotent or unseen)

    def delay(self, retries: int, last: Attempt, deadline: float) -> float | None:
        """Seconds to wait before the next try, after so many retries; None if it would be too late.

        A service that says Retry-After is not asked before.
        """
        # Doubling beyond the largest bound is for nothing, and would overflow.
        bound = min(self._backoff.max, self._backoff.base * 2.0 ** min(retries, 30))
        wait = self._uniform(0.0, bound)
        now = self._now()
        if last.response is not None:
            wait = max(wait, retry_after(last.response.headers, now))
        if wait > _LONGEST_WAIT or now + wait + SHORTEST_CALL > deadline:
            return None
        return wait


def retry_after(headers: Headers, now: float) -> float:
    """Seconds that a Retry-After asks for (RFC 9110 section 10.2.3); 0 without a readable one."""
    value = next((v for name, v in headers if name.lower() == b"retry-after"), b"").strip()
    if not value:
        return 0.0
    if value.isdigit():
        return float(value) if len(value) < 10 else math.inf
    try:
        at = parsedate_to_datetime(value.decode("ascii"))
        return max(0.0, at.replace(tzinfo=at.tzinfo or UTC).timestamp() - now)
    except (ValueError, OverflowError):  # UnicodeDecodeError is a ValueError
        return 0.0
