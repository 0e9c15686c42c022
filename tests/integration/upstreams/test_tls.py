"""https upstreams. ``localhost.pem``: a key and certificate for localhost, for these tests only."""

import asyncio
import ssl
from pathlib import Path

import pytest

from dispatcher.upstream import Address, ConnectFailed, ConnectionLost, UpstreamTimeout
from tests.integration.upstreams.conftest import ClientFactory
from tests.integration.upstreams.requests import GET, POST, request
from tests.integration.upstreams.scripted import PATIENCE, ScriptedUpstream, Wire, always, once

PEM = Path(__file__).with_name("localhost.pem")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
def server_tls() -> ssl.SSLContext:
    """What the upstream shows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(PEM)
    return context


@pytest.fixture
def trusting_tls() -> ssl.SSLContext:
    """A client's context that trusts the upstream."""
    return ssl.create_default_context(cafile=PEM)


async def test_connection_is_kept(
    make_client: ClientFactory, server_tls: ssl.SSLContext, trusting_tls: ssl.SSLContext
) -> None:
    """One handshake serves many calls."""
    async with (
        make_client(tls=trusting_tls) as client,
        ScriptedUpstream(always(OK), tls=server_tls) as upstream,
    ):
        for _ in range(3):
            assert (await client.call(upstream.address, GET, PATIENCE)).body == b"ok"
        assert upstream.accepted == 1
    assert (client.counts.opened, client.counts.reused) == (1, 2)


async def test_large_bodies(
    make_client: ClientFactory, server_tls: ssl.SSLContext, trusting_tls: ssl.SSLContext
) -> None:
    """A request and a response of many records arrive whole."""
    body = bytes(range(256)) * 8192

    async def echo(wire: Wire) -> None:
        received = (await wire.request()).partition(b"\r\n\r\n")[2]
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(received) + received)

    async with (
        make_client(tls=trusting_tls) as client,
        ScriptedUpstream(echo, tls=server_tls) as upstream,
    ):
        answer = await client.call(upstream.address, request("POST", body=body), PATIENCE)
        assert answer.body == body


async def test_untrusted_certificate(
    make_client: ClientFactory, server_tls: ssl.SSLContext
) -> None:
    """By default only the system's authorities are trusted; nothing is sent to others."""
    async with (
        make_client() as client,
        ScriptedUpstream(always(OK), tls=server_tls) as upstream,
    ):
        with pytest.raises(ConnectFailed, match=r"(?i)certificate") as caught:
            await client.call(upstream.address, GET, PATIENCE)
        assert caught.value.sent is False


async def test_certificate_of_another_host(
    make_client: ClientFactory, server_tls: ssl.SSLContext, trusting_tls: ssl.SSLContext
) -> None:
    """The name of the address must be in the certificate."""
    async with (
        make_client(tls=trusting_tls) as client,
        ScriptedUpstream(always(OK), tls=server_tls) as upstream,
    ):
        address = Address("https", "127.0.0.1", upstream.address.port)
        with pytest.raises(ConnectFailed) as caught:
            await client.call(address, GET, PATIENCE)
        assert caught.value.sent is False


async def test_plain_http_where_tls_is_expected(make_client: ClientFactory) -> None:
    """An upstream that speaks no TLS fails the handshake."""

    async def script(wire: Wire) -> None:
        await wire.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await wire.gone()

    async with make_client() as client, ScriptedUpstream(script) as upstream:
        address = Address("https", "localhost", upstream.address.port)
        with pytest.raises(ConnectFailed) as caught:
            await client.call(address, GET, PATIENCE)
        assert caught.value.sent is False


async def test_handshake_without_end(make_client: ClientFactory) -> None:
    """Connecting counts against the call's timeout; the half-open connection is closed."""
    closed = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.gone()
        closed.set()

    async with make_client() as client, ScriptedUpstream(script) as upstream:
        address = Address("https", "localhost", upstream.address.port)
        with pytest.raises(UpstreamTimeout) as caught:
            await client.call(address, GET, 0.1)
        assert caught.value.sent is False
        async with asyncio.timeout(PATIENCE):
            await closed.wait()


async def test_body_until_close(
    make_client: ClientFactory, server_tls: ssl.SSLContext, trusting_tls: ssl.SSLContext
) -> None:
    """An orderly end of TLS completes a response without framing."""
    async with (
        make_client(tls=trusting_tls) as client,
        ScriptedUpstream(once(b"HTTP/1.1 200 OK\r\n\r\nall"), tls=server_tls) as upstream,
    ):
        assert (await client.call(upstream.address, GET, PATIENCE)).body == b"all"


async def test_truncated_body(
    make_client: ClientFactory, server_tls: ssl.SSLContext, trusting_tls: ssl.SSLContext
) -> None:
    """A response that ends before its length is lost, over TLS too."""
    data = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"
    async with (
        make_client(tls=trusting_tls) as client,
        ScriptedUpstream(once(data), tls=server_tls) as upstream,
    ):
        with pytest.raises(ConnectionLost):
            await client.call(upstream.address, POST, PATIENCE)


async def test_a_host_that_was_looked_up(
    make_client: ClientFactory, server_tls: ssl.SSLContext, trusting_tls: ssl.SSLContext
) -> None:
    """The call goes to the IP; Host, SNI and the name in the certificate are of the host."""
    named: list[str | None] = []
    server_tls.sni_callback = lambda _, name, __: named.append(name)
    seen: list[bytes] = []

    async def script(wire: Wire) -> None:
        seen.append(await wire.request())
        await wire.send(OK)

    async with (
        make_client(tls=trusting_tls) as client,
        ScriptedUpstream(script, tls=server_tls) as upstream,
    ):
        port = upstream.address.port
        address = Address("https", "localhost", port, ip="127.0.0.1")
        assert (await client.call(address, GET, PATIENCE)).body == b"ok"
        other = Address("https", "other.test", port, ip="127.0.0.1")
        with pytest.raises(ConnectFailed, match=r"(?i)certificate"):
            await client.call(other, GET, PATIENCE)
    assert named == ["localhost", "other.test"]
    assert seen[0].count(b"\r\nHost: localhost:%d\r\n" % port) == 1
