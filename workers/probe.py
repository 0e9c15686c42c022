"""One question to one instance: are you well?"""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from config.models.services import Service


class Outcome(Enum):
    """How a probe ended; the values are for metrics and logs."""

    PASSED = "passed"
    STATUS = "status"  # an answer, but not 2xx
    TIMEOUT = "timeout"
    TLS = "tls"  # no TLS: a certificate is refused, above all
    UNREACHABLE = "unreachable"  # no connection, or no HTTP on it


@dataclass(frozen=True, slots=True)
class Result:
    """How a probe ended, and in words for the log why so."""

    outcome: Outcome
    detail: str


class Target(Protocol):
    """An instance that can be asked; ``name`` is how dispatchers know it, too."""

    @property
    def name(self) -> str:
        """Its address as text: http[s]://host[:port][/base]."""

    async def probe(self, path: str, timeout: float) -> Result:
        """Ask once, within ``timeout`` seconds; never raises but for cancellation."""


# The instances of a service as they are at the moment; and how to follow those of a service.
Targets = Callable[[], Sequence[Target]]
Follow = Callable[[Service], AbstractAsyncContextManager[Targets]]
