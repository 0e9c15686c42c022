"""Bodies: where they end, whatever the network does to them."""

import asyncio
from itertools import pairwise

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser
from hypothesis import given
from hypothesis import strategies as st

from ingress.bodies import ChunkedBody, FixedBody
from ingress.problems import Refused

CHUNKED_HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def fed(body: FixedBody | ChunkedBody, data: bytes, cuts: list[int]) -> bytes:
    """Feed the data in pieces; what is behind the body."""
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    rest = b""
    for start, end in pairwise(edges):
        rest += body.feed(data[start:end]) if not body.complete else data[start:end]
    return rest


def encoded(chunks: list[bytes]) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


@given(st.binary(min_size=1), st.binary(), st.lists(st.integers(0, 1000), max_size=5))
def test_a_body_of_known_length(content: bytes, behind: bytes, cuts: list[int]) -> None:
    """It takes its own bytes and no more, however they are cut."""
    body = FixedBody(len(content))
    assert fed(body, content + behind, cuts) == behind
    assert body.complete
    assert body.take() == content


@given(
    st.lists(st.binary(min_size=1), max_size=5),
    st.binary(),
    st.lists(st.integers(0, 1000), max_size=5),
)
def test_a_chunked_body(chunks: list[bytes], behind: bytes, cuts: list[int]) -> None:
    """It is put together, and ends exactly where it ends, however it is cut."""
    body = ChunkedBody()
    assert fed(body, encoded(chunks) + behind, cuts) == behind
    assert body.complete
    assert body.take() == b"".join(chunks)


def test_byte_by_byte() -> None:
    """A chunked body with all its decoration, a byte at a time."""
    body = ChunkedBody()
    data = b'003;a;b=c;d="e f"\r\nabc\r\n2\r\nde\r\n000\r\nX-Y: z\r\nA:\r\n\r\n'
    for at in range(len(data)):
        assert not body.complete
        assert body.feed(data[at : at + 1]) == b""
    assert body.complete
    assert body.take() == b"abcde"


def test_what_is_expected_is_known_early() -> None:
    """The size of a chunk counts before its data is here."""
    body = ChunkedBody()
    body.feed(b"5\r\nabcde\r\nffff\r\n")
    assert (body.size, body.expected) == (5, 5 + 0xFFFF)


MALFORMED = [
    b"\r\n",
    b"x\r\n",
    b"-1\r\n",
    b"+1\r\n",
    b"0x3\r\nabc",
    b" 3\r\nabc",
    b"3 \r\nabc",
    b"3\nabc",
    b"3\r\nabc\n0\r\n\r\n",
    b"3\r\nabcd\r\n0\r\n\r\n",
    b"3\r\nab\r\n0\r\n\r\n",
    b"3\r\nabc0\r\n\r\n",
    b"3;\x00\r\nabc",
    b"3;a\nb\r\nabc",
    b"3;a\rb\r\nabc",
    b"3;\r\nabc",
    b"11111111111111111\r\n",
    b"0\n\r\n",
    b"0\r\n\n",
    b"0\r\nX Y: z\r\n\r\n",
    b"0\r\nX: z\r\n folded\r\n\r\n",
    b"0\r\nX\r\n\r\n",
    b"0\r\nX: \x00\r\n\r\n",
]


@pytest.mark.parametrize("data", MALFORMED)
def test_malformed_chunks(data: bytes) -> None:
    """What breaks the grammar is refused, not repaired."""
    with pytest.raises(Refused):
        ChunkedBody().feed(data)


@pytest.mark.parametrize(
    "data",
    [
        b"1;" + b"a" * 20_000,
        (b"1;" + b"a" * 40 + b"\r\nx\r\n") * 2000,
        b"0\r\n" + b"X: y\r\n" * 4000,
        b"0\r\nX: " + b"y" * 20_000,
    ],
)
def test_decoration_is_bounded(data: bytes) -> None:
    """Extensions and trailers can't go on for ever, in one piece or in many."""
    with pytest.raises(Refused):
        fed(ChunkedBody(), data, list(range(0, len(data), 1000)))


def llhttp_reads(data: bytes) -> bytes | None:
    """The body as llhttp has it; None if it refuses, or wants more."""
    loop = asyncio.new_event_loop()
    try:
        parser = HttpRequestParser(BaseProtocol(loop), loop, 2**16, auto_decompress=False)
        messages, _, _ = parser.feed_data(CHUNKED_HEAD + data)
        payload = messages[0][1]
        return payload.read_nowait() if payload.is_eof() else None
    except HttpProcessingError:
        return None
    finally:
        loop.close()


@given(st.text(alphabet='013aF;=x"\r\n :', max_size=24).map(str.encode))
def test_never_laxer_than_llhttp(data: bytes) -> None:
    """Whatever is taken for a body here, llhttp takes for the same body."""
    body = ChunkedBody()
    try:
        rest = body.feed(data)
    except Refused:
        return
    if body.complete and not rest:
        assert llhttp_reads(data) == body.take()


@given(
    st.lists(
        st.sampled_from([b"1", b"\r\n", b"3", b"abc", b"0", b";a", b"=b", b"X: y"]), max_size=14
    )
)
def test_never_laxer_than_llhttp_with_whole_lines(parts: list[bytes]) -> None:
    """The same with material that comes nearer to good bodies."""
    data = b"".join(parts) + b"\r\n0\r\n\r\n"
    body = ChunkedBody()
    try:
        rest = body.feed(data)
    except Refused:
        return
    if body.complete and not rest:
        assert llhttp_reads(data) == body.take()


def test_a_flood_of_tiny_chunks_is_refused() -> None:
    """A byte of data in six bytes of framing would hold the loop for nothing."""
    body = ChunkedBody()
    with pytest.raises(Refused):
        body.feed(b"1\r\nx\r\n" * 20_000)
