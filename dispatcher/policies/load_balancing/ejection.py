"""Passive health: an instance that fails again and again is left alone for a while.

As Envoy's outlier detection does it (consecutive failures, base_ejection_time, max_ejection_time):
https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/outlier

A hedged instance that hangs does not fail: its calls are broken off when another has answered. That
one call was late says nothing, as healthy instances have such calls, too, and five in a row may be
no more than a short pause. But where every call was late for SILENCE seconds, an instance does
nothing that is of use, and its next ones are failures.
"""

from math import inf

FAILURES_IN_A_ROW = 5
BASE_TIME = 30.0  # seconds; times the number of ejections
LONGEST_TIME = 300.0  # seconds
SILENCE = 10.0  # seconds


class Ejection:
    """Failures in a row of one instance, and the ejections that they led to.

    ``until`` is the end of the last one. Each BASE_TIME without an ejection takes one off their
    number. ``late_since`` is when the first call began of those that were late, without a success
    since. All times are seconds of one monotonic clock.
    """

    __slots__ = ("failures", "late_since", "number", "until")

    def __init__(self) -> None:
        self.failures = 0
        self.number = 0
        self.until = 0.0
        self.late_since = inf

    def active(self, now: float) -> bool:
        """Whether the instance is ejected."""
        return self.number > 0 and now < self.until

    def succeeded(self) -> None:
        """A call went well."""
        self.failures = 0
        self.late_since = inf

    def silent(self, since: float, now: float) -> bool:
        """Whether a call that began then, and was late, is one of many: it is a failure."""
        if self.active(now):
            return False
        self.late_since = min(self.late_since, since)
        return now - self.late_since >= SILENCE

    def begin(self, now: float) -> float:
        """Eject it; for how many seconds."""
        if self.number:
            self.number = max(0, self.number - int((now - self.until) / BASE_TIME))
        self.number += 1
        seconds = min(self.number * BASE_TIME, LONGEST_TIME)
        self.failures = 0
        self.late_since = inf
        self.until = now + seconds
        return seconds
