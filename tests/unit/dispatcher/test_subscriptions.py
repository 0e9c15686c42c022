"""How many messages of each tier are at hand."""

import asyncio
from collections.abc import Sequence

import pytest

from broker.contract import Delivery
from broker.topology import RequestQueue, request_queues
from dispatcher.policies.concurrency import FixedLimit
from dispatcher.subscriptions import Subscriptions, prefetch_for
from tests.unit.dispatcher.doubles import RecordingBroker, Subscription, envelope, settled

KEYS = ("users.FREE", "users.PRO")


class Settable(FixedLimit):
    """A limit that the test moves, up to 64."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.upper = 64


class Bench:
    """Subscriptions to the queues of two tiers."""

    def __init__(self) -> None:
        self.broker = RecordingBroker()
        self.delivered: list[tuple[str, str]] = []
        self.subscriptions = Subscriptions(self.broker, self._take)

    def _take(self, tier: str, delivery: Delivery) -> None:
        self.delivered.append((tier, delivery.envelope.id))

    async def start(self, limit: Settable) -> None:
        queues: Sequence[RequestQueue] = request_queues(["users"], {"FREE": 10, "PRO": 10})
        await self.broker.declare(queues)
        await self.subscriptions.start(queues, limit)

    def current(self) -> list[Subscription]:
        """The consumer of each queue that was added last."""
        return [self.broker.subscriptions[key] for key in KEYS]

    async def follow(self, limit: Settable, settled_at: int) -> list[int]:
        """What is prefetched when the limit has come to this."""
        limit.settled = settled_at
        self.subscriptions.follow(limit)
        await settled()
        return [one.prefetch for one in self.current()]


@pytest.mark.parametrize(("limit", "prefetch"), [(1, 2), (2, 3), (8, 10), (64, 80)])
def test_prefetch_is_more_than_the_limit(limit: int, prefetch: int) -> None:
    """Every slot can be filled with unsettled messages, and a few more wait at hand."""
    assert prefetch_for(limit) == prefetch


async def test_more_is_taken_for_a_limit_that_has_outgrown_it() -> None:
    """There is always enough for the limit; at most for its upper bound."""
    bench, limit = Bench(), Settable(8)
    await bench.start(limit)
    assert [one.prefetch for one in bench.current()] == [prefetch_for(16)] * 2

    assert await bench.follow(limit, 16) == [prefetch_for(16)] * 2
    assert await bench.follow(limit, 17) == [prefetch_for(34)] * 2
    assert await bench.follow(limit, 60) == [prefetch_for(64)] * 2


async def test_less_is_taken_for_a_limit_that_has_fallen() -> None:
    """What could be called only after four others is left to idle dispatchers."""
    bench, limit = Bench(), Settable(64)
    await bench.start(limit)

    assert await bench.follow(limit, 17) == [prefetch_for(64)] * 2
    assert await bench.follow(limit, 16) == [prefetch_for(32)] * 2
    assert await bench.follow(limit, 9) == [prefetch_for(32)] * 2
    assert await bench.follow(limit, 1) == [prefetch_for(2)] * 2


async def test_a_new_consumer_takes_over() -> None:
    """The old one is cancelled; messages come by the new one, with their tier."""
    bench, limit = Bench(), Settable(64)
    await bench.start(limit)
    before = bench.current()
    await bench.follow(limit, 4)

    assert [one.cancelled for one in before] == [True, True]
    assert [one.cancelled for one in bench.current()] == [False, False]
    bench.broker.deliver(envelope("m", tier="PRO"))
    assert bench.delivered == [("PRO", "m")]


async def test_cancelling_leaves_none() -> None:
    """Also in the middle of a change, which begins nothing more."""
    bench, limit = Bench(), Settable(64)
    await bench.start(limit)
    before = bench.current()
    before[0].cancelling = asyncio.Event()
    await bench.follow(limit, 4)
    cancel = asyncio.create_task(bench.subscriptions.cancel())
    await settled()
    assert not cancel.done()
    before[0].cancelling.set()
    await cancel

    assert all(one.cancelled for one in (*before, *bench.current()))
    assert await bench.follow(limit, 64) == [prefetch_for(8), prefetch_for(64)]
