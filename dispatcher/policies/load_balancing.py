"""Which instance takes the next call."""

from collections.abc import Collection, Sequence
from typing import Protocol

from dispatcher.service_discovery import Instance


class LoadBalancer(Protocol):
    """Chooses among the instances of one service."""

    def pick(self, instances: Sequence[Instance], avoid: Collection[str] = ()) -> Instance | None:
        """One of them, or None if there is none; one of those named in ``avoid`` only at need."""


class RoundRobin:
    """Each in its turn."""

    def __init__(self) -> None:
        self._next = 0

    def pick(self, instances: Sequence[Instance], avoid: Collection[str] = ()) -> Instance | None:
        """The next one; the sequence may have become longer or shorter since the last call."""
        if not instances:
            return None
        index = self._next % len(instances)
        for _ in instances if avoid else ():
            if instances[index].name not in avoid:
                break
            index = (index + 1) % len(instances)
        self._next = index + 1
        return instances[index]
