"""A limit that follows latency: it grows until calls take longer than they do without a queue.

The gradient of Netflix's Gradient2Limit: how long calls take in the long run, divided by how long
they take now. Below 1 they wait somewhere, and the limit falls by as much; the square root of the
limit may wait in any case, so that it is found out when there is room for more.
https://github.com/Netflix/concurrency-limits/blob/main/concurrency-limits-core/src/main/java/com/netflix/concurrency/limits/limit/Gradient2Limit.java

It differs in three things.

- What calls take in the long run is known for each route, and each call is compared with its own:
  a time of many slow reports is no overload.
- It is learned only while many slots are free; a long overload would else become the measure of
  itself. A service that is never idle is probed now and then with few calls, as Netflix's earlier
  GradientLimit and Envoy's adaptive concurrency filter do, all dispatchers in the same moment: one
  of many that holds back measures only the others' queue.
- Calls that were dropped count, by their share: one in a hundred is no reason to slow down, all
  are a reason to go down to 1.
"""

import time
from collections.abc import Callable
from math import inf, isqrt, sqrt

TOLERANCE = 1.2  # how much longer than in the long run is still as always: nothing is constant
SLACK = 0.001  # seconds that a call may wait in a busy dispatcher, whatever the service does
SMOOTHING = 0.2  # the part of the way to a new limit that is gone at once
STEEPEST = 0.5  # the least gradient: a single bad window does not close everything
# The part of the limit that is as good as all of it: a message that pauses before a retry has a
# slot, too, but no call under way.
FULL = 0.75

SHORTEST_WINDOW = 0.1  # seconds; else as long as a call takes, so that it shows the limit it had
WINDOW_CALLS = 10  # in a window at least; fewer where fewer may be under way

PROBE_INTERVAL = 10.0  # seconds, as in BBR; more where probes would take more than PROBE_SHARE
PROBE_SHARE = 0.05
PROBE_CALLS = 10  # one after the other, in each slot that is left
# Of the limit at the last probe. Where no more is left, there is a queue, or calls take longer by
# themselves. Only a probe can tell which: it is made at the next interval, however rare probes are,
# and once, for the limit must fall as far again for another.
FALLEN = 0.5
_SHORTEST_PROBE = 0.1  # seconds; clocks of dispatchers differ a little

_LONG_RUN = 100  # windows of which a floor is the average
_FIRST = 10  # windows that count in any case: the calls that end first are the short ones
_DOUBT = 10  # what was known of a route before a probe counts as so many of its calls
_ROUTES = 10_000  # more are not told apart from those that are new


class _Calls:
    """Those of one route in a window."""

    __slots__ = ("count", "seconds")

    def __init__(self) -> None:
        self.count = 0
        self.seconds = 0.0


class _Window:
    """The calls that began after ``since`` and ended in it; ``peak`` were under way at most."""

    __slots__ = ("calls", "dropped", "ends", "opened", "peak", "routes", "since")

    def __init__(self, opened: float, since: float, ends: float) -> None:
        self.opened = opened
        self.since = since
        self.ends = ends
        self.calls = 0
        self.dropped = 0
        self.peak = 0
        self.routes: dict[str, _Calls] = {}

    def add(self, route: str, seconds: float, in_flight: int, dropped: bool) -> None:
        self.calls += 1
        if in_flight > self.peak:
            self.peak = in_flight
        if dropped:
            self.dropped += 1
            return
        calls = self.routes.get(route)
        if calls is None:
            calls = self.routes[route] = _Calls()
        calls.count += 1
        calls.seconds += seconds

    @property
    def seconds(self) -> float:
        """What all calls took that were served."""
        return sum(calls.seconds for calls in self.routes.values())


class Floors:
    """How long a call of each route takes where it does not wait; averages, in seconds."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, int]] = {}  # and in how many windows it was seen

    def expected(self, routes: dict[str, _Calls]) -> float:
        """What these calls should have taken at most, together; unknown ones what they took."""
        seconds = 0.0
        for route, calls in routes.items():
            floor = self._known.get(route, (calls.seconds / calls.count, 0))[0]
            seconds += calls.count * (floor * TOLERANCE + SLACK)
        return seconds

    def learn(self, routes: dict[str, _Calls], free: bool) -> None:
        """From a window; all of it if many slots were free, else of rather new routes only."""
        for route, calls in routes.items():
            mean = calls.seconds / calls.count
            floor, windows = self._known.get(route, (mean, 0))
            if not windows and len(self._known) >= _ROUTES:
                continue
            if free or windows < _FIRST:
                windows = min(windows + 1, _LONG_RUN)
                self._known[route] = floor + (mean - floor) / windows, windows

    def measured(self, routes: dict[str, _Calls]) -> None:
        """By a probe, of routes that are known; it counts the more, the more calls it had."""
        for route, calls in routes.items():
            known = self._known.get(route)
            if known is not None:
                floor, windows = known
                weight = calls.count / (calls.count + _DOUBT)
                floor += (calls.seconds / calls.count - floor) * weight
                self._known[route] = floor, windows


class GradientLimit:
    """Between 1 and ``upper``; begins with its square root.

    ``clock`` is Unix seconds, so that dispatchers probe in the same moment; it may jump.
    """

    def __init__(self, upper: int, clock: Callable[[], float] = time.time) -> None:
        self.upper = upper
        self.current = isqrt(upper)
        self._estimate = float(self.current)
        self._clock = clock
        self._floors = Floors()
        self._typical = 0.0  # seconds that a call took in the last window
        self._interval = clock() // PROBE_INTERVAL
        self._was_full = False  # since the last probe
        self._probed_at = self._estimate  # the limit when it was last probed
        self._probing = False
        self._open_window(clock())

    @property
    def settled(self) -> int:
        """The limit, also while a probe keeps below it."""
        return int(self._estimate)

    def ended(self, route: str, seconds: float, in_flight: int, dropped: bool) -> None:
        """Count the call; when a window is over, look what follows."""
        now = self._clock()
        window = self._window
        if now - seconds >= window.since:
            window.add(route, seconds, in_flight, dropped)
        if not window.opened <= now < window.ends:
            self._turn(now)

    def _turn(self, now: float) -> None:
        """The time of a window is over; it goes on if it has too few calls."""
        window = self._window
        if self._probing:
            self._floors.measured(window.routes)
            self._probing = False
            self.current = self.settled
            self._open_window(now)
        elif window.calls >= min(WINDOW_CALLS, self.settled):
            self._adapt(window)
            self._open_window(now)
        interval = now // PROBE_INTERVAL
        if interval != self._interval:
            self._interval = interval
            if self._was_full and (self._has_fallen or interval % self._intervals() == 0):
                self._probe(now)

    @property
    def _has_fallen(self) -> bool:
        """Whether too much has changed since the last probe to wait until the next is due."""
        return self._estimate <= self._probed_at * FALLEN

    def _adapt(self, window: _Window) -> None:
        """Move the limit, and learn. What is hardly used says nothing of the limit."""
        estimate = self._estimate
        full = window.peak >= FULL * self.settled
        seconds = window.seconds
        served = 1 - window.dropped / window.calls
        if window.peak >= estimate / 2:
            gradient = min(1.0, self._floors.expected(window.routes) / seconds) if seconds else 1.0
            gradient = max(STEEPEST, gradient * served)
            wanted = estimate * gradient + sqrt(estimate) * served
            if wanted <= estimate or full:
                moved = estimate + (wanted - estimate) * SMOOTHING
                self._estimate = max(1.0, min(moved, float(self.upper)))
                self.current = self.settled
        self._was_full |= full
        self._floors.learn(window.routes, free=not full)
        if served:
            self._typical = seconds / (window.calls - window.dropped)

    def _open_window(self, now: float) -> None:
        """One that is over when the calls that begin now have ended, or when it may be probed."""
        next_interval = (now // PROBE_INTERVAL + 1) * PROBE_INTERVAL
        length = max(SHORTEST_WINDOW, self._typical)
        self._window = _Window(now, -inf, min(now + length, next_interval))

    def _probe(self, now: float) -> None:
        """Have few calls under way for a while, and count those that find no queue any more.

        All dispatchers of a service wait equally long in its queue, so their probes begin and end
        together.
        """
        self._probing = True
        self._was_full = False
        self._probed_at = self._estimate
        self.current = max(1, min(isqrt(self.settled), self.settled // 4))
        drained = now + self._typical
        self._window = _Window(now, drained, drained + self._probe_time())

    def _probe_time(self) -> float:
        return max(_SHORTEST_PROBE, PROBE_CALLS * self._typical)

    def _intervals(self) -> int:
        """From one probe to the next; a power of two, so that dispatchers that differ meet."""
        intervals = 1
        while intervals * PROBE_INTERVAL * PROBE_SHARE < self._typical + self._probe_time():
            intervals *= 2
        return intervals
