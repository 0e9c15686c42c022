"""Asks dispatchers, and sees to it that every request gets exactly one answer within its deadline.

Publish, await, match by correlation id. When the connection to the broker is lost, requests that
may be repeated are published again as soon as it stands, within their deadlines; the others are
answered at once, as nobody can tell what became of them.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Self

import msgspec

from broker.contract import Broker, ConnectionState, Published
from broker.deadlines import Deadlines
from broker.messages import Envelope, Executed, Problem, Reply
from broker.problems import ProblemType
from broker.topology import reply_queue

MAX_WAITING = 20_000
RESEND_BATCH = 200  # requests published again at a time, so that the loop keeps turning
RESEND_INTERVAL = 0.01  # seconds between batches
BROKER_RETRY_AFTER = 2  # seconds; about as long as the carrier waits between attempts to connect
QUEUE_RETRY_AFTER = 1

_REFUSALS: dict[Published, tuple[ProblemType, str, int | None]] = {
    Published.QUEUE_FULL: (
        ProblemType.QUEUE_FULL,
        "The queue of the service is full.",
        QUEUE_RETRY_AFTER,
    ),
    Published.UNROUTABLE: (
        ProblemType.BROKER_UNAVAILABLE,
        "The service has no queue at the message broker.",
        BROKER_RETRY_AFTER,
    ),
    Published.TOO_LARGE: (
        ProblemType.BODY_TOO_LARGE,
        "The request is larger than what the message broker takes.",
        None,
    ),
    Published.UNAVAILABLE: (
        ProblemType.BROKER_UNAVAILABLE,
        "The message broker does not take requests now.",
        BROKER_RETRY_AFTER,
    ),
    Published.LOST: (
        ProblemType.BROKER_UNAVAILABLE,
        "The connection to the message broker was lost.",
        BROKER_RETRY_AFTER,
    ),
}

# There the broker would say the same of a further copy.
_FINAL = (Published.QUEUE_FULL, Published.TOO_LARGE)


class ExchangeListener:
    """Hears what happens between publishing and answering; metrics override what they count."""

    def opened(self, pending: Callable[[], int]) -> None:
        """An exchange takes requests from now on; ``pending`` counts those that wait."""

    def not_accepted(self, result: Published) -> None:
        """The broker did not take a request, or nobody knows whether it did."""

    def published_again(self) -> None:
        """A request was sent once more, as its first copy may be lost."""

    def reply_unmatched(self) -> None:
        """A reply came for a request that nobody waits for any more; it was dropped."""


@dataclass(slots=True, eq=False)
class _Waiting:
    """One request on its way; ``resent`` if an earlier copy of it may be under way too."""

    envelope: Envelope
    answer: asyncio.Future[Reply]
    resent: bool = False

    def expire(self) -> None:
        detail = "No answer came before the deadline."
        self.refuse(ProblemType.DEADLINE_EXCEEDED, detail, "unknown")

    def refuse(
        self, kind: ProblemType, detail: str, executed: Executed, retry_after: int | None = None
    ) -> None:
        if not self.answer.done():
            self.answer.set_result(_problem(self.envelope, kind, detail, executed, retry_after))


class Exchange:
    """One ingress node's requests under way, at most ``max_waiting`` of them.

    An async context manager: entering subscribes to the replies of ``node``; leaving answers all
    that still wait with 503. ``clock`` gives Unix seconds, as in the deadlines.
    """

    def __init__(
        self,
        broker: Broker,
        node: str,
        *,
        listener: ExchangeListener | None = None,
        max_waiting: int = MAX_WAITING,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.reply_to = reply_queue(node)
        self._broker = broker
        self._node = node
        self._listener = listener or ExchangeListener()
        self._max_waiting = max_waiting
        self._clock = clock
        self._closed = False
        self._waiting: dict[str, _Waiting] = {}
        self._stranded: dict[str, _Waiting] = {}  # to be published again
        self._resending: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        self._deadlines = Deadlines[_Waiting](asyncio.get_running_loop())
        self._listener.opened(self._waiting.__len__)
        self._broker.watch(self._on_state)
        await self._broker.receive_replies(self._node, self._on_reply)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._closed = True
        self._deadlines.close()
        if self._resending is not None:
            self._resending.cancel()
        for waiting in self._waiting.values():
            waiting.refuse(ProblemType.SHUTTING_DOWN, "This node is stopping.", "unknown", 1)

    @property
    def pending(self) -> int:
        """How many requests wait for their answers."""
        return len(self._waiting)

    async def ask(self, envelope: Envelope) -> Reply:
        """The one reply to a request: a dispatcher's, or a problem of this side.

        The envelope's ``id`` must be one that nobody else uses. Cancelling forgets the request.
        """
        refusal = self._refusal(envelope)
        if refusal is not None:
            return refusal
        waiting = _Waiting(envelope, asyncio.get_running_loop().create_future())
        self._waiting[envelope.id] = waiting
        tick = self._deadlines.add(waiting, envelope.deadline - self._clock())
        try:
            self._broker.publish(envelope, partial(self._on_published, waiting))
            return await waiting.answer
        finally:
            self._deadlines.discard(waiting, tick)
            del self._waiting[envelope.id]
            if self._stranded:
                self._stranded.pop(envelope.id, None)

    # --- answers of this side ---------------------------------------------------------------------

    def _refusal(self, envelope: Envelope) -> Reply | None:
        """Why a request can't even be sent, if it can't."""
        if self._closed:
            return _problem(envelope, ProblemType.SHUTTING_DOWN, "This node is stopping.", "no", 1)
        if envelope.deadline <= self._clock():
            detail = "The deadline passed before the request could be sent."
            return _problem(envelope, ProblemType.DEADLINE_EXCEEDED, detail, "no")
        if self._broker.state is not ConnectionState.CONNECTED:
            kind, detail, retry_after = _REFUSALS[Published.UNAVAILABLE]
            return _problem(envelope, kind, detail, "no", retry_after)
        if len(self._waiting) >= self._max_waiting:
            detail = "Too many requests wait for their answers."
            return _problem(envelope, ProblemType.QUEUE_FULL, detail, "no", QUEUE_RETRY_AFTER)
        return None

    # --- news from the broker ---------------------------------------------------------------------

    def _on_reply(self, reply: Reply) -> None:
        waiting = self._waiting.get(reply.id)
        if waiting is None or waiting.answer.done():
            self._listener.reply_unmatched()
        elif waiting.resent:
            waiting.answer.set_result(_of_one_copy(reply))
        else:
            waiting.answer.set_result(reply)

    def _on_published(self, waiting: _Waiting, result: Published) -> None:
        if result is Published.ACCEPTED:
            return
        self._listener.not_accepted(result)
        if waiting.answer.done():
            return
        maybe_sent = waiting.resent or result is Published.LOST
        blocked = self._broker.state is ConnectionState.BLOCKED  # who knows for how long
        again = waiting.envelope.idempotent and maybe_sent and not blocked
        if again and result not in _FINAL:
            self._strand(waiting)
        else:
            kind, detail, retry_after = _REFUSALS[result]
            waiting.refuse(kind, detail, "unknown" if maybe_sent else "no", retry_after)

    def _on_state(self, state: ConnectionState) -> None:
        if state is ConnectionState.DISCONNECTED:
            kind, detail, retry_after = _REFUSALS[Published.LOST]
            for waiting in self._waiting.values():
                if waiting.envelope.idempotent:
                    self._strand(waiting)
                else:
                    waiting.refuse(kind, detail, "unknown", retry_after)
        elif state is ConnectionState.CONNECTED:
            self._resend_soon()

    # --- once more --------------------------------------------------------------------------------

    def _strand(self, waiting: _Waiting) -> None:
        self._stranded[waiting.envelope.id] = waiting
        self._resend_soon()

    def _resend_soon(self) -> None:
        if self._stranded and self._resending is None and not self._closed:
            loop = asyncio.get_running_loop()
            self._resending = loop.call_later(RESEND_INTERVAL, self._resend)

    def _resend(self) -> None:
        """Publish a batch again; while the broker takes none, wait for its next state."""
        self._resending = None
        if self._broker.state is not ConnectionState.CONNECTED:
            return
        for request_id in list(islice(self._stranded, RESEND_BATCH)):
            waiting = self._stranded.pop(request_id)
            if not waiting.answer.done():
                waiting.resent = True
                self._listener.published_again()
                self._broker.publish(waiting.envelope, partial(self._on_published, waiting))
        self._resend_soon()


def _of_one_copy(reply: Reply) -> Reply:
    """Of a request that was published twice: what was not done with one copy, the other may be."""
    problem = reply.problem
    if problem is None or problem.executed != "no":
        return reply
    unknown = msgspec.structs.replace(problem, executed="unknown")
    return msgspec.structs.replace(reply, problem=unknown)


def _problem(
    envelope: Envelope,
    kind: ProblemType,
    detail: str,
    executed: Executed,
    retry_after: int | None = None,
) -> Reply:
    problem = Problem(kind.slug, detail, executed, retry_after)
    return Reply(id=envelope.id, status=kind.status, problem=problem)
