"""One byte stream, split between lanes and aiormq at whatever points the network cut it."""

import asyncio
import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands
from pamqp.heartbeat import Heartbeat

from broker.contract import Published
from tests.unit.broker.wire import LANE, OTHER, Wire, content, deliver, method, returned

HEARTBEAT = method(Heartbeat(), 0)


@pytest.fixture
async def wire() -> Wire:
    return Wire()


def foreign() -> st.SearchStrategy[bytes]:
    """Frames that are aiormq's: other channels, and answers to calls on the lane's channel."""
    return st.sampled_from(
        [
            HEARTBEAT,
            method(commands.Basic.ConsumeOk("consumer"), LANE),
            method(commands.Basic.Cancel("consumer"), LANE),
            method(commands.Queue.DeclareOk("q", 1, 2), OTHER),
            method(commands.Basic.Ack(1, multiple=True), OTHER),
            b"".join(
                content(commands.Basic.Deliver("c", 1, False, "", "k"), b"foreign", channel=OTHER)
            ),
        ]
    )


def pieces(data: bytes, cuts: list[int]) -> Iterator[bytes]:
    """The stream, cut at these places."""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    for start, end in itertools.pairwise(places):
        yield data[start:end]


@given(
    script=st.lists(
        st.one_of(
            st.tuples(st.just("lane"), st.binary(max_size=300), st.integers(1, 50)),
            st.tuples(st.just("other"), foreign(), st.just(0)),
        ),
        max_size=12,
    ),
    cuts=st.lists(st.integers(0, 10_000), max_size=40),
)
def test_any_cut_of_any_mixture_gives_the_same_messages(
    script: list[tuple[str, bytes, int]], cuts: list[int]
) -> None:
    """Lanes get every body in order; aiormq gets every other byte in order; nothing else."""

    async def run() -> None:
        wire = Wire()
        got: list[tuple[int, bytes]] = []
        wire.lane.subscribe("consumer", lambda tag, _, body: got.append((tag, body)))
        stream = b"".join(
            deliver(data, tag, part=part) if kind == "lane" else data
            for tag, (kind, data, part) in enumerate(script)
        )
        for piece in pieces(stream, cuts):
            wire.protocol.data_received(piece)
        bodies = [(tag, data) for tag, (kind, data, _) in enumerate(script) if kind == "lane"]
        assert got == bodies
        assert wire.seen_by_aiormq() == b"".join(data for kind, data, _ in script if kind != "lane")

    asyncio.run(run())


@given(data=st.binary(max_size=200), cuts=st.lists(st.integers(0, 300), max_size=5))
def test_no_bytes_raise(data: bytes, cuts: list[int]) -> None:
    """Garbage ends the connection or waits for more; it never raises into the loop."""

    async def run() -> None:
        wire = Wire()
        for piece in pieces(data, cuts):
            wire.protocol.data_received(piece)

    asyncio.run(run())


def test_a_body_in_many_frames_may_be_interleaved_with_other_channels(wire: Wire) -> None:
    """The protocol orders frames within a channel only."""
    got: list[bytes] = []
    wire.lane.subscribe("consumer", lambda tag, redelivered, body: got.append(body))
    frames = content(commands.Basic.Deliver("consumer", 1, False, "", "k"), b"abcdef", part=2)
    for frame in frames:
        wire.receive(frame, HEARTBEAT)
    assert got == [b"abcdef"]
    assert wire.seen_by_aiormq() == HEARTBEAT * len(frames)


def test_before_a_lane_opens_everything_is_aiormqs(wire: Wire) -> None:
    """And again after it was closed."""
    wire.protocol.close_lane(LANE)
    wire.receive(deliver(b"data"))
    assert wire.seen_by_aiormq() == deliver(b"data")


def test_lane_traffic_alone_keeps_aiormqs_heartbeat_satisfied(wire: Wire) -> None:
    """A busy broker sends no heartbeats, so aiormq is shown one, at most one a second."""
    wire.lane.subscribe("consumer", lambda tag, redelivered, body: None)
    for tenth in range(35):
        wire.now = 100 + tenth / 10
        wire.receive(deliver(b"data"))
    assert wire.seen_by_aiormq() == HEARTBEAT * 4


def test_a_blocked_connection_is_noticed_and_aiormq_hears_it_too(wire: Wire) -> None:
    """The broker's alarm shows at once, and its end."""
    heard: list[bool] = []
    wire.protocol.on_blocked = heard.append
    frames = [
        method(commands.Connection.Blocked("low on memory"), 0),
        method(commands.Connection.Unblocked(), 0),
    ]
    wire.receive(frames[0])
    assert wire.protocol.blocked
    wire.receive(frames[1])
    assert heard == [True, False]
    assert wire.seen_by_aiormq() == b"".join(frames)


@pytest.mark.parametrize(
    "frames",
    [
        deliver(b"data")[:-1] + b"\x00",
        b"\x01\x00\x07\x7f\xff\xff\xff" + b"x" * 20,
    ],
    ids=["no end mark", "larger than agreed"],
)
def test_what_is_no_frame_drops_the_connection(wire: Wire, frames: bytes) -> None:
    """Nothing after it could be trusted."""
    wire.receive(frames)
    assert wire.transport.aborted


def test_a_broker_of_another_version_is_aiormqs_to_explain(wire: Wire) -> None:
    """Its greeting is no frame, but no fault of the connection either."""
    wire.receive(b"AMQP\x00\x01\x00\x00")
    assert wire.seen_by_aiormq() == b"AMQP\x00\x01\x00\x00"
    assert not wire.transport.aborted


async def test_the_end_of_the_connection_is_told(wire: Wire) -> None:
    """Whoever waits for ``lost`` goes on, and nothing more is written."""
    wire.lane.ack(1)
    wire.protocol.connection_lost(None)
    await wire.protocol.lost
    assert wire.sent() == b""


def test_a_full_socket_shows_until_it_drains(wire: Wire) -> None:
    """Publishing is refused meanwhile, by whoever asks ``writable``."""
    wire.protocol.pause_writing()
    assert not wire.protocol.writable
    wire.protocol.resume_writing()
    assert wire.protocol.writable


def test_confirms_and_returns_survive_any_cut(wire: Wire) -> None:
    """Byte by byte, a return and its ack still find their publish."""
    ended: list[Published] = []
    wire.lane.publish(wire.lane.publish_address("e", "k"), b"id", b"1", b"", ended.append)
    for byte in returned("id") + method(commands.Basic.Ack(1)):
        wire.receive(bytes((byte,)))
    assert ended == [Published.UNROUTABLE]
