"""A circuit breaker: a service that fails is left alone for a while, then tried with a few calls.

The pattern is that of Nygard, "Release It!" (2007). States, rates with a minimum volume and probes
in HALF_OPEN are as users of resilience4j know them.
"""

import copy
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from inspect import isawaitable
from typing import Any, ParamSpec, TypeVar

from dispatcher.policies.arguments import check_counts, check_parts, check_seconds
from dispatcher.policies.sliding_window import SlidingWindow

P = ParamSpec("P")
T = TypeVar("T")

_CALLS, _FAILED, _SLOW = range(3)
_WORDS = {_FAILED: "failed", _SLOW: "were slow"}
_PROBING = 1.0  # seconds in which a probe may have its answer
_NEVER = -1  # no permit


class State(StrEnum):
    """Whether calls are made."""

    CLOSED = "CLOSED"  # normal operation
    OPEN = "OPEN"  # failing: no calls, the fallback answers
    HALF_OPEN = "HALF_OPEN"  # testing recovery by a few calls


class CircuitOpen(Exception):
    """The breaker lets no call through, and has no fallback; ``retry_after`` is in seconds."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"the circuit is open for {retry_after:.1f} s")
        self.retry_after = retry_after


class _NotAsync(TypeError):
    """What was to be called is a mistake of the caller's."""


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of state.

    ``reset_after`` is seconds until a call is tried, in OPEN. ``reason`` is for people.
    """

    previous: State
    state: State
    reset_after: float = 0.0
    reason: str = ""


def _nobody(_: Transition) -> None:
    """Hears of no transition."""


class CircuitBreaker:
    """Opens after ``failure_threshold`` failures in a row, for ``reset_timeout`` seconds.

    Then as many calls as ``half_open_max_calls`` probe: when all of them succeed it closes, and one
    that fails opens it anew. Optionally it also opens when ``failure_rate`` or ``slow_call_rate``
    (0 to 1) of at least ``minimum_calls`` calls within the last ``window`` seconds failed, or took
    ``slow_call_duration`` seconds or more; then a slow probe counts as failed, too.

    By itself it is used through ``call``. Who can't be called so asks for a permit by ``acquire``,
    and gives it back by exactly one of ``succeeded``, ``failed`` and ``released``. A permit counts
    only in the state in which it was given: a call that began before the breaker opened says
    nothing of the service as it is when it ends.

    ``listener`` hears of each change of state; ``clock`` gives seconds. Raises ValueError for
    what is no number, and for numbers that make no sense: it would be open from the start, never
    open, or never close.
    """

    def __init__(
        self,
        failure_threshold: int = 5,
        reset_timeout: float = 60.0,
        fallback_response: Any = None,
        *,
        half_open_max_calls: int = 1,
        failure_rate: float | None = None,
        slow_call_rate: float | None = None,
        slow_call_duration: float = 1.0,
        window: float = 60.0,
        minimum_calls: int = 20,
        listener: Callable[[Transition], None] = _nobody,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        check_counts(
            failure_threshold=failure_threshold,
            half_open_max_calls=half_open_max_calls,
            minimum_calls=minimum_calls,
        )
        check_seconds(
            reset_timeout=reset_timeout, slow_call_duration=slow_call_duration, window=window
        )
        check_parts(failure_rate=failure_rate, slow_call_rate=slow_call_rate)
        self._threshold = failure_threshold
        self._reset_timeout = reset_timeout
        self._fallback_response = fallback_response
        self._probes = half_open_max_calls
        self._limits = ((_FAILED, failure_rate), (_SLOW, slow_call_rate))
        self._slow_from = math.inf if slow_call_rate is None else slow_call_duration
        self._minimum_calls = minimum_calls
        self._listener = listener
        self._clock = clock
        rated = failure_rate is not None or slow_call_rate is not None
        self._window = SlidingWindow(window, 3, clock) if rated else None
        self._state = State.CLOSED
        self._reason = ""
        self._period = 0  # each state that was entered has a number: what a permit is
        self._doubted = _NEVER  # that of the CLOSED one which a peer's word has ended
        self._failures = 0  # in a row
        self._good_at = -math.inf  # when the last good call ended
        self._bad_from = -math.inf  # when the first one after it ended that failed or was slow
        self._permits = 0  # left in HALF_OPEN
        self._succeeded = 0  # probes
        self._tries_at = 0.0  # when it lets calls through that it does not now

    # --- alone ----------------------------------------------------------------------------------

    async def call(
        self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T | Any:
        """The result of the call, or, while open, a copy of ``fallback_response``.

        Every Exception counts as a failure, and is raised. A call that is cancelled counts as
        nothing, and neither does a function that gives nothing to await, which is a TypeError.
        Raises CircuitOpen while open without a fallback.
        """
        if not callable(function):
            raise TypeError(f"call(function, *arguments): {function!r} is no function")
        permit = self.acquire()
        if permit is None:
            if self._fallback_response is None:
                raise CircuitOpen(self.retry_after)
            return copy.deepcopy(self._fallback_response)
        began = self._clock()
        try:
            awaitable = function(*args, **kwargs)
            if not isawaitable(awaitable):
                raise _NotAsync(f"{function!r} is not async: there is nothing to await")
            result = await awaitable
        except _NotAsync:
            self.released(permit)
            raise
        except Exception:
            self.failed(permit, self._clock() - began)
            raise
        except BaseException:
            self.released(permit)
            raise
        self.succeeded(permit, self._clock() - began)
        return result

    @property
    def state(self) -> State:
        """Now; OPEN also when its time is over, until the first call is let through."""
        return self._state

    @property
    def probe_due(self) -> bool:
        """Whether it is OPEN, and its time over: the next call is tried, if one comes."""
        return self._state is State.OPEN and self.permits

    @property
    def failures(self) -> int:
        """How many calls have failed in a row."""
        return self._failures

    @property
    def reason(self) -> str:
        """Why it went over to the state in which it is, for people; empty if it never did."""
        return self._reason

    @property
    def failing_for(self) -> float:
        """Seconds since the first bad call ended after which there was no good one; 0 if well."""
        return self._clock() - self._bad_from if self._bad_from > self._good_at else 0.0

    @property
    def retry_after(self) -> float:
        """Seconds until a call may be let through, an estimate while probing; 0 if one is now."""
        if self.permits:
            return 0.0
        left = self._tries_at - self._clock()
        return left if self._state is State.OPEN else min(left, _PROBING)

    # --- permits --------------------------------------------------------------------------------

    @property
    def permits(self) -> bool:
        """Whether ``acquire`` would give a permit now."""
        if self._state is State.CLOSED or self._permits:
            return True
        return self._clock() >= self._tries_at

    def acquire(self) -> int | None:
        """A permit for one call, or None."""
        if self._state is State.CLOSED:
            return self._period
        # Probes that have not ended within reset_timeout are given up, or it would never close.
        if not self._permits and self._clock() >= self._tries_at:
            self._enter(State.HALF_OPEN, "a call is tried")
        if not self._permits:
            return None
        self._permits -= 1
        return self._period

    def succeeded(self, permit: int, seconds: float = 0.0) -> None:
        """The call went well, and took so long."""
        slow = seconds >= self._slow_from
        if permit == self._doubted and not slow:
            self._enter(State.CLOSED, "a call that was under way went well")
            permit = self._period
        if permit != self._period:
            return
        if slow:
            self._went_badly()
        else:
            self._good_at = self._clock()
        if self._state is State.CLOSED:
            self._failures = 0
            if self._window is not None:
                self._rate(self._window, False, slow)
        elif slow:
            self._enter(State.OPEN, f"a probe took {seconds:.3g} s")
        else:
            self._succeeded += 1
            if self._succeeded >= self._probes:
                self._enter(State.CLOSED, "all probes succeeded")

    def failed(self, permit: int, seconds: float = 0.0) -> None:
        """The call failed after so long."""
        if permit != self._period:
            return
        self._failures += 1
        self._went_badly()
        if self._state is State.HALF_OPEN:
            self._enter(State.OPEN, "a probe failed")
        elif self._failures >= self._threshold:
            self._enter(State.OPEN, f"failures in a row: {self._failures}")
        elif self._window is not None:
            self._rate(self._window, True, seconds >= self._slow_from)

    def released(self, permit: int, seconds: float = 0.0) -> None:
        """The call ended in a way that says nothing of the service, as by cancellation.

        But if it took so long until then, it was slow.
        """
        if permit != self._period:
            return
        slow = seconds >= self._slow_from
        if self._state is State.HALF_OPEN:
            if slow:
                self._enter(State.OPEN, f"a probe took {seconds:.3g} s")
            else:
                self._permits += 1
        elif slow and self._window is not None:
            self._rate(self._window, False, slow)

    # --- peers ----------------------------------------------------------------------------------

    def peer_opened(self, peer: str, failing_for: float) -> None:
        """The breaker of the same service at ``peer`` has opened.

        Its word has the next calls probe, as after OPEN; it does not close the way for them. And it
        counts for nothing where a call from here went well within the ``failing_for`` seconds in
        which none from there did: then not the service is ill, but the peer. A call that is under
        way has that to say when it ends. While this breaker is not CLOSED, its own calls tell
        anyway.
        """
        if self._state is State.CLOSED and self._good_at < self._clock() - failing_for:
            doubted = self._period
            self._enter(State.HALF_OPEN, f"that of {peer} has opened, a call is tried")
            self._doubted = doubted

    # --- states ---------------------------------------------------------------------------------

    def _went_badly(self) -> None:
        if self._bad_from <= self._good_at:
            self._bad_from = self._clock()

    def _rate(self, window: SlidingWindow, failed: bool, slow: bool) -> None:
        """Count a call, and open if there were too many of its kind."""
        window.add(_CALLS)
        if failed:
            window.add(_FAILED)
        if slow:
            window.add(_SLOW)
        calls = window.totals[_CALLS]
        if calls < self._minimum_calls:
            return
        for column, limit in self._limits:
            count = window.totals[column]
            if limit is not None and count >= limit * calls:
                self._enter(State.OPEN, f"{count} of {calls} calls {_WORDS[column]}")
                return

    def _enter(self, state: State, reason: str) -> None:
        """Go over to another state; after reset_timeout it would let calls through."""
        previous, self._state, self._reason = self._state, state, reason
        self._period += 1
        self._doubted = _NEVER
        self._permits = self._probes if state is State.HALF_OPEN else 0
        self._succeeded = 0
        self._tries_at = self._clock() + self._reset_timeout
        if state is State.CLOSED:
            self._failures = 0
            if self._window is not None:
                self._window.clear()
        if state is not previous:
            reset_after = self._reset_timeout if state is State.OPEN else 0.0
            self._listener(Transition(previous, state, reset_after, reason))
