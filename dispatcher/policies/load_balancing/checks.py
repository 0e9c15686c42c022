"""Active health checks of a balancer that stands alone."""

import asyncio
import random as randomness
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Self

from dispatcher.policies.load_balancing.balancer import Balancer
from dispatcher.service_discovery import Instance
from dispatcher.upstream import Address, Caller, UpstreamRequest

Probe = Callable[[str], Awaitable[bool]]  # of an instance by its URL: is it well?

HEALTHY_AFTER = 2  # good probes in a row
UNHEALTHY_AFTER = 3  # bad ones
PROBE_TIMEOUT = 2.0  # seconds
_JITTER = 0.1  # of the interval, so that not all balancers probe at the same moment


def http_probe(caller: Caller, path: str) -> Probe:
    """GET ``path`` of the instance: healthy is who answers with a status from 200 to 399."""

    async def probe(url: str) -> bool:
        request = UpstreamRequest("GET", path, (), b"", again=lambda: True)
        response = await caller.call(Address.parse(url), request, PROBE_TIMEOUT)
        return 200 <= response.status < 400

    return probe


class HealthChecks:
    """Probes each instance every ``interval`` seconds, and tells the balancer; a context manager.

    A probe that raises, or takes longer than PROBE_TIMEOUT, is a bad one.
    """

    def __init__(
        self,
        balancer: Balancer,
        instances: Callable[[], Sequence[Instance]],
        probe: Probe,
        interval: float,
        random: Callable[[], float] = randomness.random,
    ) -> None:
        self._balancer = balancer
        self._instances = instances
        self._probe = probe
        self._interval = interval
        self._random = random
        self._in_a_row: dict[str, int] = {}  # by name: good probes, or bad ones if negative

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        while True:
            await self._round(self._instances())
            jitter = 1 + _JITTER * (2 * self._random() - 1)
            await asyncio.sleep(self._interval * jitter)

    async def _round(self, instances: Sequence[Instance]) -> None:
        results = await asyncio.gather(*(self._ask(instance) for instance in instances))
        before = self._in_a_row
        self._in_a_row = {}
        for instance, good in zip(instances, results, strict=True):
            count = self._in_a_row[instance.name] = _counted(before.get(instance.name, 0), good)
            if count >= HEALTHY_AFTER or count <= -UNHEALTHY_AFTER:
                self._balancer.set_probed(instance.name, good)

    async def _ask(self, instance: Instance) -> bool:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT):
                return await self._probe(instance.name)
        except Exception:  # whatever it is, the instance is not known to be well
            return False


def _counted(count: int, good: bool) -> int:
    if good:
        return max(count, 0) + 1
    return min(count, 0) - 1
