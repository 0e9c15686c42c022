"""How a delivery ends: a closed set of outcomes, and the one place that settles, last and once."""

import logging
import time
from collections.abc import Callable
from typing import assert_never

import msgspec

from broker.contract import Broker, ConnectionState, Delivery, MessageTooLarge
from broker.messages import Envelope, Executed, Problem, Reply
from broker.problems import ProblemType, ProxyError
from dispatcher.listener import DispatcherListener

logger = logging.getLogger(__name__)


class Answered(msgspec.Struct, frozen=True, gc=False):
    """The reply goes home."""

    reply: Reply


class Expired(msgspec.Struct, frozen=True, gc=False):
    """The deadline passed before the call: ingress has answered, nobody waits for a reply."""


class GivenBack(msgspec.Struct, frozen=True, gc=False):
    """Another dispatcher shall do it: this one stops. A call that was begun is an attempt."""


class Held(msgspec.Struct, frozen=True, gc=False):
    """Not now: the breaker is open, and the route would rather wait.

    A consumer keeps it, without a slot; one that stops gives it back.
    """


class RetryLater(msgspec.Struct, frozen=True, gc=False):
    """Once more from the end of its queue, as a further attempt."""


class DeadLettered(msgspec.Struct, frozen=True, gc=False):
    """It can't be handled: kept with the reason for a human to look into. The reply says so."""

    reason: str
    reply: Reply


Outcome = Answered | Expired | GivenBack | Held | RetryLater | DeadLettered


class Work:
    """One message in the hands of this dispatcher.

    ``outgoing`` is the envelope as the upstream gets it, as ``shaped_by`` has transformed it.
    ``settled``: the broker has nothing more to hear of it. ``calls`` counts upstream calls that
    were begun for it here, ``retries`` those of them that repeat a failed one; ``sent``: whether an
    upstream may have seen one, of an earlier dispatcher's too.
    """

    __slots__ = (
        "calls",
        "delivery",
        "envelope",
        "outgoing",
        "retries",
        "sent",
        "settled",
        "shaped_by",
    )

    def __init__(self, delivery: Delivery) -> None:
        self.delivery = delivery
        self.envelope = self.outgoing = delivery.envelope
        self.shaped_by: object | None = None
        self.settled = False
        self.calls = 0
        self.retries = 0
        self.sent = self.envelope.attempt > 1

    def settle_before_call(self) -> None:
        """Have the broker forget it now, so that nobody is ever handed it again.

        Until then it may be held, or given back; a further call changes nothing.
        """
        if not self.settled:
            self.settled = True
            self.delivery.ack()

    def renew(self, delivery: Delivery) -> None:
        """The broker hands it over again: the connection of the first handle is gone."""
        if self.settled:
            delivery.ack()
        else:
            self.delivery = delivery


def problem_reply(
    envelope: Envelope,
    kind: ProblemType,
    detail: str,
    executed: Executed,
    retry_after: int | None = None,
) -> Reply:
    """A reply by which the gateway itself answers; ``retry_after`` in seconds."""
    problem = Problem(kind.slug, detail, executed, retry_after)
    return Reply(id=envelope.id, status=kind.status, problem=problem)


def _too_large(reply: Reply, error: MessageTooLarge) -> Reply:
    """What a client gets instead of an answer that the broker would not take."""
    fields = {"request_id": reply.id}
    logger.warning("the answer of %s is too large: %s", reply.instance, error, extra=fields)
    kind = ProblemType.UPSTREAM_PROTOCOL
    problem = Problem(
        kind.slug,
        "The service's answer is too large.",
        "unknown",
        proxy_error=ProxyError.HTTP_RESPONSE_BODY_SIZE,
    )
    return msgspec.structs.replace(
        reply, status=kind.status, reason=b"", headers=(), body=b"", problem=problem
    )


class Settler:
    """Sends the reply, then tells the broker what becomes of the message."""

    def __init__(
        self,
        broker: Broker,
        listener: DispatcherListener,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._broker = broker
        self._listener = listener
        self._now = now
        self._unsent: list[tuple[Envelope, Reply]] = []

    def settle(self, work: Work, outcome: Outcome) -> None:
        """End one message. Of what was settled before its call only the reply is left."""
        self._answer(work.envelope, outcome)
        if not work.settled:
            work.settled = True
            _tell_broker(work, outcome)

    def _answer(self, envelope: Envelope, outcome: Outcome) -> None:
        match outcome:
            case Answered():
                self._reply(envelope, outcome.reply)
            case DeadLettered():
                self._reply(envelope, outcome.reply)
                self._listener.dead_lettered(envelope, outcome.reason)
            case Expired():
                self._listener.expired(envelope)
            case GivenBack() | Held() | RetryLater():
                pass  # somebody else will answer

    def connection_restored(self) -> None:
        """Send the replies that had to wait for the broker."""
        unsent, self._unsent = self._unsent, []
        for envelope, reply in unsent:
            self._reply(envelope, reply)

    def _reply(self, envelope: Envelope, reply: Reply) -> None:
        """Send it, unless the deadline has passed: ingress has answered by then.

        While the broker is away it waits. Nothing new comes meanwhile, so no more replies can wait
        than messages were under way.
        """
        if self._now() >= envelope.deadline:
            self._listener.answered_late(envelope, reply)
        elif self._broker.state is ConnectionState.DISCONNECTED:
            self._unsent.append((envelope, reply))
        else:
            try:
                self._broker.reply(envelope.reply_to, reply, envelope.deadline)
            except MessageTooLarge as error:
                reply = _too_large(reply, error)
                self._broker.reply(envelope.reply_to, reply, envelope.deadline)
            self._listener.answered(envelope, reply)


def _tell_broker(work: Work, outcome: Outcome) -> None:
    delivery = work.delivery
    match outcome:
        case Answered() | Expired():
            delivery.ack()
        case GivenBack() | Held() if not work.calls:
            delivery.give_back()
        case GivenBack() | Held() | RetryLater():  # called or lost, so an attempt
            delivery.retry()
        case DeadLettered():
            delivery.dead_letter(outcome.reason)
        case _:
            assert_never(outcome)
