"""https upstreams, with certificates made for the test."""

import asyncio
import ssl

import pytest
import trustme

from broker.problems import ProxyError
from dispatcher.upstream import (
    Address,
    ConnectFailed,
    ConnectionLost,
    UpstreamError,
    UpstreamTimeout,
)
from tests.integration.upstreams.authority import (
    YESTERDAY,
    demanding,
    plain_spoken,
    server_context,
    trusting,
)
from tests.integration.upstreams.calling import lean
from tests.integration.upstreams.conftest import ClientFactory
from tests.integration.upstreams.requests import GET, POST, request
from tests.integration.upstreams.scripted import PATIENCE, ScriptedUpstream, Wire, always, once

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Who signs for the upstream."""
    return trustme.CA()


@pytest.fixture(scope="module")
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    """What the upstream shows: it is localhost."""
    return server_context(authority.issue_cert("localhost"))


@pytest.fixture(scope="module")
def trusting_tls(authority: trustme.CA) -> ssl.SSLContext:
    """A client's context that trusts the upstream."""
    return trusting(authority)


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


async def refused(
    make_client: ClientFactory, shown: ssl.SSLContext, context: ssl.SSLContext | None
) -> UpstreamError:
    """How a call of an upstream fails that shows this, and is asked for nothing."""
    async with (
        make_client(tls=context) as client,
        ScriptedUpstream(always(OK), tls=shown) as upstream,
    ):
        with pytest.raises(ConnectFailed) as caught:
            await client.call(upstream.address, GET, PATIENCE)
        assert upstream.requests == 0
        return caught.value


async def test_untrusted_certificate(
    make_client: ClientFactory, server_tls: ssl.SSLContext
) -> None:
    """By default only the system's authorities are trusted; nothing is sent to others."""
    error = await refused(make_client, server_tls, None)
    assert (error.sent, error.proxy_error) == (False, ProxyError.TLS_CERTIFICATE_ERROR)


@pytest.mark.parametrize("kind", ["expired", "another name", "an address", "self-signed"])
async def test_bad_certificate(
    make_client: ClientFactory, authority: trustme.CA, trusting_tls: ssl.SSLContext, kind: str
) -> None:
    """It must be valid today, for the name in the address, and by a trusted authority."""
    shown = {
        "expired": lambda: authority.issue_cert("localhost", not_after=YESTERDAY),
        "another name": lambda: authority.issue_cert("elsewhere.test"),
        "an address": lambda: authority.issue_cert("127.0.0.1"),
        "self-signed": lambda: trustme.CA().issue_cert("localhost"),
    }[kind]()
    error = await refused(make_client, server_context(shown), trusting_tls)
    assert (error.sent, error.proxy_error) == (False, ProxyError.TLS_CERTIFICATE_ERROR)


async def test_certificate_of_an_address(
    make_client: ClientFactory, authority: trustme.CA, trusting_tls: ssl.SSLContext
) -> None:
    """An instance without a name has its address in the certificate."""
    tls = server_context(authority.issue_cert("127.0.0.1"))
    async with (
        make_client(tls=trusting_tls) as client,
        ScriptedUpstream(always(OK), tls=tls) as upstream,
    ):
        address = Address("https", "127.0.0.1", upstream.address.port)
        assert (await client.call(address, GET, PATIENCE)).body == b"ok"


async def test_server_name(
    make_client: ClientFactory, authority: trustme.CA, trusting_tls: ssl.SSLContext
) -> None:
    """The name of the setting is asked for (SNI) and must be in the certificate."""
    asked: list[str | None] = []
    tls = server_context(authority.issue_cert("users.internal"))
    tls.sni_callback = lambda _, name, __: asked.append(name)
    async with ScriptedUpstream(always(OK), tls=tls) as upstream:
        async with make_client(tls=trusting_tls, server_name="users.internal") as client:
            assert (await client.call(upstream.address, GET, PATIENCE)).body == b"ok"
        async with make_client(tls=trusting_tls) as client:
            with pytest.raises(ConnectFailed):
                await client.call(upstream.address, GET, PATIENCE)
    assert asked == ["users.internal", "localhost"]


async def test_unverified(make_client: ClientFactory, server_tls: ssl.SSLContext) -> None:
    """A context that verifies nothing takes any certificate; nothing else does."""
    careless = ssl.create_default_context()
    careless.check_hostname = False
    careless.verify_mode = ssl.CERT_NONE
    async with (
        make_client(tls=careless) as client,
        ScriptedUpstream(always(OK), tls=server_tls) as upstream,
    ):
        assert (await client.call(upstream.address, GET, PATIENCE)).body == b"ok"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_client_certificate(
    make_client: ClientFactory, authority: trustme.CA, version: ssl.TLSVersion
) -> None:
    """An upstream that demands one answers who has it, and turns away who has none (mTLS)."""
    clients = trustme.CA()
    tls = demanding(authority.issue_cert("localhost"), clients)
    tls.minimum_version = tls.maximum_version = version
    with plain_spoken(tls, OK) as address:
        own = clients.issue_cert("gateway@internal.test")
        async with make_client(tls=trusting(authority, own)) as client:
            assert (await client.call(address, GET, PATIENCE)).body == b"ok"
        for stranger in (None, trustme.CA().issue_cert("gateway@internal.test")):
            async with make_client(tls=trusting(authority, stranger)) as client:
                with pytest.raises((ConnectFailed, ConnectionLost)) as caught:
                    await client.call(address, POST, PATIENCE)
                # TLS 1.3 tells only after the handshake, when the request may be on its way.
                assert caught.value.proxy_error in (
                    ProxyError.TLS_ALERT_RECEIVED,
                    ProxyError.CONNECTION_TERMINATED,
                )


async def test_a_refusal_after_the_handshake_is_told(authority: trustme.CA) -> None:
    """TLS 1.3 refuses a client certificate when the connection stands, which is just gone then.

    In whichever step of the loop the alert is read, the error has its words. (aiohttp only says
    that the connection was lost, if it has not begun to write.)
    """
    tls = demanding(authority.issue_cert("localhost"), trustme.CA())
    tls.minimum_version = ssl.TLSVersion.TLSv1_3
    with plain_spoken(tls, OK) as address:
        async with lean(tls=trusting(authority)) as client:
            for _ in range(20):
                with pytest.raises((ConnectFailed, ConnectionLost), match="ALERT") as caught:
                    await client.call(address, POST, PATIENCE)
                assert caught.value.proxy_error is ProxyError.TLS_ALERT_RECEIVED
                assert caught.value.sent is isinstance(caught.value, ConnectionLost)


async def test_no_common_version(make_client: ClientFactory, authority: trustme.CA) -> None:
    """Two who speak no common version of TLS do not talk."""
    old = server_context(authority.issue_cert("localhost"))
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    new = trusting(authority)
    new.minimum_version = ssl.TLSVersion.TLSv1_3
    with plain_spoken(old, OK) as address:
        async with make_client(tls=new) as client:
            with pytest.raises(ConnectFailed) as caught:
                await client.call(address, GET, PATIENCE)
            assert caught.value.proxy_error is ProxyError.TLS_ALERT_RECEIVED


async def test_hung_up_in_the_handshake(make_client: ClientFactory) -> None:
    """An upstream that closes instead of shaking hands was reached, but no more."""

    async def script(wire: Wire) -> None:
        wire.close()

    async with make_client() as client, ScriptedUpstream(script) as upstream:
        address = Address("https", "localhost", upstream.address.port)
        with pytest.raises(ConnectFailed) as caught:
            await client.call(address, GET, PATIENCE)
        assert caught.value.proxy_error in (
            ProxyError.CONNECTION_TERMINATED,
            ProxyError.TLS_PROTOCOL_ERROR,
        )


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
        assert caught.value.proxy_error is ProxyError.TLS_PROTOCOL_ERROR


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
        assert caught.value.proxy_error is ProxyError.CONNECTION_TIMEOUT
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
