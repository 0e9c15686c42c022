"""Weighted turns: of weights 5, 1, 1 the sequence a a b a c a a, over and over.

nginx's smooth weighted round-robin balancing:
https://github.com/phusion/nginx/commit/27e94984486058d73157038f7950a0a36ecc6e35
"""

from collections.abc import Sequence

from dispatcher.call_end import Verdict
from dispatcher.policies.load_balancing.member import Member


def smooth_turn(members: Sequence[Member]) -> Member:
    """Whose turn it is: all gain their share, the one that has most takes it and pays for all."""
    best = members[0]
    most = float("-inf")
    total = 0.0
    for member in members:
        share = member.share
        total += share
        member.turn = turn = member.turn + share
        if turn > most:
            best, most = member, turn
    best.turn -= total
    return best


class WeightedRoundRobin:
    """Each in its turn, heavier ones more often, evenly spread."""

    weighted = True

    def pick(self, members: Sequence[Member], now: float) -> Member:
        """The next one."""
        return smooth_turn(members)

    def observe(self, member: Member, verdict: Verdict, seconds: float, now: float) -> None:
        """Turns don't depend on how calls end."""
