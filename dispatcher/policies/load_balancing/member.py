"""What is known of one instance among those of its service."""

from enum import StrEnum
from math import inf

from dispatcher.policies.load_balancing import slow_start
from dispatcher.policies.load_balancing.ejection import Ejection
from dispatcher.service_discovery import Instance


class State(StrEnum):
    """Of an instance, for those who look at it."""

    HEALTHY = "healthy"
    WARMING = "warming"  # it takes calls, but not yet its full share
    EJECTED = "ejected"  # it failed too many calls in a row
    UNHEALTHY = "unhealthy"  # it failed its probes


class Performance:
    """How an instance does, in numbers that fade with time; see adaptive.py.

    ``latency`` is seconds, 0 before the first call has ended; ``at`` is when all were last counted.
    """

    __slots__ = ("at", "calls", "failures", "latency")

    def __init__(self) -> None:
        self.latency = 0.0
        self.calls = 0.0
        self.failures = 0.0
        self.at = 0.0


class Member:
    """One instance: its calls under way, its health, and what strategies note about it.

    ``share`` is how much it should get relative to the others: its weight (1 where weights don't
    count), less while it warms up. ``turn`` belongs to weighted turns, ``performance`` to the
    adaptive strategy. Times are seconds of one monotonic clock.
    """

    __slots__ = (
        "ejection",
        "in_flight",
        "instance",
        "left_at",
        "name",
        "out",
        "performance",
        "probed_healthy",
        "share",
        "turn",
        "warming_since",
    )

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.name = instance.name
        self.in_flight = 0
        self.share = 1.0
        self.turn = 0.0
        self.performance = Performance()
        self.ejection = Ejection()
        self.probed_healthy = True
        self.out = False  # was told to be ejected or unhealthy, and not yet to have returned
        self.warming_since = -inf
        self.left_at: float | None = None  # when discovery was seen not to know it any more

    def available(self, now: float) -> bool:
        """Whether it is neither ejected nor found unhealthy by probes."""
        return self.probed_healthy and not self.ejection.active(now)

    def state(self, now: float) -> State:
        """In one word."""
        if not self.probed_healthy:
            return State.UNHEALTHY
        if self.ejection.active(now):
            return State.EJECTED
        warming = now < self.warming_since + slow_start.WINDOW
        return State.WARMING if warming else State.HEALTHY

    def changes_at(self, now: float) -> float:
        """When time alone will next change its state or its share."""
        if self.ejection.active(now):
            return self.ejection.until
        if now < self.warming_since + slow_start.WINDOW:
            return now + slow_start.STEP
        return inf
