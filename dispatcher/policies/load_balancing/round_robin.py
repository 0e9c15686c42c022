"""Each in its turn."""

from dispatcher.policies.load_balancing.weighted_round_robin import WeightedRoundRobin


class RoundRobin(WeightedRoundRobin):
    """Weighted turns of equal weights; so an instance that warms up can have its part of them."""

    weighted = False
