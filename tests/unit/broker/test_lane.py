"""One channel's messages: what leaves is what pamqp would write, what comes is what it wrote."""

from collections.abc import Callable

import pytest
from pamqp import commands

from broker.contract import Published
from tests.unit.broker.wire import LANE, Wire, content, deliver, method, returned


@pytest.fixture
async def wire() -> Wire:
    return Wire()


@pytest.mark.parametrize("size", [0, 1, 131_064, 131_065, 400_000])
def test_a_publish_is_framed_as_pamqp_frames_it(wire: Wire, size: int) -> None:
    """Method, header and body frames equal pamqp's, with bodies cut at the agreed frame size."""
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    address = wire.lane.publish_address("gateway.requests", "svc.FREE")
    wire.lane.publish(address, b"id-1", b"30000", body)
    expected = content(
        commands.Basic.Publish(0, "gateway.requests", "svc.FREE", mandatory=True),
        body,
        properties=commands.Basic.Properties(correlation_id="id-1", expiration="30000"),
    )
    assert wire.sent() == b"".join(expected)


def test_a_smaller_agreed_frame_size_cuts_smaller(wire: Wire) -> None:
    """The frame size that the broker asked for bounds every frame, end mark included."""
    wire.protocol.frame_max = 4096
    wire.lane.publish(wire.lane.publish_address("", "q"), b"i", b"1", b"b" * 10_000)
    expected = content(
        commands.Basic.Publish(0, "", "q", mandatory=True),
        b"b" * 10_000,
        properties=commands.Basic.Properties(correlation_id="i", expiration="1"),
        part=4088,
    )
    assert wire.sent() == b"".join(expected)


def test_settlements_are_framed_as_pamqp_frames_them(wire: Wire) -> None:
    """Ack and requeue name one delivery each."""
    wire.lane.ack(2**40)
    wire.lane.requeue(5)
    ack = method(commands.Basic.Ack(2**40, multiple=False))
    nack = method(commands.Basic.Nack(5, multiple=False, requeue=True))
    assert wire.sent() == ack + nack


async def test_one_turn_of_the_loop_leaves_in_one_write(wire: Wire) -> None:
    """Many frames cost one system call."""
    for tag in range(50):
        wire.lane.ack(tag)
    wire.protocol.flush()
    assert len(wire.transport.writes) == 1


@pytest.mark.parametrize("size", [0, 1, 131_064, 131_065, 400_000])
def test_a_delivery_arrives_whole(wire: Wire, size: int) -> None:
    """Empty, small and multi-frame bodies come as one, with their tag and mark."""
    got: list[tuple[int, bool, bytes]] = []
    wire.lane.subscribe("consumer", lambda *message: got.append(message))
    wire.receive(deliver(b"z" * size, tag=9, redelivered=True))
    assert got == [(9, True, b"z" * size)]


def test_deliveries_of_an_unknown_consumer_are_left_alone(wire: Wire) -> None:
    """After unsubscribing, a delivery on its way harms nothing: the next one is read well."""
    got: list[bytes] = []
    wire.lane.subscribe("consumer", lambda tag, redelivered, body: got.append(body))
    wire.lane.unsubscribe("consumer")
    wire.receive(deliver(b"late"))
    wire.lane.subscribe("consumer", lambda tag, redelivered, body: got.append(body))
    wire.receive(deliver(b"next"))
    assert got == [b"next"]


class Publishes:
    """Publishes numbered messages and notes how each ended."""

    def __init__(self, wire: Wire, count: int) -> None:
        self.ended: dict[int, Published] = {}
        address = wire.lane.publish_address("gateway.requests", "svc.FREE")
        for number in range(1, count + 1):
            wire.lane.publish(address, b"id-%d" % number, b"1", b"", self.note(number))

    def note(self, number: int) -> Callable[[Published], None]:
        def ended(how: Published) -> None:
            assert number not in self.ended, "told twice"
            self.ended[number] = how

        return ended


def test_single_and_grouped_confirms_settle_each_publish_once(wire: Wire) -> None:
    """Acks out of order, then one for all that came before."""
    publishes = Publishes(wire, 5)
    wire.receive(method(commands.Basic.Ack(3)), method(commands.Basic.Ack(1)))
    assert publishes.ended == {3: Published.ACCEPTED, 1: Published.ACCEPTED}
    wire.receive(method(commands.Basic.Ack(4, multiple=True)))
    assert sorted(publishes.ended) == [1, 2, 3, 4]
    wire.receive(method(commands.Basic.Ack(4, multiple=True)), method(commands.Basic.Ack(5)))
    assert set(publishes.ended.values()) == {Published.ACCEPTED}
    assert len(publishes.ended) == 5


def test_a_nack_is_a_full_queue(wire: Wire) -> None:
    """The broker's refusal reaches the publisher, for a group as well."""
    publishes = Publishes(wire, 3)
    wire.receive(method(commands.Basic.Nack(2, multiple=True)), method(commands.Basic.Ack(3)))
    full = Published.QUEUE_FULL
    assert publishes.ended == {1: full, 2: full, 3: Published.ACCEPTED}


def test_a_returned_message_is_unroutable_though_it_is_acked(wire: Wire) -> None:
    """The broker returns first and acks after; only the returned one counts as unroutable."""
    publishes = Publishes(wire, 3)
    heard: list[tuple[str, str]] = []
    wire.lane.on_return = lambda key, correlation_id: heard.append((key, correlation_id))
    wire.receive(returned("id-2"), method(commands.Basic.Ack(3, multiple=True)))
    assert publishes.ended == {
        1: Published.ACCEPTED,
        2: Published.UNROUTABLE,
        3: Published.ACCEPTED,
    }
    assert heard == [("svc.FREE", "id-2")]


def test_overdue_confirms_are_lost_and_their_late_word_is_ignored(wire: Wire) -> None:
    """Only what was sent before the given time is given up."""
    early = Publishes(wire, 2)
    wire.now = 10.0
    ended: list[Published] = []
    wire.lane.publish(wire.lane.publish_address("", "q"), b"i", b"1", b"", ended.append)
    wire.lane.expire(sent_before=5.0)
    assert early.ended == {1: Published.LOST, 2: Published.LOST}
    wire.receive(method(commands.Basic.Ack(3, multiple=True)))
    assert ended == [Published.ACCEPTED]


def test_at_the_end_everything_unconfirmed_is_lost(wire: Wire) -> None:
    """Nobody waits for a connection that is gone."""
    publishes = Publishes(wire, 3)
    wire.lane.expire()
    assert set(publishes.ended.values()) == {Published.LOST}


def test_names_longer_than_the_protocol_allows_are_refused(wire: Wire) -> None:
    """A routing key of more than 255 bytes can't be written, and says so."""
    with pytest.raises(ValueError, match="255"):
        wire.lane.publish_address("gateway.requests", "k" * 256)


def test_the_lane_knows_its_channel(wire: Wire) -> None:
    """Every frame carries the channel's number."""
    wire.lane.ack(1)
    assert wire.sent()[1:3] == LANE.to_bytes(2, "big")
