"""The id of a request: the client's own if it is sane, else a new one."""

import os
import re
import time
from collections.abc import Callable

from ingress.request import HeaderLookup

_SANE = re.compile(r"[!-~]{1,128}")  # visible ASCII
_BATCH = 256  # ids for one call of the system's random source
_RANDOM_BYTES = 10


class RequestIds:
    """Gives every request its id.

    New ones are UUIDv7 (RFC 9562 section 5.7): Unix milliseconds, then 74 random bits, so that they
    sort by time. ``clock`` gives Unix seconds, ``random`` that many random bytes.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._clock = clock
        self._random = random
        self._pool = b""

    def of(self, headers: HeaderLookup) -> str:
        """The id that goes with a request through all its life."""
        given = headers.get("X-Request-ID")
        if given is not None and _SANE.fullmatch(given):
            return given
        return self.new()

    def new(self) -> str:
        """A UUIDv7 in its text form."""
        if not self._pool:
            self._pool = self._random(_RANDOM_BYTES * _BATCH)
        fresh = int.from_bytes(self._pool[-_RANDOM_BYTES:], "big")
        self._pool = self._pool[:-_RANDOM_BYTES]
        milliseconds = int(self._clock() * 1000)
        value = milliseconds << 80 | fresh
        value = value & ~(0xF << 76) | 7 << 76  # version
        value = value & ~(0x3 << 62) | 2 << 62  # variant
        text = f"{value:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
