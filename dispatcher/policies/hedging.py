"""Hedged calls: when an answer is late, ask another instance too, and take the first good answer.

Dean and Barroso, "The Tail at Scale" (2013).
"""

import asyncio
from asyncio import FIRST_COMPLETED, Task
from collections.abc import Callable, Coroutine
from typing import Any

from config.models.routes import Hedge
from dispatcher.attempt import Attempt
from dispatcher.call_end import Verdict

Call = Coroutine[Any, Any, Attempt | None]


async def hedged(first: Call, more: Callable[[], Call | None], hedge: Hedge) -> Attempt | None:
    """The first good attempt, else the one that failed last; None if no call was made.

    After each ``hedge.delay`` seconds without an end, ``more`` is asked for another call, at most
    ``hedge.max`` times. Calls that are left over are cancelled, and have ended on return.
    """
    running = {asyncio.create_task(first)}
    last: Attempt | None = None
    left = hedge.max
    try:
        while running:
            patience = hedge.delay if left else None
            done, running = await asyncio.wait(
                running, timeout=patience, return_when=FIRST_COMPLETED
            )
            for attempt in filter(None, [task.result() for task in done]):
                if attempt.verdict is Verdict.SUCCESS:
                    return attempt
                last = attempt
            if not done:
                left -= 1
                if (another := more()) is not None:
                    running.add(asyncio.create_task(another))
        return last
    finally:
        await _end(running)


async def _end(tasks: set[Task[Attempt | None]]) -> None:
    """Cancel, and see them end: a call that is cut off closes its connection."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.gather(*tasks, return_exceptions=True)
