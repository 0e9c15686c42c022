"""What every strategy does, and which there are."""

import random as randomness
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from dispatcher.call_end import Verdict
from dispatcher.policies.load_balancing.adaptive import METRICS_WINDOW, Adaptive
from dispatcher.policies.load_balancing.least_connections import LeastConnections
from dispatcher.policies.load_balancing.member import Member
from dispatcher.policies.load_balancing.round_robin import RoundRobin
from dispatcher.policies.load_balancing.weighted_round_robin import WeightedRoundRobin

StrategyName = Literal["round_robin", "least_connections", "weighted_round_robin", "adaptive"]


class Strategy(Protocol):
    """Chooses among instances that may all take the call; what it knows of them is in Member."""

    weighted: bool  # whether the weights of the configuration count

    def pick(self, members: Sequence[Member], now: float) -> Member:
        """One of at least one; ``now`` is seconds of a monotonic clock."""

    def observe(self, member: Member, verdict: Verdict, seconds: float, now: float) -> None:
        """A call has ended after so many seconds."""


def make_strategy(
    name: StrategyName,
    window: float = METRICS_WINDOW,
    random: Callable[[], float] = randomness.random,
) -> Strategy:
    """The strategy of that name; ``window`` (seconds) is for the adaptive one."""
    match name:
        case "round_robin":
            return RoundRobin()
        case "least_connections":
            return LeastConnections()
        case "weighted_round_robin":
            return WeightedRoundRobin()
        case "adaptive":
            return Adaptive(window, random)
