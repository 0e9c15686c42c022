"""What a follower of the registry knows of one service, and how long it may rely on that."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from dispatcher.discovery.registration import Lease
from dispatcher.discovery.registry import OnLeases

_REGULARLY = 30.0  # seconds; heals what a push may have missed
_SOON = 0.05


@dataclass(frozen=True, slots=True)
class Reading:
    """Leases as they are kept at one moment, with the seconds that each has left."""

    epoch: str
    leases: Mapping[str, Lease]
    left: Mapping[str, float]


@dataclass(eq=False, slots=True)
class Followed:
    """The leases of a service; times are seconds of the event loop.

    When the registry has lost its data, those known before are relied on for one more TTL, in which
    their heartbeats must bring them back.
    """

    service: str
    on_leases: OnLeases
    tried: asyncio.Event = field(default_factory=asyncio.Event)
    due: float = 0.0  # when to read again
    _epoch: str = ""
    _leases: dict[str, Lease] = field(default_factory=dict)
    _missed: dict[str, float] = field(default_factory=dict)  # until when to rely on them

    def take(self, reading: Reading, now: float) -> None:
        """Go over to what has been read just now."""
        if self._epoch and self._epoch != reading.epoch:
            self._missed |= {url: now + lease.ttl for url, lease in self._leases.items()}
        self._epoch = reading.epoch
        self._missed = {
            url: until
            for url, until in self._missed.items()
            if url not in reading.leases and until > now
        }
        ends = [*reading.left.values(), *(until - now for until in self._missed.values())]
        self.due = now + max(_SOON, min(ends, default=_REGULARLY), 0.0)
        self.due = min(self.due, now + _REGULARLY)
        self._tell({**{url: self._leases[url] for url in self._missed}, **reading.leases})

    def removed(self, url: str) -> None:
        """Somebody has let an instance go: it is not missed."""
        self._missed.pop(url, None)

    def _tell(self, leases: dict[str, Lease]) -> None:
        first, self._leases, before = not self.tried.is_set(), leases, self._leases
        self.tried.set()
        if first or leases != before:
            self.on_leases([leases[url] for url in sorted(leases)])
