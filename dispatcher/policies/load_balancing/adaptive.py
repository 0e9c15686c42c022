"""The better of two instances drawn at random: the one expected to answer sooner.

Two random choices are almost as good as the best of all, and don't make everybody run to the same
one: M. Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", IEEE TPDS 12(10),
2001. What is compared follows Finagle's peak EWMA load metric: an average of latencies that rises
faster than it falls, and the calls that would be under way.
https://github.com/twitter/finagle/blob/develop/finagle-core/src/main/scala/com/twitter/finagle/loadbalancer/PeakEwma.scala

It differs in two things. The latency is squared: by their plain product, an instance that is ten
times slower would have a tenth of the calls under way, so a hundredth of the calls, which is just
what a p99 shows. And each answer moves the average by a bounded part of the way: one slow answer
does not outweigh a hundred others, and a pause of this process, in which everybody seemed slow,
does not hide for many seconds who always is.
"""

import random as randomness
from collections.abc import Callable, Sequence
from math import exp

from dispatcher.call_end import Verdict
from dispatcher.policies.load_balancing.member import Member

METRICS_WINDOW = 300.0  # seconds after which nothing that was measured counts any more
# Of the default window this makes Finagle's decay time of 10 s. After a window, e^-30 is left: even
# a call that took minutes is forgotten.
_DECAYS_PER_WINDOW = 30

# The part of the way that one answer moves the average, at least.
_RISE, _FALL = 0.2, 0.05

# A failure costs as much as so many answers: one call in a hundred failing doubles the cost. At
# first, everybody counts as having answered a few calls, so that one failure is not too much.
_FAILURE_COST = 100.0
_CALLS_BEFORE = 10.0

# Of whom nothing but a failure is known.
_ASSUMED = 1.0  # seconds

# What nothing is known of gets one call, and the next when that one has told something.
_UNMEASURED = 1e12


class Adaptive:
    """Expected latency, by EWMA and calls under way, with failures weighed in.

    ``window`` is seconds; ``random`` gives numbers from 0 to 1 (exclusive).
    """

    weighted = True

    def __init__(
        self, window: float = METRICS_WINDOW, random: Callable[[], float] = randomness.random
    ) -> None:
        self._decay_time = window / _DECAYS_PER_WINDOW
        self._random = random

    def pick(self, members: Sequence[Member], now: float) -> Member:
        """The cheaper of two."""
        count = len(members)
        if count == 1:
            return members[0]
        first = int(self._random() * count)
        second = int(self._random() * (count - 1))
        one = members[first]
        other = members[second if second < first else second + 1]
        return other if self._cost(other, now) < self._cost(one, now) else one

    def observe(self, member: Member, verdict: Verdict, seconds: float, now: float) -> None:
        """A call has ended.

        Only a success can make the average fall: a fast failure is no good service, and a call that
        was broken off would have taken longer.
        """
        seen = member.performance
        kept = exp((seen.at - now) / self._decay_time)
        seen.at = now
        if not seen.latency:
            seen.latency = max(seconds, _ASSUMED) if verdict is Verdict.FAILURE else seconds
        elif seconds > seen.latency:
            seen.latency += (seconds - seen.latency) * max(1.0 - kept, _RISE)
        elif verdict is Verdict.SUCCESS:
            seen.latency += (seconds - seen.latency) * max(1.0 - kept, _FALL)
        if verdict is Verdict.UNKNOWN:
            seen.calls *= kept
            seen.failures *= kept
        else:
            seen.calls = seen.calls * kept + 1.0
            seen.failures = seen.failures * kept + (verdict is Verdict.FAILURE)

    def _cost(self, member: Member, now: float) -> float:
        """How much is to be expected of a further call: the less, the better.

        A share says how many calls at a time an instance can bear; who is idle can bear one. While
        an instance has no calls, what is known of it fades: who was slow is tried again, by one.
        """
        seen = member.performance
        latency = seen.latency
        if not latency:
            return _UNMEASURED * member.in_flight / member.share
        kept = 1.0 if member.in_flight else exp((seen.at - now) / self._decay_time)
        latency *= kept
        cost = latency * latency * (member.in_flight / member.share + 1.0)
        if seen.failures:
            failing = seen.failures * kept / (seen.calls * kept + _CALLS_BEFORE)
            cost *= 1.0 + _FAILURE_COST * failing
        return cost
