"""The id of a request: the client's own if it is sane, else a new one."""

import os
import re
import time
from collections.abc import Callable

from ingress.request import HeaderLookup

_SANE = re.compile(r"[!-~]{1,128}")  # visible ASCII
_BATCH = 256  # ids for one call of the system's random source
_RANDOM_BYTES = 10
_VARIANTS = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))  # the upper bits are 10


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
        self._pool = ""  # hexadecimal digits
        self._used = 0

    def of(self, headers: HeaderLookup) -> str:
        """The id that goes with a request through all its life."""
        given = headers.get("X-Request-ID")
        if given is not None and _SANE.fullmatch(given):
            return given
        return self.new()

    def new(self) -> str:
        """A UUIDv7 in its text form."""
        start = self._used
        if start == len(self._pool):
            self._pool = self._random(_RANDOM_BYTES * _BATCH).hex()
            start = 0
        self._used = start + 2 * _RANDOM_BYTES
        fresh = self._pool[start : self._used]
        time = f"{int(self._clock() * 1000):012x}"
        variant = _VARIANTS[fresh[3]]
        return f"{time[:8]}-{time[8:]}-7{fresh[:3]}-{variant}{fresh[4:7]}-{fresh[7:19]}"
