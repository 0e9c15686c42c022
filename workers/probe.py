"""One question to one instance: are you well?"""

import asyncio
from contextlib import AsyncExitStack
from enum import Enum
from typing import Protocol, Self

import aiohttp
from yarl import URL

_HEADERS = {"User-Agent": "api-gateway-health-check", "Accept": "*/*"}


class Outcome(Enum):
    """How a probe ended; the values are for metrics and logs."""

    PASSED = "passed"
    STATUS = "status"  # an answer, but not 2xx
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"  # no connection, or no HTTP on it


class Probe(Protocol):
    """A way to ask."""

    async def __call__(self, url: str, timeout: float) -> Outcome:
        """Ask once, within ``timeout`` seconds; never raises but for cancellation."""


class HttpProbe:
    """GET, passed by any 2xx; redirects are not followed. An async context manager.

    At most ``at_once`` are under way; whoever waits for that has its whole timeout still before it.
    Each has a connection of its own, that ends with it: a kept one would show less.
    """

    def __init__(self, at_once: int = 256) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._stack = AsyncExitStack()
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        self._session = await self._stack.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, force_close=True),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(),  # none: each probe has its own
                auto_decompress=False,
                headers=_HEADERS,
            )
        )
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    async def __call__(self, url: str, timeout: float) -> Outcome:
        """Ask once."""
        async with self._free:
            try:
                async with (
                    asyncio.timeout(timeout),
                    self._session.get(URL(url, encoded=True), allow_redirects=False) as response,
                ):
                    # Its body is of no interest: closed unread.
                    return Outcome.PASSED if 200 <= response.status < 300 else Outcome.STATUS
            except TimeoutError:
                return Outcome.TIMEOUT
            except (aiohttp.ClientError, OSError, ValueError):
                return Outcome.UNREACHABLE
