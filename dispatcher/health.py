"""What the fleet's probes found out about instances, as far as this dispatcher has heard."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from broker.events import Event, HealthReported

logger = logging.getLogger(__name__)

SetProbed = Callable[[str, str, bool], None]  # service, instance, healthy


class Timer(Protocol):
    """What was asked for later."""

    def cancel(self) -> None:
        """Not any more."""


Later = Callable[[float, Callable[[str], None], str], Timer]


def _by_the_loop(seconds: float, callback: Callable[[str], None], service: str) -> Timer:
    return asyncio.get_running_loop().call_later(seconds, callback, service)


@dataclass(frozen=True, slots=True)
class _Known:
    report: HealthReported
    expiry: Timer


class FleetHealth:
    """Passes on the last report on each service, and takes it back when it is out of date.

    ``set_probed`` is told of single instances; those of which nothing is known count as healthy.
    ``later`` calls back with a service's name after so many seconds.
    """

    def __init__(self, set_probed: SetProbed, later: Later = _by_the_loop) -> None:
        self._set_probed = set_probed
        self._later = later
        self._known: dict[str, _Known] = {}

    def hear(self, event: Event) -> None:
        """Take in a report, unless a later one of the same prober came before it."""
        if not isinstance(event, HealthReported):
            return
        known = self._known.get(event.service)
        if known is not None:
            if _is_older(event, known.report):
                return
            known.expiry.cancel()
            self._forget_all_but(event, known.report)
        expiry = self._later(event.valid_for, self._expire, event.service)
        self._known[event.service] = _Known(event, expiry)
        self._pass_on(event)

    def repeat(self) -> None:
        """Say all again, to instances that were not there when it was heard."""
        for known in self._known.values():
            self._pass_on(known.report)

    def close(self) -> None:
        """Wait for nothing any more."""
        while self._known:
            self._known.popitem()[1].expiry.cancel()

    def _pass_on(self, report: HealthReported) -> None:
        for instance, healthy in report.healthy.items():
            self._set_probed(report.service, instance, healthy)

    def _forget_all_but(self, report: HealthReported, before: HealthReported) -> None:
        """Instances of which nothing is said any more count as healthy."""
        for instance in before.healthy.keys() - report.healthy.keys():
            self._set_probed(report.service, instance, True)

    def _expire(self, service: str) -> None:
        report = self._known.pop(service).report
        logger.warning("%s: health checks have been silent for %g s", service, report.valid_for)
        for instance in report.healthy:
            self._set_probed(service, instance, True)


def _is_older(report: HealthReported, known: HealthReported) -> bool:
    """Only reports of one prober have an order: the next prober counts from one again."""
    return report.node == known.node and report.sequence <= known.sequence
