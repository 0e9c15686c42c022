"""Passive health: an instance that fails again and again is left alone for a while.

As Envoy's outlier detection does it (consecutive failures, base_ejection_time, max_ejection_time):
https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/outlier
"""

FAILURES_IN_A_ROW = 5
BASE_TIME = 30.0  # seconds; times the number of ejections
LONGEST_TIME = 300.0  # seconds


class Ejection:
    """Failures in a row of one instance, and the ejections that they led to.

    ``until`` is the end of the last one. Each BASE_TIME without an ejection takes one off their
    number. All times are seconds of one monotonic clock.
    """

    __slots__ = ("failures", "number", "until")

    def __init__(self) -> None:
        self.failures = 0
        self.number = 0
        self.until = 0.0

    def active(self, now: float) -> bool:
        """Whether the instance is ejected."""
        return self.number > 0 and now < self.until

    def begin(self, now: float) -> float:
        """Eject it; for how many seconds."""
        if self.number:
            self.number = max(0, self.number - int((now - self.until) / BASE_TIME))
        self.number += 1
        seconds = min(self.number * BASE_TIME, LONGEST_TIME)
        self.failures = 0
        self.until = now + seconds
        return seconds
