"""Where messages wait for a breaker."""

import asyncio

from dispatcher.holding import Holding
from dispatcher.settle import Work
from tests.unit.dispatcher.doubles import NOW, RecordingDelivery, envelope


def work(id_: str, left: float = 10) -> Work:
    message = envelope(id_, deadline=NOW + left)
    return Work(RecordingDelivery(message, redelivered=False, log=[]))


async def test_it_is_looked_after_again_and_again() -> None:
    """As long as something waits, and no longer."""
    looks = 0
    thrice = asyncio.Event()

    def look() -> None:
        nonlocal looks
        looks += 1
        if looks == 3:
            holding.take_all()
            thrice.set()

    holding = Holding(look)
    holding.add(work("a"))
    await asyncio.wait_for(thrice.wait(), 10)
    assert holding._timer is None

    holding.add(work("b"))
    assert holding._timer is not None
    holding.take_all()
    assert holding._timer is None


async def test_what_is_over_is_taken_out() -> None:
    """Those at their deadlines go, the others keep their order."""
    holding = Holding(lambda: None)
    works = [work("a", 5), work("b", 1), work("c", 6), work("d", 2)]
    for each in works:
        holding.add(each)

    assert holding.take_expired(NOW + 2) == [works[1], works[3]]
    assert len(holding) == 2
    assert holding.take_all() == [works[0], works[2]]
