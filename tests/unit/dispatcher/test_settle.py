"""How a delivery ends."""

import pytest

from broker.contract import ConnectionState
from broker.messages import Problem, Reply
from broker.problems import ProblemType
from dispatcher.listener import DispatcherListener
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
from tests.unit.dispatcher.doubles import (
    NOW,
    Clock,
    RecordingBroker,
    RecordingDelivery,
    envelope,
)

REPLY = Reply(id="r1", status=200)


class Late(DispatcherListener):
    """Keeps the replies that came too late, and those that did not."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.sent: list[Reply] = []

    def answered(self, envelope: object, reply: Reply) -> None:
        self.sent.append(reply)

    def answered_late(self, envelope: object, reply: Reply) -> None:
        self.replies.append(reply)


def work(broker: RecordingBroker) -> Work:
    """A message of that broker."""
    return Work(RecordingDelivery(envelope(), redelivered=False, log=broker.log))


@pytest.mark.parametrize(
    ("outcome", "seen"),
    [
        (Answered(REPLY), ["r1 reply 200", "r1 ack"]),
        (Expired(), ["r1 ack"]),
        (GivenBack(), ["r1 give back"]),
        (Held(), ["r1 give back"]),
        (RetryLater(), ["r1 retry"]),
        (DeadLettered("why", REPLY), ["r1 reply 200", "r1 dead-letter: why"]),
    ],
)
def test_every_outcome_settles_last_and_once(outcome: Outcome, seen: list[str]) -> None:
    """The reply goes first, then the broker hears what becomes of the message, in one word."""
    broker = RecordingBroker()

    Settler(broker, DispatcherListener(), Clock()).settle(work(broker), outcome)

    assert broker.log == seen


@pytest.mark.parametrize("outcome", [GivenBack(), Held()])
def test_what_was_called_is_given_back_as_an_attempt(outcome: Outcome) -> None:
    """Who gets it must not tell its client that it was never executed."""
    broker = RecordingBroker()
    called = work(broker)
    called.calls = 1

    Settler(broker, DispatcherListener(), Clock()).settle(called, outcome)

    assert broker.log == ["r1 retry"]


@pytest.mark.parametrize(
    "outcome", [Answered(REPLY), Expired(), GivenBack(), RetryLater(), DeadLettered("why", REPLY)]
)
def test_what_was_settled_before_its_call_is_not_settled_again(outcome: Outcome) -> None:
    """The broker has forgotten the message: whatever becomes of it, one ack was all."""
    broker = RecordingBroker()
    early = work(broker)
    early.settle_before_call()

    Settler(broker, DispatcherListener(), Clock()).settle(early, outcome)

    assert [entry for entry in broker.log if "reply" not in entry] == ["r1 ack"]


def test_a_late_reply_is_not_sent() -> None:
    """At the deadline ingress has answered: the reply is counted, the message still settled."""
    broker, late = RecordingBroker(), Late()

    Settler(broker, late, Clock(NOW + 10)).settle(work(broker), Answered(REPLY))

    assert broker.log == ["r1 ack"]
    assert late.replies == [REPLY]


def test_an_answer_larger_than_messages_is_a_problem() -> None:
    """Told once, with its cause and what else is known of it; the message is settled for good."""
    broker, listener = RecordingBroker(), Late()
    large = Reply(
        id="r1",
        status=200,
        reason=b"OK",
        headers=((b"A", b"b"),),
        body=b"x" * (broker.max_message + 1),
        queue_ms=1.5,
        attempts=2,
        instance="http://a",
    )

    Settler(broker, listener, Clock()).settle(work(broker), Answered(large))

    assert broker.log == ["r1 reply 502", "r1 ack"]
    problem = Problem(
        "upstream-protocol",
        "The service's answer is too large.",
        "unknown",
        proxy_error="http_response_body_size",
    )
    reply = Reply(
        id="r1", status=502, problem=problem, queue_ms=1.5, attempts=2, instance="http://a"
    )
    assert [broker.replies["r1"]] == listener.sent == [reply]


def test_replies_wait_while_the_broker_is_away() -> None:
    """They are sent once, in order, when it is back; what became too late meanwhile is counted."""
    broker, late, clock = RecordingBroker(ConnectionState.DISCONNECTED), Late(), Clock()
    settler = Settler(broker, late, clock)
    for id_, deadline in (("soon", NOW + 1), ("a", NOW + 9), ("b", NOW + 9)):
        message = RecordingDelivery(envelope(id_, deadline=deadline), redelivered=False, log=[])
        settler.settle(Work(message), Answered(Reply(id=id_, status=200)))
    assert broker.replies == {}

    clock.now += 5
    broker.state = ConnectionState.CONNECTED
    settler.connection_restored()
    settler.connection_restored()

    assert broker.log == ["a reply 200", "b reply 200"]
    assert [reply.id for reply in late.replies] == ["soon"]


def test_a_handle_is_renewed_until_it_is_settled() -> None:
    """A second handle takes the place of the first, or is acknowledged if that was settled."""
    broker = RecordingBroker()
    open_work, settled_work = work(broker), work(broker)
    settled_work.settle_before_call()
    first, second = work(broker).delivery, work(broker).delivery
    assert isinstance(first, RecordingDelivery)
    assert isinstance(second, RecordingDelivery)

    open_work.renew(first)
    settled_work.renew(second)

    assert open_work.delivery is first
    assert (first.settled, second.settled) == ("", "ack")


def test_a_problem_has_the_status_of_its_type() -> None:
    """A reply by which the gateway itself answers names the type, the words and what was done."""
    reply = problem_reply(
        envelope(), ProblemType.NO_INSTANCE, "None.", executed="no", retry_after=3
    )

    assert (reply.id, reply.status) == ("r1", 503)
    assert reply.problem is not None
    assert reply.problem.type == "no-instance"
    assert (reply.problem.detail, reply.problem.executed) == ("None.", "no")
    assert reply.problem.retry_after == 3
