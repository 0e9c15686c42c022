"""The probes of one service, round after round."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from config.models.services import HealthCheck, Service
from workers.metrics import WorkersListener
from workers.probe import Follow, Outcome, Target, Targets
from workers.verdict import Verdict

log = logging.getLogger(__name__)

FIRST_WITHIN = 1.0  # seconds that the first rounds of all services are spread over
SPREAD = 0.1  # of the interval, earlier or later: services do not fall into step


@dataclass(frozen=True, slots=True)
class Means:
    """What the rounds of all services share.

    ``follow`` knows the instances of a service for as long as it is entered; ``sleep`` waits for
    seconds; ``jitter`` gives numbers from 0 to 1.
    """

    follow: Follow
    listener: WorkersListener = field(default_factory=WorkersListener)
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    jitter: Callable[[], float] = random.random


class Rounds:
    """Asks every instance of a service at once, waits, and asks again.

    ``on_round`` is called after each round in which there was somebody to ask; ``verdicts`` are
    what is known already.
    """

    def __init__(
        self,
        service: Service,
        check: HealthCheck,
        means: Means,
        on_round: Callable[["Rounds"], None],
        verdicts: Mapping[str, Verdict],
    ) -> None:
        self.service = service
        self.check = check
        self.verdicts = verdicts
        self._means = means
        self._on_round = on_round

    @property
    def healthy(self) -> Mapping[str, bool]:
        """The verdicts that there are, by the instances' names."""
        verdicts = self.verdicts.items()
        return {name: v.healthy for name, v in verdicts if v.healthy is not None}

    async def run(self) -> None:
        """Until cancelled."""
        async with self._means.follow(self.service) as targets:
            await self._means.sleep(self._means.jitter() * min(self.check.interval, FIRST_WITHIN))
            while True:
                try:
                    await self._round(targets)
                except Exception:  # the next may be better; a service that nobody probes is worse
                    log.exception("%s: a round of probes failed", self.service.name)
                spread = 1 + SPREAD * (2 * self._means.jitter() - 1)
                await self._means.sleep(self.check.interval * spread)

    async def _round(self, targets: Targets) -> None:
        """Instances that are new begin without a verdict; what was known of the others is kept.

        Nothing is reported of none: who can't find out where they are knows no better than others.
        """
        known, present = self.verdicts, targets()
        self.verdicts = {target.name: known.get(target.name) or Verdict() for target in present}
        if present:
            await asyncio.gather(*(self._ask(target) for target in present))
            self._on_round(self)

    async def _ask(self, target: Target) -> None:
        name, verdict = target.name, self.verdicts[target.name]
        result = await target.probe(self.check.path, self.check.timeout)
        how = result.outcome.value
        self._means.listener.probed(self.service.name, how)
        first = verdict.healthy is None
        if not verdict.add(result.outcome is Outcome.PASSED, self.check):
            return
        if not verdict.healthy:
            log.warning("%s: %s is unhealthy: %s: %s", self.service.name, name, how, result.detail)
        elif not first:
            log.info("%s: %s is healthy again", self.service.name, name)
