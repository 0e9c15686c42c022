"""Responses as they should be."""

import pytest

from dispatcher.upstream import UpstreamResponse
from tests.integration.upstreams.calling import Calling, lean
from tests.integration.upstreams.requests import GET, HEAD
from tests.integration.upstreams.scripted import (
    PATIENCE,
    ScriptedUpstream,
    Wire,
    always,
    once,
    pieces,
)

KEPT = {
    "length": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        UpstreamResponse(200, b"OK", (), b"hello"),
    ),
    "no body": (
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        UpstreamResponse(404, b"Not Found", (), b""),
    ),
    "no reason": (
        b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n",
        UpstreamResponse(200, b"", (), b""),
    ),
    "header fields as they came": (
        (
            b"HTTP/1.1 200 OK\r\nx-B: 1\r\nSet-Cookie: a=1\r\nX-a:\r\nset-cookie: b=2 \t\r\n"
            b"x-b: \xff\xfe\r\nContent-Length: 0\r\n\r\n"
        ),
        UpstreamResponse(
            200,
            b"OK",
            (
                (b"x-B", b"1"),
                (b"Set-Cookie", b"a=1"),
                (b"X-a", b""),
                (b"set-cookie", b"b=2"),
                (b"x-b", b"\xff\xfe"),
            ),
            b"",
        ),
    ),
    "hop-by-hop fields": (
        (
            b"HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Hop\r\nKeep-Alive: 5\r\nX-Hop: 1\r\n"
            b"Trailer: T\r\nUpgrade: h2c\r\nProxy-Authenticate: Basic\r\nX-End: 2\r\n"
            b"Content-Length: 0\r\n\r\n"
        ),
        UpstreamResponse(200, b"OK", ((b"X-End", b"2"),), b""),
    ),
    "chunks, an extension and trailers": (
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n"
            b'3;name="value"\r\nabc\r\n0A\r\n0123456789\r\n0\r\nT: v\r\nX-U: w\r\n\r\n'
        ),
        UpstreamResponse(200, b"OK", (), b"abc0123456789"),
    ),
    "interim responses": (
        (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
            b"HTTP/1.1 200 OK\r\nX-A: 1\r\nContent-Length: 2\r\n\r\nok"
        ),
        UpstreamResponse(200, b"OK", ((b"X-A", b"1"),), b"ok"),
    ),
    "204": (
        b"HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n",
        UpstreamResponse(204, b"No Content", ((b"X-A", b"1"),), b""),
    ),
    "304 with a length": (
        b"HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 5\r\n\r\n",
        UpstreamResponse(304, b"Not Modified", ((b"ETag", b"x"),), b""),
    ),
    "redirect": (
        b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",
        UpstreamResponse(302, b"Found", ((b"Location", b"/elsewhere"),), b""),
    ),
    "compressed": (
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00",
        UpstreamResponse(200, b"OK", ((b"Content-Encoding", b"gzip"),), b"\x1f\x8b\x08\x00"),
    ),
    "HTTP/1.0, kept on its word": (
        b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nok",
        UpstreamResponse(200, b"OK", (), b"ok"),
    ),
}

CLOSED = {
    "until close": (
        b"HTTP/1.1 200 OK\r\nX-A: 1\r\n\r\neverything until the end",
        UpstreamResponse(200, b"OK", ((b"X-A", b"1"),), b"everything until the end"),
    ),
    "until close, empty": (b"HTTP/1.1 200 OK\r\n\r\n", UpstreamResponse(200, b"OK", (), b"")),
    "HTTP/1.0": (
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        UpstreamResponse(200, b"OK", (), b"ok"),
    ),
    "HTTP/1.0 without length": (
        b"HTTP/1.0 200 OK\r\n\r\nold",
        UpstreamResponse(200, b"OK", (), b"old"),
    ),
    "Connection: close": (
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        UpstreamResponse(200, b"OK", (), b"ok"),
    ),
    "an upgrade that is none": (
        b"HTTP/1.1 200 OK\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nbody",
        UpstreamResponse(200, b"OK", (), b"body"),
    ),
}


@pytest.mark.parametrize(("data", "expected"), KEPT.values(), ids=KEPT)
async def test_framed_response_is_read_and_its_connection_kept(
    client: Calling, data: bytes, expected: UpstreamResponse
) -> None:
    """The response is what was sent, and a second call finds the connection in order."""
    async with ScriptedUpstream(always(data)) as upstream:
        assert await client.call(upstream.address, GET, PATIENCE) == expected
        assert await client.call(upstream.address, GET, PATIENCE) == expected
        assert upstream.accepted == 1
    assert (client.counts.opened, client.counts.reused) == (1, 1)


@pytest.mark.parametrize(("data", "expected"), KEPT.values(), ids=KEPT)
async def test_response_in_pieces(client: Calling, data: bytes, expected: UpstreamResponse) -> None:
    """A response that arrives in many reads is the same response."""
    parts = [data[start : start + 7] for start in range(0, len(data), 7)]
    async with ScriptedUpstream(pieces(*parts)) as upstream:
        assert await client.call(upstream.address, GET, PATIENCE) == expected


@pytest.mark.parametrize(("data", "expected"), CLOSED.values(), ids=CLOSED)
async def test_response_that_ends_its_connection(
    client: Calling, data: bytes, expected: UpstreamResponse
) -> None:
    """The response is what was sent, and the next call has a connection of its own."""
    async with ScriptedUpstream(once(data)) as upstream:
        assert await client.call(upstream.address, GET, PATIENCE) == expected
        assert await client.call(upstream.address, GET, PATIENCE) == expected
        assert upstream.accepted == 2


async def test_connection_close_is_obeyed(client: Calling) -> None:
    """After "Connection: close" the client closes, though the upstream does not."""

    async def script(wire: Wire) -> None:
        await wire.answer(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        await wire.gone()

    async with ScriptedUpstream(script) as upstream:
        await client.call(upstream.address, GET, PATIENCE)
        await client.call(upstream.address, GET, PATIENCE)
        assert upstream.accepted == 2


@pytest.mark.parametrize("framing", [b"Content-Length: 1000", b"Transfer-Encoding: chunked"])
async def test_head_has_no_body(client: Calling, framing: bytes) -> None:
    """The answer to a HEAD ends with its header block, and keeps its length."""
    head = b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n"

    async def script(wire: Wire) -> None:
        await wire.answer(head)

    name, value = framing.split(b": ")
    kept = ((name, value),) if name == b"Content-Length" else ()
    async with ScriptedUpstream(script) as upstream:
        answer = await client.call(upstream.address, HEAD, PATIENCE)
        assert answer == UpstreamResponse(200, b"OK", kept, b"")


async def test_a_body_behind_the_answer_to_head_answers_nobody() -> None:
    """A common fault of upstreams; the lean client never uses such a connection again."""

    async def script(wire: Wire) -> None:
        if upstream.accepted == 1:
            await wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 38\r\n\r\n")
            await wire.gone()
        else:
            await wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext")

    async with lean() as client, ScriptedUpstream(script) as upstream:
        await client.call(upstream.address, HEAD, PATIENCE)
        assert (await client.call(upstream.address, GET, PATIENCE)).body == b"next"
        assert upstream.accepted == 2


async def test_head_without_framing(client: Calling) -> None:
    """The answer to a HEAD does not wait for the end of the connection."""
    async with ScriptedUpstream(always(b"HTTP/1.1 200 OK\r\nX-A: 1\r\n\r\n")) as upstream:
        answer = await client.call(upstream.address, HEAD, PATIENCE)
        assert answer == UpstreamResponse(200, b"OK", ((b"X-A", b"1"),), b"")


async def test_large_body(client: Calling) -> None:
    """A body of many reads arrives whole."""
    body = bytes(range(256)) * 8192
    data = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    async with ScriptedUpstream(always(data)) as upstream:
        assert (await client.call(upstream.address, GET, PATIENCE)).body == body


async def test_cookies_are_not_remembered(client: Calling) -> None:
    """A cookie that one response sets is not sent with the next request."""
    seen: list[bytes] = []

    async def script(wire: Wire) -> None:
        while True:
            seen.append(
                await wire.answer(
                    b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nContent-Length: 0\r\n\r\n"
                )
            )

    async with ScriptedUpstream(script) as upstream:
        await client.call(upstream.address, GET, PATIENCE)
        await client.call(upstream.address, GET, PATIENCE)
    assert b"cookie" not in seen[1].lower()
