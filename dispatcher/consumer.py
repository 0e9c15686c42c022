"""Takes the messages of one service: each in its turn, a bounded number at a time."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from functools import partial

from broker.contract import Broker, Delivery
from broker.messages import Envelope
from broker.problems import ProblemType
from broker.topology import request_queues
from config.models.services import Service
from config.models.tiers import Tier
from dispatcher.holding import Holding
from dispatcher.listener import DispatcherListener
from dispatcher.pipeline import Pipeline
from dispatcher.settle import (
    Answered,
    DeadLettered,
    Expired,
    GivenBack,
    Held,
    Outcome,
    RetryLater,
    Settler,
    Work,
    problem_reply,
)
from dispatcher.subscriptions import Subscriptions
from dispatcher.turns import Turns
from dispatcher.watch import TICK, Watch

logger = logging.getLogger(__name__)

DELIVERY_LIMIT = 5  # attempts that may end in a lost dispatcher before the message is to blame
# What waits is told a little before its deadline that it was not executed: ingress, which answers
# at the deadline, could not know. Two looks before, or a part of the time it had if that is less;
# but no look may miss it, nor the answer be late, unless that takes most of its time.
_LAST_MOMENT = 2 * TICK
_LAST_PART = 0.05
_LAST_LOOK = TICK + 0.02
_MOST_PART = 0.5
_CANCEL_TIMEOUT = 5.0  # seconds for the broker's word that subscriptions have ended


class ServiceConsumer:
    """The messages of one service, from their delivery until they are settled.

    As many are under way as its limit allows. ``pipeline`` may be replaced at any time; work under
    way goes on with the one it began with.
    """

    def __init__(
        self,
        service: Service,
        tiers: Mapping[str, Tier],
        pipeline: Pipeline,
        broker: Broker,
        settler: Settler,
        listener: DispatcherListener,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._service = service
        self._tiers = tiers
        self._broker = broker
        self._settler = settler
        self._listener = listener
        self._now = now
        self._turns: Turns[Work] = Turns(tiers)
        self._holding = Holding()
        self._watch = Watch(self._look_after_waiting)
        self._subscriptions = Subscriptions(broker, self._on_delivery)
        self._in_hand: dict[str, Work] = {}  # by message id: what waits and what is under way
        self._running: dict[asyncio.Task[Outcome], Work] = {}
        self._unstarted: dict[str, float] = {}  # deadlines of what a lost connection took away
        self._draining = False
        self.pipeline = pipeline

    @property
    def pipeline(self) -> Pipeline:
        """The way of the messages that are taken from now on."""
        return self._pipeline

    @pipeline.setter
    def pipeline(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        pipeline.limiter.belongs_to(self._running.__len__, self._fill)

    def fits(self, service: Service, tiers: Mapping[str, Tier]) -> bool:
        """Whether queues, turns and slots are right for this configuration too."""
        return self._service.concurrency == service.concurrency and self._tiers == tiers

    @property
    def in_flight(self) -> int:
        """How many messages are under way."""
        return len(self._running)

    @property
    def taken(self) -> int:
        """How many slots are taken: by those, and by messages of services that fall back here."""
        return len(self._running) + self.pipeline.limiter.guests

    @property
    def held(self) -> int:
        """How many wait for a breaker to close, without a slot."""
        return len(self._holding)

    @property
    def limit(self) -> int:
        """How many may be, now."""
        return self.pipeline.limiter.limit.current

    async def start(self) -> None:
        """Declare and consume the queue of every tier."""
        limits = {name: tier.queue_limit for name, tier in self._tiers.items()}
        queues = request_queues([self._service.name], limits)
        await self._broker.declare(queues)
        await self._subscriptions.start(queues, self.pipeline.limiter.limit)

    async def drain(self, timeout: float) -> None:
        """Leave with nothing lost; ``timeout`` is seconds for what is under way."""
        # 1. Free slots are not filled any more.
        self._draining = True
        # 2. The broker sends no more. What it has sent meanwhile waits with the rest.
        await self._unsubscribe()
        # 3. What waits goes back. Not before 2, or it would come here again.
        for work in (*self._holding.take_all(), *self._turns.drain()):
            self._conclude(work, GivenBack())
        # 4. What is under way is finished, answered and settled.
        if self._running:
            await asyncio.wait(self._running, timeout=timeout)
        # 5. What takes too long is broken off.
        if self._running:
            self.interrupt()
            await asyncio.wait(self._running)

    def interrupt(self) -> None:
        """Break off what is under way: what may be repeated is given back, the rest is answered."""
        for task in self._running:
            task.cancel()

    def connection_lost(self) -> None:
        """The broker has taken back what waits here, and will hand it out again."""
        now = self._now()
        known = self._unstarted.items()
        self._unstarted = {id_: deadline for id_, deadline in known if deadline > now}
        for work in (*self._holding.take_all(), *self._turns.drain()):
            self._forget(work)
            self._unstarted[work.envelope.id] = work.envelope.deadline

    async def _unsubscribe(self) -> None:
        try:
            async with asyncio.timeout(_CANCEL_TIMEOUT):
                await self._subscriptions.cancel()
        except TimeoutError:
            logger.warning("the broker did not confirm in time that consumers were cancelled")

    def _on_delivery(self, tier: str, delivery: Delivery) -> None:
        work = Work(delivery)
        if delivery.redelivered and not self._may_start(work):
            return
        self._in_hand[work.envelope.id] = work
        self._turns.add(tier, work)
        self._fill()
        if self._turns:
            self._watch.start()

    def _may_start(self, work: Work) -> bool:
        """Whether a redelivered message is known not to have been started; if not, deal with it.

        Only the dispatcher that is handed a message first executes it. So if that was this one, and
        it had not begun when its connection broke, nobody has.
        """
        envelope = work.envelope
        self._listener.redelivered(envelope)
        if known := self._in_hand.get(envelope.id):
            known.renew(work.delivery)
            return False
        if self._unstarted.pop(envelope.id, None) is not None:
            return True
        self._conclude(work, after_loss(envelope, self._now()))
        return False

    def _fill(self) -> None:
        """Start what waits, as far as there are free slots."""
        limiter = self.pipeline.limiter
        while len(self._running) + limiter.guests < limiter.limit.current and not self._draining:
            work = self._turns.take()
            if work is None:
                return
            task = asyncio.create_task(self.pipeline.handle(work))
            self._running[task] = work
            task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[Outcome]) -> None:
        work = self._running.pop(task)
        try:
            if task.cancelled():
                self._conclude(work, after_interruption(work))
            elif error := task.exception():
                self._conclude(work, after_crash(work.envelope, error))
            elif isinstance(outcome := task.result(), Held) and not self._draining:
                self._holding.add(work)
                self._watch.start()
            else:
                self._conclude(work, outcome)
        finally:
            self._release_held()
            self._fill()
            self._subscriptions.follow(self.pipeline.limiter.limit)

    def _look_after_waiting(self) -> bool:
        """Let go what a breaker does not hold any more, and answer what has no time left."""
        self._release_held()
        self._fill()
        late = partial(_in_vain, self._now())
        for work in (*self._holding.take_those(late), *self._turns.take_those(late)):
            self._conclude(work, self.pipeline.give_up(work))
        return bool(self._holding or self._turns)

    def _release_held(self) -> None:
        """Have those that a breaker does not hold any more wait for their turns again."""
        if self._holding and self.pipeline.admits:
            for work in self._holding.take_all():
                self._turns.add(work.envelope.tier, work)

    def _conclude(self, work: Work, outcome: Outcome) -> None:
        self._forget(work)
        self._settler.settle(work, outcome)

    def _forget(self, work: Work) -> None:
        """It is not in hand any more; a second copy of its request, published again, may be."""
        if self._in_hand.get(work.envelope.id) is work:
            del self._in_hand[work.envelope.id]


def _in_vain(now: float, work: Work) -> bool:
    """Whether it is time to tell one that waits that nothing comes of it."""
    envelope = work.envelope
    time_it_had = envelope.deadline - envelope.published_at
    shortest = min(_LAST_LOOK, _MOST_PART * time_it_had)
    least = min(_LAST_MOMENT, max(shortest, _LAST_PART * time_it_had))
    return envelope.deadline - now <= least


def after_loss(envelope: Envelope, now: float) -> Outcome:
    """What becomes of a message whose dispatcher was lost with it, or lost its connection."""
    if now >= envelope.deadline:
        return Expired()
    if not envelope.idempotent:
        detail = "The gateway lost track of the request while it was being handled."
        return Answered(
            problem_reply(envelope, ProblemType.OUTCOME_UNKNOWN, detail, executed="unknown")
        )
    if envelope.attempt >= DELIVERY_LIMIT:
        detail = "The gateway gave up: the request was lost again and again while being handled."
        return DeadLettered(
            f"delivery limit: lost {envelope.attempt} times",
            problem_reply(envelope, ProblemType.DELIVERY_LIMIT, detail, executed="unknown"),
        )
    return RetryLater()


def after_interruption(work: Work) -> Outcome:
    """What becomes of a message that was broken off when the dispatcher had to stop."""
    if not work.settled:
        return GivenBack()
    detail = "The gateway had to stop before the service answered."
    return Answered(
        problem_reply(work.envelope, ProblemType.OUTCOME_UNKNOWN, detail, executed="unknown")
    )


def after_crash(envelope: Envelope, error: BaseException) -> Outcome:
    """What becomes of a message at which the gateway's own code failed."""
    logger.error("handling %s failed", envelope.id, exc_info=error)
    reason = f"{type(error).__name__}: {error}"
    reply = problem_reply(
        envelope, ProblemType.INTERNAL, "The gateway failed at this request.", executed="unknown"
    )
    return DeadLettered(reason, reply)
