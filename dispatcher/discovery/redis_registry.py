"""Instances that report to any node, known to all nodes that share a Redis.

One task follows the news in Redis for all services. Each exchange has a deadline, and there is one
each second, so that a Redis that is away is noticed. While it is, what is known stays.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Self, TypeVar
from uuid import uuid4

import msgspec
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from dispatcher.discovery.followed import Followed, Reading
from dispatcher.discovery.listener import DiscoveryListener
from dispatcher.discovery.registration import Lease
from dispatcher.discovery.registry import (
    MOST_INSTANCES,
    Following,
    OnLeases,
    RegistryFull,
    RegistryUnavailable,
)
from dispatcher.discovery.registry_scripts import (
    CLOCK,
    LOOK,
    NEWS,
    PATIENCE,
    READ,
    REGISTER,
    REMOVE,
    RESTORE,
    leases_key,
)

log = logging.getLogger(__name__)

_DEADLINE = 2.0  # seconds for an exchange
_LOOK_EVERY = PATIENCE / 3
_RETRY_FIRST, _RETRY_MOST = 0.25, 2.0  # seconds
_MOST_CONNECTIONS = 32
_MOST_NEWS = 1000
_NEVER = "0-0"  # the stream's position before all news

T = TypeVar("T")


class RedisRegistry:
    """See Registry. Raises ValueError for a bad ``url``.

    ``jitter`` gives numbers from 0 to 1, so that nodes do not all come back at the same time.
    """

    def __init__(
        self,
        url: str,
        listener: DiscoveryListener | None = None,
        *,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._redis: Redis = Redis.from_url(
            url,
            decode_responses=True,
            protocol=2,
            socket_timeout=None,
            socket_connect_timeout=_DEADLINE,
            retry=Retry(NoBackoff(), 0),
            max_connections=_MOST_CONNECTIONS,
        )
        scripts = map(self._redis.register_script, (LOOK, READ, REGISTER, REMOVE, RESTORE))
        self._look, self._read, self._register, self._remove, self._restore = scripts
        self._listener = listener or DiscoveryListener()
        self._jitter = jitter
        self._followed: dict[str, Followed] = {}
        self._wanted = asyncio.Event()
        self._reading = asyncio.Lock()  # an older reading must not follow a newer one
        self._epoch = ""
        self._position = _NEVER
        self._connected = False
        self._ever = asyncio.Event()
        self._told_away = False

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
        await self._redis.aclose()

    @property
    def state(self) -> str | None:
        """Of the connection to Redis; None while nothing is followed."""
        if not self._followed:
            return None
        return "connected" if self._connected else "disconnected"

    @property
    def ready(self) -> bool:
        """Whether what is followed has ever been read."""
        return self._ever.is_set() or not self._followed

    async def available(self) -> None:
        """Wait until it has."""
        if self._followed:
            await self._ever.wait()

    async def register(self, service: str, lease: Lease) -> bool:
        """Keep an instance; see Registry."""
        text = msgspec.json.encode(lease).decode()
        ttl = round(lease.ttl * 1000)
        kept = await self._run_script(
            self._register, service, service, lease.url, ttl, text, MOST_INSTANCES
        )
        if kept < 0:
            raise RegistryFull
        await self._read_again([service])
        return bool(kept)

    async def remove(self, service: str, url: str) -> bool:
        """Let an instance go; see Registry."""
        removed = await self._run_script(self._remove, service, service, url)
        await self._read_again([service])
        return bool(removed)

    async def registered(self, service: str) -> Sequence[Lease]:
        """Those that are kept; see Registry."""
        leases = (await self._reading_of(service)).leases
        return [leases[url] for url in sorted(leases)]

    def follow(self, service: str, on_leases: OnLeases) -> Following:
        """Tell all leases; see Registry."""
        followed = self._followed.setdefault(service, Followed(service))
        followed.join(on_leases)
        self._wanted.set()
        return Following(followed.tried, partial(self._leave, followed, on_leases))

    def _leave(self, followed: Followed, on_leases: OnLeases) -> None:
        if not followed.leave(on_leases):
            del self._followed[followed.service]

    # --- the task -------------------------------------------------------------------------------

    async def _run(self) -> None:
        pause = _RETRY_FIRST
        while True:
            await self._wanted.wait()
            try:
                await self._read_all()
                self._found()
                pause = _RETRY_FIRST
                while self._followed:
                    await self._hear()
                self._wanted.clear()
                continue
            except RegistryUnavailable as error:
                self._lost(str(error))
            except Exception:
                log.exception("following the registry failed in an unforeseen way")
                self._lost("a fault of the gateway's own")
            await asyncio.sleep(pause * (1 + self._jitter()) / 2)
            pause = min(_RETRY_MOST, 2 * pause)

    async def _read_all(self) -> None:
        """Note where the news end, then read: what comes between the two is read twice."""
        epoch, self._position = await self._look_at(self._position)
        if self._epoch not in ("", epoch):
            log.warning("the registry has lost its data: the instances known here are put back")
        self._epoch = epoch
        await self._read_services(list(self._followed))

    async def _hear(self) -> None:
        """Wait for news, or for something to be due, but not long; then read what that is."""
        now, heard = asyncio.get_running_loop().time(), self._position
        due = min(followed.due for followed in self._followed.values())
        wait = min(_LOOK_EVERY, max(0.01, due - now))
        news: Any = self._redis.xread({NEWS: self._position}, _MOST_NEWS, round(wait * 1000))
        answer = await self._within(wait + _DEADLINE, news)
        services = self._take_news(answer[0][1]) if answer else set()
        epoch, _ = await self._look_at(heard)
        if epoch != self._epoch:
            await self._read_all()
            return
        now = asyncio.get_running_loop().time()
        services |= {name for name, followed in self._followed.items() if followed.due <= now}
        await self._read_services(services)

    async def _look_at(self, position: str) -> tuple[str, str]:
        """The epoch, another one if what was heard up to there is lost; and where the news end."""
        epoch, last = await self._run_script(self._look, "", self._epoch, position)
        return epoch, last

    def _take_news(self, entries: Iterable[tuple[str, dict[str, str]]]) -> set[str]:
        """The services that they are of."""
        services = set()
        for position, entry in entries:
            self._position = position
            service = entry.get("service", "")
            if service in self._followed:
                self._listener.pushed(service)
                services.add(service)
        return services

    def _found(self) -> None:
        self._connected = True
        self._ever.set()
        if self._told_away:
            self._told_away = False
            log.warning("the registry is back")

    def _lost(self, reason: str) -> None:
        self._connected = False
        for followed in self._followed.values():
            followed.tried.set()
        if not self._told_away:
            self._told_away = True
            log.warning("the registry is away, known instances stay: %s", reason)

    # --- readings -------------------------------------------------------------------------------

    async def _read_again(self, services: Iterable[str]) -> None:
        """What this node has changed, it knows before it says so; others are told by the news."""
        with suppress(RegistryUnavailable):  # the change was made, and the task will find out
            await self._read_services(services)

    async def _read_services(self, services: Iterable[str]) -> None:
        for service in services:
            async with self._reading:
                followed = self._followed.get(service)
                if followed is not None:
                    reading = await self._reading_of(service)
                    if followed.outlives(reading):
                        reading = await self._put_back(followed)
                    followed.take(reading, asyncio.get_running_loop().time())

    async def _put_back(self, followed: Followed) -> Reading:
        """Let everybody know what was lost: whoever starts now has nothing to remember."""
        lost: list[str | float] = []
        for url, lease in followed.leases.items():
            lost += [url, round(lease.ttl * 1000), msgspec.json.encode(lease).decode()]
        service = followed.service
        return _reading(service, await self._run_script(self._restore, service, service, *lost))

    async def _reading_of(self, service: str) -> Reading:
        return _reading(service, await self._run_script(self._read, service))

    async def _run_script(
        self, script: Callable[..., Any], service: str, *arguments: str | float
    ) -> Any:
        keys = [CLOCK, NEWS, leases_key(service)]
        return await self._within(_DEADLINE, script(keys, [uuid4().hex, *arguments]))

    async def _within(self, seconds: float, answer: Awaitable[T]) -> T:
        """The answer. Raises RegistryUnavailable."""
        try:
            async with asyncio.timeout(seconds):
                return await answer
        except TimeoutError as error:
            raise RegistryUnavailable("no answer in time") from error
        except (RedisError, OSError) as error:
            raise RegistryUnavailable(str(error)) from error


def _reading(service: str, answer: tuple[str, Sequence[tuple[str, int, str]]]) -> Reading:
    """From what READ returns."""
    epoch, entries = answer
    leases, left = {}, {}
    for url, milliseconds, text in entries:
        try:
            leases[url] = msgspec.json.decode(text, type=Lease)
        except msgspec.DecodeError:
            log.warning("an entry of %s in the registry can't be read", service)
        else:
            left[url] = milliseconds / 1000
    return Reading(epoch, leases, left)
