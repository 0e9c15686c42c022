"""LoadBalancer: the same policies for an application that has no gateway."""

import random as randomness
import re
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import AsyncExitStack
from typing import Self, get_args

from dispatcher.call_end import Verdict
from dispatcher.lean_upstream import LeanUpstreamClient
from dispatcher.options import UpstreamOptions
from dispatcher.policies.arguments import check_counts, check_seconds
from dispatcher.policies.load_balancing.adaptive import METRICS_WINDOW
from dispatcher.policies.load_balancing.balancer import Balancer
from dispatcher.policies.load_balancing.checks import HealthChecks, Probe, http_probe
from dispatcher.policies.load_balancing.member import State
from dispatcher.policies.load_balancing.strategy import StrategyName, make_strategy
from dispatcher.service_discovery import Instance
from dispatcher.upstream import Address

_PATH = re.compile(r"/[!\"$-~]*")  # visible ASCII, without a fragment


class NoInstance(LookupError):
    """There is no instance to pick: none was added, or all were removed."""


class Pick:
    """An instance for one call, which is under way until the end of the ``with`` block.

    An Exception that leaves the block is a failure of the instance, cancellation says nothing, and
    otherwise it is a success, unless ``failed`` was called. Without a block, call one of the two.
    """

    __slots__ = ("_balancer", "_began", "_clock", "_ended", "instance")

    def __init__(self, instance: Instance, balancer: Balancer, clock: Callable[[], float]) -> None:
        self.instance = instance
        self._balancer = balancer
        self._clock = clock
        self._ended = False
        self._began = clock()
        balancer.began(instance)

    @property
    def url(self) -> str:
        """Of the instance, as it was added, without a slash at its end."""
        return self.instance.name

    def succeeded(self) -> None:
        """The call has ended well."""
        self._end(Verdict.SUCCESS)

    def failed(self) -> None:
        """The call has ended, and the instance is to blame."""
        self._end(Verdict.FAILURE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        if kind is None:
            self._end(Verdict.SUCCESS)
        else:
            self._end(Verdict.FAILURE if issubclass(kind, Exception) else Verdict.UNKNOWN)

    def _end(self, verdict: Verdict) -> None:
        """The first word counts."""
        if not self._ended:
            self._ended = True
            self._balancer.ended(self.instance, verdict, self._clock() - self._began)


class LoadBalancer:
    """Picks among instances by a strategy, their health and their zones; for one event loop.

    ``strategy`` is ``adaptive``, ``round_robin``, ``least_connections`` or
    ``weighted_round_robin``; ``metrics_window`` (seconds) is how far back the first one looks. As
    an async context manager it also checks each instance every ``health_check_interval`` seconds,
    by ``probe`` or by a GET of ``health_check_path``. ``zone`` is the own one. ``clock`` gives
    seconds of a monotonic clock, ``random`` numbers from 0 to 1. Raises ValueError for values that
    can't be used, TypeError for a probe that can't be called.
    """

    def __init__(
        self,
        strategy: StrategyName = "adaptive",
        health_check_interval: float = 30.0,
        metrics_window: float = METRICS_WINDOW,
        *,
        health_check_path: str = "/health",
        probe: Probe | None = None,
        zone: str | None = None,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = randomness.random,
    ) -> None:
        if strategy not in get_args(StrategyName):
            raise ValueError(f"a strategy is one of {get_args(StrategyName)}, not {strategy!r}")
        check_seconds(health_check_interval=health_check_interval, metrics_window=metrics_window)
        if not isinstance(health_check_path, str) or not _PATH.fullmatch(health_check_path):
            raise ValueError(f"health_check_path is {health_check_path!r}, and not like /health")
        if probe is not None and not callable(probe):
            raise TypeError(f"a probe is called with the URL of an instance: {probe!r} can't be")
        chosen = make_strategy(strategy, metrics_window, random)
        self._balancer = Balancer(chosen, zone=zone, clock=clock, random=random)
        self._interval = health_check_interval
        self._path = health_check_path
        self._probe = probe
        self._clock = clock
        self._random = random
        self._instances: tuple[Instance, ...] = ()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Begin with the health checks."""
        async with AsyncExitStack() as stack:
            probe = self._probe
            if probe is None:
                client = await stack.enter_async_context(LeanUpstreamClient())
                probe = http_probe(client.caller(UpstreamOptions()), self._path)
            await stack.enter_async_context(
                HealthChecks(
                    self._balancer, lambda: self._instances, probe, self._interval, self._random
                )
            )
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """End them."""
        await self._stack.aclose()

    def add(self, url: str, *, weight: int = 1, zone: str | None = None) -> None:
        """Add an instance, or change the one at that ``http[s]://host[:port][/base]``.

        Raises TypeError for a URL that is no text, ValueError for a bad one, and for a bad weight.
        """
        check_counts(weight=weight)
        name = _name(url)
        one = Instance(name, Address.parse(name), weight, zone)
        self._use({known.name: known for known in self._instances} | {name: one})

    def remove(self, url: str) -> None:
        """Pick it no more; calls under way go on."""
        name = _name(url)
        self._use({known.name: known for known in self._instances if known.name != name})

    def pick(self, avoid: Collection[str] = ()) -> Pick:
        """An instance to call; ``avoid`` has the URLs that were tried for this request already.

        Raises NoInstance where there is none at all. While too many are out of order for the others
        to carry the load, all are used.
        """
        instance = self._balancer.pick(self._instances, avoid)
        if instance is None:
            raise NoInstance("no instance was added")
        return Pick(instance, self._balancer, self._clock)

    @property
    def states(self) -> Mapping[str, State]:
        """By URL: ``healthy``, ``warming``, ``ejected`` (by failed calls), ``unhealthy``."""
        return self._balancer.states()

    def _use(self, instances: Mapping[str, Instance]) -> None:
        self._instances = tuple(instances.values())
        self._balancer.update(self._instances)


def _name(url: object) -> str:
    """What the instance there is called."""
    if not isinstance(url, str):
        raise TypeError(f"the URL of an instance is text, not {url!r}")
    return url.rstrip("/")
