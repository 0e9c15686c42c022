"""Waiting for what other processes do: by asking again, with a deadline instead of a guess."""

import asyncio
from collections.abc import Awaitable, Callable

WITHIN = 30.0  # seconds, where the fault's own figure is no smaller; a busy machine takes its time
_INTERVAL = 0.02

Check = Callable[[], bool | Awaitable[bool]]


async def eventually(check: Check, what: str, within: float = WITHIN) -> None:
    """Return when it holds. Raises AssertionError after ``within`` seconds."""
    try:
        async with asyncio.timeout(within):
            while not await _holds(check):  # noqa: ASYNC110 - what is asked is another process
                await asyncio.sleep(_INTERVAL)
    except TimeoutError:
        raise AssertionError(f"{what}: not within {within:g} s") from None


async def _holds(check: Check) -> bool:
    result = check()
    return result if isinstance(result, bool) else await result
