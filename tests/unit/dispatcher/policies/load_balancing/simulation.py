"""Instances whose calls take simulated time."""

import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from random import Random

from dispatcher.call_end import Verdict
from dispatcher.policies.load_balancing.balancer import Balancer, InstanceListener
from dispatcher.policies.load_balancing.member import Member
from dispatcher.policies.load_balancing.strategy import StrategyName, make_strategy
from dispatcher.service_discovery import Instance
from dispatcher.upstream import Address
from tests.unit.dispatcher.doubles import Clock

SEED = 20260101


def instance(name: str, weight: int = 1, zone: str | None = None) -> Instance:
    """An instance of that name."""
    return Instance(name, Address("http", name, 80), weight, zone)


def weighted(**weights: int) -> tuple[Instance, ...]:
    """Instances by their names, with weights."""
    return tuple(instance(name, weight) for name, weight in weights.items())


def members(**shares: float) -> list[Member]:
    """Members that have these shares."""
    made = []
    for name, share in shares.items():
        member = Member(instance(name))
        member.share = share
        made.append(member)
    return made


class News(InstanceListener):
    """Keeps what is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def ejected(self, instance: str, seconds: float) -> None:
        self.told.append(f"{instance} ejected for {seconds:g}")

    def unhealthy(self, instance: str) -> None:
        self.told.append(f"{instance} unhealthy")

    def returned(self, instance: str) -> None:
        self.told.append(f"{instance} returned")


class Fleet:
    """A balancer, its instances, and a clock that the test moves."""

    def __init__(
        self,
        strategy: StrategyName,
        instances: Sequence[Instance],
        *,
        zone: str | None = None,
        window: float = 300.0,
    ) -> None:
        self.clock = Clock(0.0)
        self.instances = instances
        self.news = News()
        random = Random(SEED).random
        self.balancer = Balancer(
            make_strategy(strategy, window, random),
            zone=zone,
            listener=self.news,
            clock=self.clock,
            random=random,
        )
        self.balancer.update(instances)

    def pick(self, avoid: Collection[str] = ()) -> str:
        """The name of the one that is picked."""
        picked = self.balancer.pick(self.instances, avoid)
        assert picked is not None
        return picked.name

    def picks(self, count: int) -> str:
        """The names of so many, one after the other."""
        return "".join(self.pick() for _ in range(count))

    def call(self, verdict: Verdict = Verdict.SUCCESS, seconds: float = 0.01) -> str:
        """Pick one and call it at once."""
        picked = self.balancer.pick(self.instances)
        assert picked is not None
        self.end(picked.name, verdict, seconds)
        return picked.name

    def end(self, name: str, verdict: Verdict, seconds: float = 0.01) -> None:
        """One whole call of that instance."""
        one = next(one for one in self.instances if one.name == name)
        self.balancer.began(one)
        self.clock.now += seconds
        self.balancer.ended(one, verdict, seconds)

    def fail(self, name: str, times: int = 5) -> None:
        """Calls of that instance that fail, at this moment."""
        for _ in range(times):
            self.end(name, Verdict.FAILURE, seconds=0.0)

    def late(self, name: str, times: int) -> None:
        """Hedged calls of that instance that are broken off, at this moment."""
        for _ in range(times):
            self.end(name, Verdict.LATE, seconds=0.0)

    def state(self, name: str) -> str:
        """That instance's state."""
        return self.balancer.states()[name]


Behaviour = Callable[[str], tuple[float, Verdict]]  # of an instance: how long a call takes, its end


class Load:
    """Keeps so many calls of a fleet under way, each followed by the next at once."""

    def __init__(self, fleet: Fleet, at_once: int, behaviour: Behaviour) -> None:
        self.calls: Counter[str] = Counter()
        self.seconds: list[float] = []
        self._fleet = fleet
        self._behaviour = behaviour
        self._numbers = itertools.count()
        self._under_way: list[tuple[float, int, Instance, float, Verdict]] = []
        for _ in range(at_once):
            self._begin()

    def run(self, calls: int) -> None:
        """Until so many have ended."""
        for _ in range(calls):
            ends_at, _, one, seconds, verdict = heapq.heappop(self._under_way)
            self._fleet.clock.now = ends_at
            self._fleet.balancer.ended(one, verdict, seconds)
            self.calls[one.name] += 1
            self.seconds.append(seconds)
            self._begin()

    def forget(self) -> None:
        """Count from here on."""
        self.calls.clear()
        self.seconds.clear()

    def p99(self) -> float:
        """Seconds that 99 of 100 calls took at most."""
        return sorted(self.seconds)[int(len(self.seconds) * 0.99)]

    def _begin(self) -> None:
        one = self._fleet.balancer.pick(self._fleet.instances)
        assert one is not None
        self._fleet.balancer.began(one)
        seconds, verdict = self._behaviour(one.name)
        ends_at = self._fleet.clock.now + seconds
        heapq.heappush(self._under_way, (ends_at, next(self._numbers), one, seconds, verdict))
