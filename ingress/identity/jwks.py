"""Public keys from a URL (a JWK Set, RFC 7517), kept fresh in the background.

One task does all fetching, so there is never more than one fetch under way. It fetches at the
start, then every few minutes, when the operator asks, and when a request names a key that is not
known. Once there are keys, requests never make two fetches closer than the cooldown. While the
endpoint is away, or sends nothing that can be used, the last good keys serve.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from ingress.identity.fetching import FetchFailed
from ingress.identity.keys import BadKeySet, KeySet, read_key_set
from ingress.metrics import IngressListener

log = logging.getLogger(__name__)

Fetch = Callable[[str], Awaitable[bytes]]

_MOST_MISSING = 1024


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds between fetches: regular ones, those after a failure, those that requests cause.

    ``retry_first`` counts while there are no keys. ``negative`` is for how long a name that no key
    has is known to be one, ``patience`` how long a request waits for a fetch. ``farewell`` is for
    how long the keys of a former URL may serve while the one that took its place gives none.
    """

    refresh: float = 300.0
    retry_first: float = 1.0
    retry_most: float = 30.0
    cooldown: float = 10.0
    negative: float = 60.0
    patience: float = 2.0
    farewell: float = 300.0


class Fetched(NamedTuple):
    """The last good answer, where it came from, and until when it counts (monotonic seconds)."""

    url: str
    document: bytes
    until: float = inf


class RemoteKeys:
    """The keys at a URL. ``start`` and ``stop`` its task; ``keys`` is None until it has some.

    ``last_good`` is what they were read from. ``on_withdrawn`` is called when a key is gone from
    the set: what was verified with it no longer counts. ``monotonic`` is in seconds, ``jitter``
    gives numbers from 0 to 1.
    """

    def __init__(
        self,
        url: str,
        allowed: Collection[str],
        *,
        fetch: Fetch,
        timing: Timing,
        listener: IngressListener,
        monotonic: Callable[[], float],
        jitter: Callable[[], float],
    ) -> None:
        self.keys: KeySet | None = None
        self.last_good: Fetched | None = None
        self.on_withdrawn: Callable[[], None] = lambda: None
        self.available = asyncio.Event()
        self._url = url
        self._allowed = allowed
        self._fetch = fetch
        self._timing = timing
        self._listener = listener
        self._monotonic = monotonic
        self._jitter = jitter
        self._task: asyncio.Task[None] | None = None
        self._fetching = False
        self._failures = 0
        self._failing = ""  # why, as it was found last
        self._cool_until = float("-inf")
        self._wanted = asyncio.Event()
        self._fetched = asyncio.Event()
        self._missing: OrderedDict[str, float] = OrderedDict()

    @property
    def state(self) -> str:
        """What there is, and why it is not renewed, in few words."""
        found = "fetched"
        if self.keys is None:
            found = "missing"
        elif self._is_another_url:
            found = "of the former URL"
        elif self._failing:
            found = "last good"
        return f"{found}, failing: {self._failing}" if self._failing else found

    def inherit(self, fetched: Fetched) -> None:
        """Begin with what another had fetched: from this URL it stays, from another for a while.

        A former URL may have been taken away because its keys are not to be trusted, so its time
        is not counted anew when that happens again.
        """
        until = inf
        if fetched.url != self._url:
            until = min(fetched.until, self._monotonic() + self._timing.farewell)
        self.last_good = fetched._replace(until=until)
        with suppress(BadKeySet):  # there may be none for the algorithms that are allowed now
            self.keys = read_key_set(fetched.document, self._allowed)
            self.available.set()

    def refresh(self) -> None:
        """Fetch now; if a fetch is under way once more after it, as it may have been too early."""
        self._wanted.set()

    def start(self) -> None:
        """Fetch, from now on."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    def stop(self) -> None:
        """Fetch no more; the keys that are there stay."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._wake()
        self.available.set()

    async def seek(self, kid: str | None) -> None:
        """Wait for a fetch that may bring the key, if one is under way, or due.

        Returns at once where the key is there, or known to be missing, or the cooldown runs.
        """
        if self._task is None or self._has(kid) or self._is_missing(kid):
            return
        if not self._fetching:
            if self._monotonic() < self._cool_until:
                return
            self._wanted.set()
        try:
            await asyncio.wait_for(self._fetched.wait(), self._timing.patience)
        except TimeoutError:
            return
        if kid is not None and not self._failures and not self._has(kid):
            self._miss(kid)

    def _has(self, kid: str | None) -> bool:
        """A token that names no key waits only for the very first ones of this URL."""
        if self.keys is None or (self._is_another_url and not self._failures):
            return False
        return kid is None or self.keys.names(kid)

    @property
    def _is_another_url(self) -> bool:
        return self.last_good is not None and self.last_good.url != self._url

    def _is_missing(self, kid: str | None) -> bool:
        return kid is not None and self._missing.get(kid, float("-inf")) > self._monotonic()

    def _miss(self, kid: str) -> None:
        self._missing[kid] = self._monotonic() + self._timing.negative
        self._missing.move_to_end(kid)
        if len(self._missing) > _MOST_MISSING:
            self._missing.popitem(last=False)

    # --- the task -------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            self._wanted.clear()
            self._fetching = True
            self._cool_until = self._monotonic() + self._timing.cooldown
            try:
                await self._refresh()
            finally:
                self._fetching = False
                self._wake()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), self._pause())

    def _wake(self) -> None:
        """Tell all who wait for this fetch; others wait for the next."""
        fetched, self._fetched = self._fetched, asyncio.Event()
        fetched.set()

    def _pause(self) -> float:
        """Up to a fifth longer by chance, so that nodes do not fetch at the same time."""
        timing = self._timing
        pause = timing.refresh
        if self._failures:
            first = timing.retry_first if self.keys is None else timing.cooldown
            pause = min(timing.retry_most, first * 2 ** min(self._failures - 1, 10))
        return pause * (1 + self._jitter() / 5)

    async def _refresh(self) -> None:
        try:
            document = await self._fetch(self._url)
            keys = read_key_set(document, self._allowed)
        except (FetchFailed, BadKeySet) as error:
            self._failed(str(error))
        except Exception:
            log.exception("fetching keys failed in an unforeseen way")
            self._failed("a fault of the gateway's own")
        else:
            self.last_good = Fetched(self._url, document)
            self._use(keys)

    def _failed(self, reason: str) -> None:
        self._listener.keys_fetched(False)
        self._failures += 1
        ended = self._take_leave()
        if ended or reason != self._failing:
            self._failing = reason
            log.warning("auth.jwks_url gave no keys, trying on; %s: %s", self._kept(), reason)

    def _take_leave(self) -> bool:
        """Whether the time of a former URL's keys is over, and so they have gone."""
        if self.last_good is None or self._monotonic() < self.last_good.until:
            return False
        self.last_good = self.keys = None
        self.available.clear()
        self.on_withdrawn()
        return True

    def _kept(self) -> str:
        if self.keys is None:
            return "there are none"
        if self._is_another_url:
            return "those of the former URL serve for some minutes"
        return "the last good ones serve"

    def _use(self, keys: KeySet) -> None:
        self._listener.keys_fetched(True)
        if self._failures:
            log.info("auth.jwks_url gives keys again")
        self._failures, self._failing = 0, ""
        before, self.keys = self.keys, keys
        self.available.set()
        if before is not None and any(key not in keys.keys for key in before.keys):
            self.on_withdrawn()
