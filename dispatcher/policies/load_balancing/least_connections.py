"""The instance with the fewest calls under way, relative to its weight.

As nginx's least_conn: those that tie take weighted turns.
https://nginx.org/en/docs/http/ngx_http_upstream_module.html#least_conn
"""

from collections.abc import Sequence
from math import inf

from dispatcher.call_end import Verdict
from dispatcher.policies.load_balancing.member import Member
from dispatcher.policies.load_balancing.weighted_round_robin import smooth_turn


class LeastConnections:
    """Fewest calls under way; counted are those of this process."""

    weighted = True

    def pick(self, members: Sequence[Member], now: float) -> Member:
        """The least busy one, or whose turn it is among several."""
        least = inf
        tied: list[Member] = []
        for member in members:
            load = member.in_flight / member.share
            if load < least:
                least = load
                tied = [member]
            elif load == least:
                tied.append(member)
        return tied[0] if len(tied) == 1 else smooth_turn(tied)

    def observe(self, member: Member, verdict: Verdict, seconds: float, now: float) -> None:
        """Only how many are under way counts."""
