"""Upstreams that lie, break off, drip, or talk nonsense."""

import asyncio

import pytest

from broker.problems import ProxyError
from dispatcher.options import PoolLimits
from dispatcher.upstream import (
    BodyTooLarge,
    ConnectionLost,
    ProtocolError,
    ResponseTooLarge,
    UpstreamError,
    UpstreamTimeout,
)
from tests.integration.upstreams.calling import Calling, lean
from tests.integration.upstreams.conftest import ClientFactory
from tests.integration.upstreams.requests import GET, POST, request
from tests.integration.upstreams.scripted import PATIENCE, ScriptedUpstream, Wire, once

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"

NO_HTTP = {
    "TLS alert": b"\x15\x03\x01\x00\x02\x02\x46",
    "a request": b"GET / HTTP/1.1\r\n\r\n",
    "a body alone": b"hello",
    "HTTP/1.2": b"HTTP/1.2 200 OK\r\n\r\n",
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/0.9": b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n",
    "status 99": b"HTTP/1.1 099 X\r\n\r\n",
    "status 600": b"HTTP/1.1 600 X\r\nContent-Length: 0\r\n\r\n",
    "status 1000": b"HTTP/1.1 1000 X\r\nContent-Length: 0\r\n\r\n",
    "101": b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nframes",
    "101 without Upgrade": b"HTTP/1.1 101 X\r\n\r\n",
    "body of an interim response": b"HTTP/1.1 103 X\r\nContent-Length: 3\r\n\r\nabc" + OK,
    "length and chunks": OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
    "chunks and length": OK + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
    "two lengths": OK + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "the same length twice": OK + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "a list of lengths": OK + b"Content-Length: 3, 3\r\n\r\nabc",
    "negative length": OK + b"Content-Length: -3\r\n\r\nabc",
    "length over 64 bit": OK + b"Content-Length: 99999999999999999999999\r\n\r\nabc",
    "another transfer coding": OK + b"Transfer-Encoding: gzip\r\n\r\nabc",
    "a second transfer coding": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
    "a chunk size that is none": CHUNKED + b"xyz\r\nabc\r\n0\r\n\r\n",
    "a negative chunk size": CHUNKED + b"-3\r\nabc\r\n0\r\n\r\n",
    "a chunk size over 64 bit": CHUNKED + b"fffffffffffffffff\r\nabc",
    "a chunk longer than its size": CHUNKED + b"3\r\nabcdef\r\n0\r\n\r\n",
    "a bad chunk after good ones": CHUNKED + b"3\r\nabc\r\nxyz\r\n",
    "NUL in a value": OK + b"A: b\0c\r\nContent-Length: 0\r\n\r\n",
    "bare CR in a value": OK + b"A: b\rc\r\nContent-Length: 0\r\n\r\n",
    "a field without colon": OK + b"A\r\nContent-Length: 0\r\n\r\n",
    "NUL in the reason": b"HTTP/1.1 200 O\0K\r\nContent-Length: 0\r\n\r\n",
    "ESC in the reason": b"HTTP/1.1 200 \x1b[31m\r\nContent-Length: 0\r\n\r\n",
    "DEL in the reason": b"HTTP/1.1 200 O\x7fK\r\nContent-Length: 0\r\n\r\n",
    "an empty name": OK + b": a\r\nContent-Length: 0\r\n\r\n",
}

# Where aiohttp's parser is lenient (or, for the length, loses the call), with no way to be strict.
NO_HTTP_TO_THE_LEAN_CLIENT = {
    "RTSP": b"RTSP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "ICE": b"ICE/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "RTSP after an interim response": (
        b"HTTP/1.1 103 X\r\n\r\nRTSP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"
    ),
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "a space before the colon": OK + b"Content-Length : 0\r\n\r\n",
    "a length among the trailers": CHUNKED + b"0\r\nContent-Length: 3\r\n\r\n",
    "a folded line": OK + b"A: b\r\n c\r\nContent-Length: 0\r\n\r\n",
    "a space after a chunk size": CHUNKED + b"3 \r\nabc\r\n0\r\n\r\n",
    "an interim response with a framed body": (
        b"HTTP/1.1 110 X\r\nContent-Length: 3\r\n\r\nabc" + OK + b"Content-Length: 0\r\n\r\n"
    ),
}

BROKEN_OFF = {
    "no response": b"",
    "in the status line": b"HTTP/1.1 20",
    "in the header block": OK + b"A: b",
    "after an interim response": b"HTTP/1.1 100 Continue\r\n\r\n",
    "before a body of known length": OK + b"Content-Length: 10\r\n\r\n",
    "within a body of known length": OK + b"Content-Length: 10\r\n\r\nabc",
    "within a chunk": CHUNKED + b"5\r\nabc",
    "before the last chunk": CHUNKED + b"3\r\nabc\r\n",
    "within the trailers": CHUNKED + b"3\r\nabc\r\n0\r\nA: b",
}

TOO_LARGE = {
    "a long value": OK + b"A: " + b"a" * 70_000 + b"\r\nContent-Length: 0\r\n\r\n",
    "a value without end": OK + b"A: " + b"a" * 300_000,
    "a name without end": OK + b"a" * 300_000,
    "a reason without end": b"HTTP/1.1 200 " + b"X" * 300_000,
    "a long reason": b"HTTP/1.1 200 " + b"X" * 1025 + b"\r\nContent-Length: 0\r\n\r\n",
    "many fields": OK + b"A: b\r\n" * 201 + b"Content-Length: 0\r\n\r\n",
    "a large header block": OK + (b"A: " + b"b" * 1000 + b"\r\n") * 100 + b"\r\n",
    "a trailer without end": CHUNKED + b"0\r\nA: " + b"b" * 400_000,
    "a long trailer": CHUNKED + b"0\r\nA: " + b"b" * 70_000 + b"\r\n\r\n",
    "an announced body": OK + b"Content-Length: 1001\r\n\r\n",
    "a chunked body": CHUNKED + b"1ff\r\n" + b"a" * 511 + b"\r\n1ff\r\n" + b"a" * 511 + b"\r\n",
    "a body until close": OK + b"\r\n" + b"a" * 1001,
}

# What aiohttp has no limit for; its time runs out, or the connection's end comes first.
TOO_LARGE_FOR_THE_LEAN_CLIENT = {
    "interim responses without end": b"HTTP/1.1 103 X\r\n\r\n" * 20_000,
    "a chunk extension without end": CHUNKED + b"3;" + b"b" * 400_000,
}


async def fails(client: Calling, data: bytes, expected: type[UpstreamError]) -> ProxyError:
    """The answer ``data`` ends a POST, which nobody may repeat, in an error; gives its cause."""
    async with ScriptedUpstream(once(data)) as upstream:
        with pytest.raises(expected) as caught:
            await client.call(upstream.address, POST, PATIENCE)
        assert type(caught.value) is expected
        assert caught.value.sent is True
        assert upstream.accepted == 1
        return caught.value.proxy_error


@pytest.mark.parametrize("data", NO_HTTP.values(), ids=NO_HTTP)
async def test_what_is_no_response(client: Calling, data: bytes) -> None:
    """Nonsense, and framing that could be read in two ways, is a protocol error."""
    error = await fails(client, data, ProtocolError)
    assert error in (ProxyError.HTTP_PROTOCOL_ERROR, ProxyError.HTTP_RESPONSE_TRANSFER_CODING)


@pytest.mark.parametrize(
    "data", NO_HTTP_TO_THE_LEAN_CLIENT.values(), ids=NO_HTTP_TO_THE_LEAN_CLIENT
)
async def test_what_the_lean_client_takes_for_no_response(data: bytes) -> None:
    """Where parsers disagree about a response, the lean client refuses it."""
    async with lean() as client:
        await fails(client, data, ProtocolError)


@pytest.mark.parametrize("data", BROKEN_OFF.values(), ids=BROKEN_OFF)
async def test_what_breaks_off(client: Calling, data: bytes) -> None:
    """A response that is cut short is lost, never taken for a shorter one."""
    await fails(client, data, ConnectionLost)


@pytest.mark.parametrize("data", BROKEN_OFF.values(), ids=BROKEN_OFF)
async def test_how_much_had_come_is_told(data: bytes) -> None:
    """A response that had begun is an incomplete one (aiohttp says so of bodies only)."""
    async with lean() as client:
        error = await fails(client, data, ConnectionLost)
    begun = ProxyError.HTTP_RESPONSE_INCOMPLETE
    assert error is (begun if data else ProxyError.CONNECTION_TERMINATED)


@pytest.mark.parametrize("data", TOO_LARGE.values(), ids=TOO_LARGE)
async def test_what_is_too_large(make_client: ClientFactory, data: bytes) -> None:
    """Header block, field count, trailers and body have their limits."""
    async with make_client(limits=PoolLimits(max_response=1000)) as client:
        of_body = data in [TOO_LARGE[name] for name in TOO_LARGE if "body" in name]
        error = await fails(client, data, BodyTooLarge if of_body else ResponseTooLarge)
    head = ProxyError.HTTP_RESPONSE_HEADER_SECTION_SIZE
    assert error is (ProxyError.HTTP_RESPONSE_BODY_SIZE if of_body else head)


@pytest.mark.parametrize(
    "data", TOO_LARGE_FOR_THE_LEAN_CLIENT.values(), ids=TOO_LARGE_FOR_THE_LEAN_CLIENT
)
async def test_what_is_too_large_for_the_lean_client(data: bytes) -> None:
    """Whatever goes on and on without becoming body is stopped."""
    async with lean() as client:
        await fails(client, data, ResponseTooLarge)


async def test_body_of_exactly_the_limit(make_client: ClientFactory) -> None:
    """The limit itself is allowed."""
    data = OK + b"Content-Length: 1000\r\n\r\n" + b"a" * 1000
    async with (
        make_client(limits=PoolLimits(max_response=1000)) as client,
        ScriptedUpstream(once(data)) as upstream,
    ):
        assert len((await client.call(upstream.address, GET, PATIENCE)).body) == 1000


def resets(beginning: bytes) -> ScriptedUpstream:
    """Sends the beginning of a response, and RST behind it."""

    async def script(wire: Wire) -> None:
        await wire.answer(beginning)
        wire.reset()

    return ScriptedUpstream(script)


@pytest.mark.parametrize("beginning", [b"", OK, OK + b"Content-Length: 5\r\n\r\nabc"])
async def test_reset(client: Calling, beginning: bytes) -> None:
    """A reset loses the response."""
    async with resets(beginning) as upstream:
        with pytest.raises(ConnectionLost) as caught:
            await client.call(upstream.address, POST, PATIENCE)
        assert caught.value.sent is True


async def test_reset_is_no_end_of_a_body() -> None:
    """A body that lasts until the connection is closed is not whole when it is reset."""
    async with lean() as client, resets(OK + b"\r\nabc") as upstream:
        with pytest.raises(ConnectionLost):
            await client.call(upstream.address, POST, PATIENCE)


async def test_silence(client: Calling) -> None:
    """An upstream that never answers costs the call's timeout, and its connection is closed."""
    closed = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.gone()
        closed.set()

    async with ScriptedUpstream(script) as upstream:
        with pytest.raises(UpstreamTimeout) as caught:
            await client.call(upstream.address, GET, 0.5)
        assert caught.value.sent is True
        assert caught.value.proxy_error is ProxyError.HTTP_RESPONSE_TIMEOUT
        async with asyncio.timeout(PATIENCE):
            await closed.wait()


@pytest.mark.parametrize("beginning", [b"", b"HTTP/1.1 2", OK, CHUNKED + b"3\r\nabc\r\n"])
async def test_read_timeout(make_client: ClientFactory, beginning: bytes) -> None:
    """An upstream that falls silent is given up long before the end of the call."""
    closed = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.answer(beginning)
        await wire.gone()
        closed.set()

    async with (
        make_client(limits=PoolLimits(read_timeout=0.05)) as client,
        ScriptedUpstream(script) as upstream,
    ):
        with pytest.raises(UpstreamTimeout) as caught:
            await client.call(upstream.address, GET, 10 * PATIENCE)
        assert caught.value.sent is True
        assert caught.value.proxy_error is ProxyError.CONNECTION_READ_TIMEOUT
        async with asyncio.timeout(PATIENCE):
            await closed.wait()


async def test_drip_is_no_silence(make_client: ClientFactory) -> None:
    """An answer that takes longer than the read timeout arrives, as long as it keeps coming."""

    async def script(wire: Wire) -> None:
        await wire.answer(OK + b"Content-Length: 15\r\n\r\n")
        for _ in range(15):
            await asyncio.sleep(0.1)
            await wire.send(b"x")
        await wire.gone()

    async with (
        make_client(limits=PoolLimits(read_timeout=1)) as client,
        ScriptedUpstream(script) as upstream,
    ):
        assert (await client.call(upstream.address, POST, PATIENCE)).body == b"x" * 15


async def test_read_timeout_is_not_for_idle_connections(make_client: ClientFactory) -> None:
    """A kept connection may be silent for longer, and its next call has the whole time again."""

    async def script(wire: Wire) -> None:
        for _ in range(2):
            await wire.answer(OK + b"Content-Length: 0\r\n\r\n")
        await wire.request()
        await wire.gone()

    async with (
        make_client(limits=PoolLimits(read_timeout=0.2, idle_timeout=PATIENCE)) as client,
        ScriptedUpstream(script) as upstream,
    ):
        await client.call(upstream.address, GET, PATIENCE)
        await asyncio.sleep(0.25)
        await client.call(upstream.address, GET, PATIENCE)
        with pytest.raises(UpstreamTimeout):
            await client.call(upstream.address, GET, 10 * PATIENCE)
        assert upstream.accepted == 1


@pytest.mark.parametrize("framing", [b"Content-Length: 104857600", b"X-Until: close", b"chunked"])
async def test_flood(make_client: ClientFactory, framing: bytes) -> None:
    """Of 100 MB that nobody wants hardly more than the limit is read."""
    sent, total, piece = 0, 100 * 1024**2, b"x" * 65_536
    chunked = framing == b"chunked"
    stopped = asyncio.Event()

    async def script(wire: Wire) -> None:
        nonlocal sent
        await wire.request()
        try:
            await wire.send(CHUNKED if chunked else OK + framing + b"\r\n\r\n")
            while sent < total:
                await wire.send(b"10000\r\n" + piece + b"\r\n" if chunked else piece)
                sent += len(piece)
        finally:
            stopped.set()

    async with (
        make_client(limits=PoolLimits(max_response=100_000)) as client,
        ScriptedUpstream(script) as upstream,
    ):
        with pytest.raises(BodyTooLarge) as caught:
            await client.call(upstream.address, POST, PATIENCE)
        async with asyncio.timeout(PATIENCE):
            await stopped.wait()
    assert caught.value.proxy_error is ProxyError.HTTP_RESPONSE_BODY_SIZE
    assert sent < total / 4  # what the buffers of two sockets may hold


@pytest.mark.parametrize("beginning", [OK, OK + b"Content-Length: 99999\r\n\r\n", CHUNKED + b"1;"])
async def test_drip(client: Calling, beginning: bytes) -> None:
    """A response that comes a byte at a time gains no time by it."""
    dripping = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(beginning)
        while True:
            await wire.send(b"1")
            dripping.set()
            await asyncio.sleep(0.01)

    async with ScriptedUpstream(script) as upstream:
        call = client.call(upstream.address, GET, 0.3)
        await dripping.wait()
        with pytest.raises(UpstreamTimeout):
            await call


async def test_request_that_nobody_reads(client: Calling) -> None:
    """Writing is bounded by the call's timeout as well."""

    async def script(wire: Wire) -> None:
        await wire.request_head()
        await asyncio.Event().wait()

    async with ScriptedUpstream(script) as upstream:
        big = request("POST", body=bytes(16 * 1024**2))
        with pytest.raises(UpstreamTimeout) as caught:
            await client.call(upstream.address, big, 0.3)
        assert caught.value.sent is True


async def test_half_close_without_response() -> None:
    """An upstream that closes only its own side has lost the response as well."""

    async def script(wire: Wire) -> None:
        await wire.request_head()
        wire.shut()
        await asyncio.Event().wait()

    async with lean() as client, ScriptedUpstream(script) as upstream:
        big = request("POST", body=bytes(16 * 1024**2))
        with pytest.raises(ConnectionLost):
            await client.call(upstream.address, big, PATIENCE)
