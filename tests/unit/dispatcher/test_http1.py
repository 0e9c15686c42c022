"""The connection against any bytes, cut anywhere."""

import asyncio
import itertools
from collections.abc import Iterator
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.deadlines import Deadlines
from dispatcher.exchange import Exchange
from dispatcher.fields import MAX_HEAD_BYTES
from dispatcher.http1 import Connection
from dispatcher.options import PoolLimits
from dispatcher.upstream import ProtocolError, UpstreamError, UpstreamResponse

MAX_RESPONSE = 1000
OK = UpstreamResponse(200, b"OK", ((b"A", b"b"),), b"hello")

RESPONSES = [  # the bytes, and what they mean to a GET
    (b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 5\r\n\r\nhello", OK),
    (
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nA: b\r\n\r\n"
            b"1;x=y\r\nh\r\n4\r\nello\r\n0\r\nT: v\r\n\r\n"
        ),
        OK,
    ),
    (
        (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nL: m\r\n\r\n"
            b"HTTP/1.1 200 OK\r\nA: \t b \r\nContent-Length: 5\r\n\r\nhello"
        ),
        OK,
    ),
    (b"HTTP/1.1 204 \r\n\r\n", UpstreamResponse(204, b"", (), b"")),
    (
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
        UpstreamResponse(304, b"Not Modified", (), b""),
    ),
]
FRAGMENTS = [
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.0 200 OK\r\n",
    b"RTSP/1.0 200 OK\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 101 Upgrade\r\nUpgrade: h2c\r\nConnection: upgrade\r\n",
    b"HTTP/1.1 204 \r\n",
    b"Content-Length: 3\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Length: 2000\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip\r\n",
    b"Connection: close\r\n",
    b"Connection: keep-alive, A\r\n",
    b"A: b\r\n",
    b"A: " + b"b" * 70_000,
    b"\r\n",
    b"\r",
    b"\n",
    b"3\r\nabc\r\n",
    b"0\r\n\r\n",
    b"abc",
    b"x" * 1001,
    b"\0",
]


class MemoryTransport(asyncio.Transport):
    """Takes what is written and remembers being aborted."""

    def __init__(self) -> None:
        super().__init__()
        self.aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Nobody reads it."""

    def get_write_buffer_size(self) -> int:
        """All has left."""
        return 0

    def is_closing(self) -> bool:
        """Whether it was aborted."""
        return self.aborted

    def abort(self) -> None:
        """The connection will be lost."""
        self.aborted = True


class Peer:
    """A connection whose other side is the test; it is its own owner."""

    def __init__(self, loop: asyncio.AbstractEventLoop, max_response: int = MAX_RESPONSE) -> None:
        self.free = True
        self.unanswered: Exchange | None = None
        self.unasked = 0
        self._loop = loop
        self._transport = MemoryTransport()
        self.connection = Connection(self, PoolLimits(max_response=max_response))
        self.connection.connection_made(self._transport)

    @property
    def aborted(self) -> bool:
        """Whether the connection has closed itself."""
        return self._transport.aborted

    def released(self, connection: Connection) -> None:
        """The connection can be used again."""
        self.free = True

    def unsolicited(self) -> None:
        """Bytes came that nobody had asked for."""
        self.unasked += 1

    def closed(self, connection: Connection, unanswered: Exchange | None) -> None:
        """The connection is gone."""
        self.unanswered = unanswered

    def ask(self, method: str = "GET") -> Exchange:
        """Send a request."""
        self.free = False
        deadlines = Deadlines[Exchange](self._loop)
        again = None if method == "POST" else lambda: True
        exchange = Exchange(self._loop, deadlines, method, b"request", 1e6, again)
        self.connection.send(exchange)
        return exchange

    def feed(self, data: bytes, cuts: list[int]) -> None:
        """Bytes arrive in pieces, as long as the connection is open."""
        edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
        for start, end in itertools.pairwise(edges):
            if start < end and not self.aborted:
                self.connection.data_received(data[start:end])

    def end(self) -> None:
        """The other side closes."""
        if not self.aborted:
            self.connection.eof_received()
        self.connection.connection_lost(None)


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that never runs: the connection is driven by hand."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def outcome(exchange: Exchange) -> UpstreamResponse | UpstreamError:
    """How the exchange ended; it must have."""
    assert exchange.done()
    return cast(UpstreamError | None, exchange.exception()) or exchange.result()


def status(exchange: Exchange) -> int:
    """Of its response; it must have one."""
    response = outcome(exchange)
    assert isinstance(response, UpstreamResponse)
    return response.status


def is_small(data: bytes) -> bool:
    """Whether no limit of the header block is met."""
    return len(data) < MAX_HEAD_BYTES


methods = st.sampled_from(["GET", "HEAD", "POST"])
any_cuts = st.lists(st.integers(0, 2**20), max_size=8)
any_bytes = st.binary(max_size=200)
nonsense = st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=3), max_size=12).map(b"".join)
almost = nonsense.map(b"HTTP/1.1 200 OK\r\n".__add__)


@settings(deadline=None)
@given(method=methods, data=any_bytes | nonsense | almost, cuts=any_cuts)
def test_anything_ends_in_a_response_or_an_upstream_error(
    loop: asyncio.AbstractEventLoop, method: str, data: bytes, cuts: list[int]
) -> None:
    """No bytes, cut anywhere, raise anything else or leave the call without an end."""
    peer = Peer(loop)
    exchange = peer.ask(method)
    peer.feed(data, cuts)
    peer.end()
    result = outcome(exchange)
    assert isinstance(result, UpstreamResponse | UpstreamError)
    if isinstance(result, UpstreamResponse):
        assert len(result.body) <= MAX_RESPONSE


@settings(deadline=None)
@given(method=methods, data=(nonsense | almost).filter(is_small), cuts=any_cuts)
def test_cuts_do_not_change_the_outcome(
    loop: asyncio.AbstractEventLoop, method: str, data: bytes, cuts: list[int]
) -> None:
    """What the bytes mean does not depend on the reads they come in.

    Where they are over a limit and nonsense too, the error may be the one or the other.
    """
    results = []
    for some_cuts in ([], cuts):
        peer = Peer(loop)
        exchange = peer.ask(method)
        peer.feed(data, some_cuts)
        peer.end()
        result = outcome(exchange)
        results.append(result if isinstance(result, UpstreamResponse) else type(result))
    assert results[0] == results[1]


@settings(deadline=None)
@given(response=st.sampled_from(RESPONSES), cuts=any_cuts, again=st.sampled_from(RESPONSES))
def test_valid_responses_are_read_alike_however_cut(
    loop: asyncio.AbstractEventLoop,
    response: tuple[bytes, UpstreamResponse],
    cuts: list[int],
    again: tuple[bytes, UpstreamResponse],
) -> None:
    """One connection reads one response after another."""
    peer = Peer(loop)
    for data, expected in (response, again):
        exchange = peer.ask()
        peer.feed(data, cuts)
        assert outcome(exchange) == expected
        assert peer.free
        assert peer.connection.usable


@settings(deadline=None)
@given(cuts=any_cuts, split=st.integers(1, 200))
def test_body_until_close_however_cut(
    loop: asyncio.AbstractEventLoop, cuts: list[int], split: int
) -> None:
    """A response without framing is whole at the end of the connection."""
    peer = Peer(loop)
    exchange = peer.ask()
    peer.feed(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nhello", cuts)
    assert not exchange.done()
    peer.end()
    assert outcome(exchange) == OK


@settings(deadline=None)
@given(
    method=methods,
    response=st.sampled_from(RESPONSES),
    surplus=any_bytes | nonsense | st.sampled_from([data for data, _ in RESPONSES]),
    cuts=any_cuts,
)
def test_surplus_is_never_an_answer(
    loop: asyncio.AbstractEventLoop,
    method: str,
    response: tuple[bytes, UpstreamResponse],
    surplus: bytes,
    cuts: list[int],
) -> None:
    """Whatever follows a response, a later request has its own answer, or an error."""
    peer = Peer(loop)
    first = peer.ask(method)
    data = response[0] if method != "HEAD" else b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"
    peer.feed(data + surplus, cuts)
    assert status(first) == (response[1].status if method != "HEAD" else 200)
    if peer.connection.usable:
        second = peer.ask()
        peer.feed(b"HTTP/1.1 299 Mine\r\nContent-Length: 0\r\n\r\n", cuts)
        assert status(second) == 299


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_kept_connection_that_dies_silently_gives_back_what_may_be_repeated(
    loop: asyncio.AbstractEventLoop, method: str
) -> None:
    """The owner decides about the second try; a POST has failed."""
    peer = Peer(loop)
    peer.ask()
    peer.feed(RESPONSES[0][0], [])
    exchange = peer.ask(method)
    peer.end()
    if method == "GET":
        assert peer.unanswered is exchange
        assert not exchange.done()
        exchange.cancel()
    else:
        assert peer.unanswered is None
        assert isinstance(outcome(exchange), UpstreamError)


def test_an_idle_connection_holds_no_answer(loop: asyncio.AbstractEventLoop) -> None:
    """Large answers must not stay in memory with the connections that brought them."""
    peer = Peer(loop)
    exchange = peer.ask()
    peer.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody", [])
    assert exchange.result().body == b"body"
    assert peer.free
    assert peer.connection._body == b""


def test_bytes_on_an_idle_connection_close_it(loop: asyncio.AbstractEventLoop) -> None:
    """They are told once, however many come, and never become an answer."""
    peer = Peer(loop)
    peer.ask()
    peer.feed(RESPONSES[0][0], [])
    peer.connection.data_received(b"H")
    peer.connection.data_received(b"TTP")
    assert (peer.aborted, peer.unasked, peer.connection.usable) == (True, 1, False)


def test_a_read_of_nothing_means_nothing(loop: asyncio.AbstractEventLoop) -> None:
    """Some transports report empty reads; neither a response nor its lack follows from them."""
    peer = Peer(loop)
    exchange = peer.ask()
    for piece in (b"", RESPONSES[1][0][:40], b"", RESPONSES[1][0][40:]):
        peer.connection.data_received(piece)
    assert outcome(exchange) == OK


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunks(size: int, count: int) -> bytes:
    """A body in chunks of one size."""
    return (b"%x\r\n" % size + b"x" * size + b"\r\n") * count + b"0\r\n\r\n"


def test_a_flood_of_tiny_chunks_is_refused(loop: asyncio.AbstractEventLoop) -> None:
    """Long before the body is too large: each of them costs as much as a large one."""
    peer = Peer(loop, max_response=10**7)
    exchange = peer.ask()
    data = CHUNKED + chunks(1, 100_000)
    peer.feed(data, list(range(0, len(data), 1000)))
    assert isinstance(outcome(exchange), ProtocolError)
    assert peer.aborted


@pytest.mark.parametrize(("size", "count"), [(1, 4000), (5, 100_000)])
def test_small_chunks_pass(loop: asyncio.AbstractEventLoop, size: int, count: int) -> None:
    """As many as a short body may have, or as their data outweigh."""
    peer = Peer(loop, max_response=10**7)
    exchange = peer.ask()
    peer.feed(CHUNKED + chunks(size, count), [])
    result = outcome(exchange)
    assert isinstance(result, UpstreamResponse)
    assert len(result.body) == size * count
