"""What followers of the registry know of one service."""

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
    """The leases of a service, and who is told of them; times are seconds of the event loop."""

    service: str
    tried: asyncio.Event = field(default_factory=asyncio.Event)
    due: float = 0.0  # when to read again
    leases: Mapping[str, Lease] = field(default_factory=dict)  # those read last
    _epoch: str = ""
    _followers: list[OnLeases] = field(default_factory=list)

    def join(self, on_leases: OnLeases) -> None:
        """Tell one more: what is known at once, whether the registry can be read now or not."""
        self._followers.append(on_leases)
        if self._epoch:
            on_leases(self._in_order())

    def leave(self, on_leases: OnLeases) -> bool:
        """Tell one less; whether anybody is left."""
        self._followers.remove(on_leases)
        return bool(self._followers)

    def outlives(self, reading: Reading) -> bool:
        """Whether the registry has lost its data since what is known here was read."""
        return bool(self._epoch) and self._epoch != reading.epoch

    def take(self, reading: Reading, now: float) -> None:
        """Go over to what has been read just now."""
        first, before = not self._epoch, self.leases
        self._epoch, self.leases = reading.epoch, reading.leases
        end = min(reading.left.values(), default=_REGULARLY)
        self.due = now + min(max(_SOON, end), _REGULARLY)
        self.tried.set()
        if first or self.leases != before:
            for on_leases in self._followers:
                on_leases(self._in_order())

    def _in_order(self) -> list[Lease]:
        return [self.leases[url] for url in sorted(self.leases)]
