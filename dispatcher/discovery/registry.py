"""Where instances report: what a registry does, wherever it keeps what it knows."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from dispatcher.discovery.registration import Lease

MOST_INSTANCES = 1000  # of a service

OnLeases = Callable[[Sequence[Lease]], None]


@dataclass(frozen=True, slots=True)
class Following:
    """``tried`` is set when leases were told for the first time, or could not be read.

    ``leave`` ends it.
    """

    tried: asyncio.Event
    leave: Callable[[], None]


class RegistryUnavailable(Exception):
    """What is kept can't be read or changed at the moment."""


class RegistryFull(Exception):
    """The service has as many instances as it may have."""


class Registry(Protocol):
    """Instances of all services; an async context manager."""

    @property
    def state(self) -> str | None:
        """Of what it keeps things in, in a word; None where that can't be away."""

    @property
    def ready(self) -> bool:
        """Whether what is followed has ever been read."""

    async def available(self) -> None:
        """Wait until it has."""

    async def __aenter__(self) -> Self:
        """Start."""

    async def __aexit__(self, *exc_info: object) -> None:
        """Stop; nobody is told anything any more."""

    async def register(self, service: str, lease: Lease) -> bool:
        """Keep an instance for as long as its TTL, in place of what it had said before.

        Returns whether it is a new one. Raises RegistryUnavailable, or RegistryFull.
        """

    async def remove(self, service: str, url: str) -> bool:
        """Let an instance go; whether there was one. Raises RegistryUnavailable."""

    async def registered(self, service: str) -> Sequence[Lease]:
        """Those that are kept, in the order of their URLs. Raises RegistryUnavailable."""

    def follow(self, service: str, on_leases: OnLeases) -> Following:
        """Tell all leases of a service, soon and after each change."""
