"""Looking after what waits."""

import asyncio

from dispatcher.watch import Watch


async def test_it_looks_again_and_again() -> None:
    """As long as something waits, and no longer; then it can be started anew."""
    waiting = iter([True, True, False, False])
    ended: list[asyncio.Event] = [asyncio.Event(), asyncio.Event()]
    looks = 0

    def look() -> bool:
        nonlocal looks
        looks += 1
        waits = next(waiting)
        if not waits:
            ended[looks - 3].set()
        return waits

    watch = Watch(look)
    watch.start()
    watch.start()
    await asyncio.wait_for(ended[0].wait(), 10)
    assert looks == 3

    watch.start()
    await asyncio.wait_for(ended[1].wait(), 10)
    assert looks == 4
