"""A service that handles some calls at a time while others queue, and dispatchers that call it."""

import heapq
import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from random import Random

from dispatcher.call_end import Load
from dispatcher.policies.concurrency import Limiter
from dispatcher.policies.gradient import GradientLimit
from tests.unit.dispatcher.doubles import Clock

SEED = 20260101
START = 1000.0  # a whole number of probe intervals
REFUSED_AFTER = 0.001  # seconds

Work = Callable[[Random], tuple[str, float]]  # the route of the next call, seconds of work in it


def constant(seconds: float, route: str = "users") -> Work:
    """Calls that are all alike."""
    return lambda random: (route, seconds)


def varied(mean: float, route: str = "users") -> Work:
    """Calls of exponentially distributed length."""
    return lambda random: (route, random.expovariate(1 / mean))


def mixed(slow: float) -> Work:
    """Two routes, one twenty times slower; ``slow`` is its part of the calls."""

    def next_call(random: Random) -> tuple[str, float]:
        if random.random() < slow:
            return "reports", random.uniform(0.15, 0.25)
        return "look-ups", random.uniform(0.008, 0.012)

    return next_call


@dataclass
class Dispatcher:
    """Keeps as many calls under way as its limit allows, or as there is demand for."""

    limit: GradientLimit
    limiter: Limiter
    demand: float = inf

    @property
    def has_room(self) -> bool:
        return self.limiter.in_flight < min(self.limit.current, self.demand)


@dataclass(order=True)
class Call:
    """One call, ordered by when it ends."""

    ends: float
    number: int
    began: float = field(compare=False)
    seconds: float = field(compare=False)
    route: str = field(compare=False)
    by: Dispatcher = field(compare=False)
    load: Load = field(compare=False, default=Load.SERVED)


@dataclass
class Seen:
    """What happened in some time: calls per second, their average latency in seconds."""

    throughput: float
    latency: float


class Service:
    """So many ``slots``, a queue without an end, and dispatchers that never lack calls to make."""

    def __init__(self, slots: int, work: Work, *, upper: int = 64, dispatchers: int = 1) -> None:
        self.slots = slots
        self.work = work
        self.dead = False
        self.clock = Clock(START)
        self._behind = 0.0  # seconds by which the clock that dispatchers see is late
        limits = [
            GradientLimit(upper, lambda: self.clock.now - self._behind) for _ in range(dispatchers)
        ]
        self.dispatchers = [Dispatcher(limit, Limiter(limit)) for limit in limits]
        self._random = Random(SEED)
        self._numbers = itertools.count()
        self._served: list[Call] = []
        self._queue: deque[Call] = deque()
        self._busy = 0

    @property
    def limit(self) -> int:
        """Of all dispatchers together."""
        return sum(one.limit.settled for one in self.dispatchers)

    def set_clock_back(self, seconds: float) -> None:
        """For the dispatchers only: calls take as long as before."""
        self._behind += seconds

    def run(self, seconds: float) -> Seen:
        """Let time pass."""
        ends = self.clock.now + seconds
        latencies = []
        self._call()
        while self._served and self._served[0].ends <= ends:
            call = heapq.heappop(self._served)
            self.clock.now = call.ends
            if call.load is Load.SERVED:
                self._busy -= 1
                latencies.append(call.ends - call.began)
            call.by.limiter.ended(call.route, call.ends - call.began, call.load)
            self._serve()
            self._call()
        self.clock.now = ends
        count = len(latencies)
        return Seen(count / seconds, sum(latencies) / count if count else 0.0)

    def _call(self) -> None:
        for one in self.dispatchers:
            while one.has_room:
                one.limiter.began()
                route, seconds = self.work(self._random)
                now = self.clock.now
                call = Call(0.0, next(self._numbers), now, seconds, route, one)
                if self.dead:
                    call.ends, call.load = now + REFUSED_AFTER, Load.DROPPED
                    heapq.heappush(self._served, call)
                else:
                    self._queue.append(call)
        self._serve()

    def _serve(self) -> None:
        while self._queue and self._busy < self.slots:
            call = self._queue.popleft()
            self._busy += 1
            call.ends = self.clock.now + call.seconds
            heapq.heappush(self._served, call)
