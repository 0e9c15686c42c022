"""Checks signatures so that the event loop is never kept by them for long.

HMAC takes two microseconds and is done at once. Public keys take 20 to 400: a turn of the loop
checks as many as fit into two milliseconds, and leaves the others to the next turn, after all that
came meanwhile. Why not on threads: docs/adr/0008-signatures-in-slices.md.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ingress.identity.jws import Signed
from ingress.identity.keys import SYMMETRIC, Key

_SLICE = 0.002  # seconds of one turn


@dataclass(slots=True, eq=False)
class _Check:
    signed: Signed
    keys: Sequence[Key]
    result: asyncio.Future[Key | None]


class SignatureChecker:
    """Finds the key, out of a few, by which something is signed; first come, first served.

    What waits is bounded by the requests that do. ``monotonic`` measures seconds.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._waiting: deque[_Check] = deque()
        self._scheduled = False

    def check(self, signed: Signed, keys: Sequence[Key]) -> "asyncio.Future[Key | None]":
        """The key that has signed it, or None."""
        loop = asyncio.get_running_loop()
        result: asyncio.Future[Key | None] = loop.create_future()
        if signed.alg in SYMMETRIC or not keys:
            result.set_result(signing_key(signed, keys))
            return result
        self._waiting.append(_Check(signed, keys, result))
        if not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._work)
        return result

    def _work(self) -> None:
        """Check for a slice of time."""
        until = self._monotonic() + _SLICE
        while self._waiting:
            _finish(self._waiting.popleft())
            if self._monotonic() >= until:
                break
        self._scheduled = bool(self._waiting)
        if self._scheduled:
            asyncio.get_running_loop().call_soon(self._work)


def signing_key(signed: Signed, keys: Sequence[Key]) -> Key | None:
    """The key that has signed it, or None."""
    for key in keys:
        if key.verifies(signed.alg, signed.signing_input, signed.signature):
            return key
    return None


def _finish(check: _Check) -> None:
    if check.result.done():  # nobody waits any more
        return
    try:
        check.result.set_result(signing_key(check.signed, check.keys))
    except Exception as error:
        check.result.set_exception(error)
