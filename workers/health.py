"""Active health checks: made once for the whole fleet, by whichever workers process leads.

Each round's result goes out as an event that tells all of one service, and so it does when somebody
asks who came late.
"""

import asyncio
import itertools
from collections.abc import Mapping
from typing import Self

from broker.contract import Broker
from broker.events import Event, HealthReported, StateWanted
from config.models.services import HealthCheck, Service
from config.snapshot import Snapshot
from workers.rounds import Means, Rounds
from workers.verdict import Verdict

TASK = "health"
ANSWER_AFTER = 0.1  # seconds: all who ask meanwhile get one answer
VALID_ROUNDS = 3
LEAST_VALID = 60.0  # seconds: longer than it takes another to lead


def valid_for(check: HealthCheck) -> float:
    """Seconds that a report is to be believed: some rounds, and the time for a change of leader."""
    return max(VALID_ROUNDS * check.interval, LEAST_VALID)


class HealthProber:
    """Probes while it leads; an async context manager, entered in the broker.

    ``node`` is a name that no other process has, nor this one had before.
    """

    def __init__(self, broker: Broker, snapshot: Snapshot, means: Means, node: str) -> None:
        self.leading = False
        self._broker = broker
        self._snapshot = snapshot
        self._means = means
        self._node = node
        self._tasks: dict[Rounds, asyncio.Task[None]] = {}
        self._sequence = itertools.count(1)
        self._answer: asyncio.TimerHandle | None = None
        self._stopped = False

    async def __aenter__(self) -> Self:
        await self._broker.subscribe([StateWanted], self._on_wanted)
        await self._broker.lead(TASK, self._on_leading)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    @property
    def healthy(self) -> Mapping[str, Mapping[str, bool]]:
        """By service and instance, what is known; nothing where another leads."""
        return {rounds.service.name: rounds.healthy for rounds in self._tasks}

    def use(self, snapshot: Snapshot) -> None:
        """Probe the services of another configuration; what is known of instances stays."""
        self._snapshot = snapshot
        if self.leading:
            self._arrange()

    async def stop(self) -> None:
        """Probe no more."""
        self._stopped = True
        tasks = list(self._tasks.values())
        self._lead_no_more()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _on_leading(self, leading: bool) -> None:
        if not leading:
            self._lead_no_more()
        elif not self._stopped:
            self.leading = True
            self._arrange()

    def _lead_no_more(self) -> None:
        self.leading = False
        for rounds in list(self._tasks):
            self._end(rounds)
        if self._answer is not None:
            self._answer.cancel()
            self._answer = None

    def _arrange(self) -> None:
        """Rounds for every service that has a check; those of services that changed begin anew."""
        known = {rounds.service.name: rounds for rounds in self._tasks}
        for name, service in self._snapshot.services.items():
            rounds = known.get(name)
            if rounds is not None and rounds.service == service:
                del known[name]
            elif service.health_check is not None:
                self._begin(service, service.health_check, rounds.verdicts if rounds else {})
        for changed_or_gone in known.values():
            self._end(changed_or_gone)

    def _begin(self, service: Service, check: HealthCheck, verdicts: Mapping[str, Verdict]) -> None:
        rounds = Rounds(service, check, self._means, self._report, verdicts)
        self._tasks[rounds] = asyncio.create_task(rounds.run())

    def _end(self, rounds: Rounds) -> None:
        self._tasks.pop(rounds).cancel()

    # --- news -----------------------------------------------------------------------------------

    def _report(self, rounds: Rounds) -> None:
        self._broker.publish_event(
            HealthReported(
                service=rounds.service.name,
                node=self._node,
                sequence=next(self._sequence),
                valid_for=valid_for(rounds.check),
                healthy=dict(rounds.healthy),
            )
        )

    def _on_wanted(self, event: Event) -> None:
        wanted = isinstance(event, StateWanted) and event.kind == "health"
        if wanted and self.leading and self._answer is None:
            loop = asyncio.get_running_loop()
            self._answer = loop.call_later(ANSWER_AFTER, self._report_all)

    def _report_all(self) -> None:
        self._answer = None
        for rounds in self._tasks:
            if rounds.healthy:
                self._report(rounds)
