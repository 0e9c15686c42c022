"""From a name to a connection: addresses that are dead, names that are unknown, time that ends."""

import asyncio
import socket

import pytest

from broker.problems import ProxyError
from dispatcher.options import PoolLimits
from dispatcher.resolver import Resolver
from dispatcher.upstream import Address, ConnectFailed, ConnectTimedOut, UpstreamTimeout
from tests.integration.upstreams.conftest import ClientFactory
from tests.integration.upstreams.names import Names, NoSuchName, SilentNameServer, nobody_home
from tests.integration.upstreams.requests import GET, POST
from tests.integration.upstreams.scripted import PATIENCE, ScriptedUpstream, Wire, always

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
NEVER = 10 * PATIENCE  # a limit that the test does not reach


def named(port: int, scheme: str = "http") -> Address:
    """An instance by its name."""
    return Address(scheme, "users.test", port)


async def test_dead_address_does_not_keep_the_next_from_answering(
    make_client: ClientFactory,
) -> None:
    """The second address is tried beside the first, which would never have answered (RFC 8305)."""
    async with ScriptedUpstream(always(OK)) as upstream:
        with nobody_home("127.0.0.2", upstream.address.port) as port:
            async with make_client(
                resolver=Names("127.0.0.2", "127.0.0.1"), limits=PoolLimits(connect_timeout=NEVER)
            ) as client:
                assert (await client.call(named(port), POST, PATIENCE)).body == b"ok"


async def test_refused_address_makes_room_for_the_next(make_client: ClientFactory) -> None:
    """Where nobody listens at some of the addresses, another one serves."""
    async with (
        ScriptedUpstream(always(OK)) as upstream,
        make_client(resolver=Names("127.0.0.2", "127.0.0.3", "127.0.0.1")) as client,
    ):
        response = await client.call(named(upstream.address.port), POST, PATIENCE)
        assert response.body == b"ok"


@pytest.mark.parametrize("addresses", [("127.0.0.1",), ("127.0.0.1", "127.0.0.2")])
async def test_refused(make_client: ClientFactory, addresses: tuple[str, ...]) -> None:
    """Nobody listens at any address: that is what is told, and nothing was sent."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        async with make_client(resolver=Names(*addresses)) as client:
            with pytest.raises(ConnectFailed) as caught:
                await client.call(named(unused.getsockname()[1]), GET, PATIENCE)
    assert caught.value.sent is False
    assert caught.value.proxy_error is ProxyError.CONNECTION_REFUSED


async def test_unknown_name(make_client: ClientFactory) -> None:
    """A name that nobody knows is told as such."""
    async with make_client(resolver=NoSuchName()) as client:
        with pytest.raises(ConnectFailed) as caught:
            await client.call(named(1), GET, PATIENCE)
    assert caught.value.sent is False
    assert caught.value.proxy_error is ProxyError.DNS_ERROR


@pytest.mark.parametrize("host", ["x" * 64 + ".test", "a..test"])
async def test_name_that_can_be_none(make_client: ClientFactory, host: str) -> None:
    """What the system's look-up takes for malformed is an unknown name too."""
    async with make_client() as client:
        with pytest.raises(ConnectFailed) as caught:
            await client.call(Address("http", host, 1), GET, PATIENCE)
    assert caught.value.proxy_error is ProxyError.DNS_ERROR


async def silent_handshake(wire: Wire) -> None:
    """Accepts, and says nothing."""
    await wire.gone()


LATE = [
    (SilentNameServer(), "http", ProxyError.DNS_TIMEOUT),
    (Names("127.0.0.2"), "http", ProxyError.CONNECTION_TIMEOUT),
    (Names("127.0.0.1"), "https", ProxyError.CONNECTION_TIMEOUT),
]


@pytest.mark.parametrize(("resolver", "scheme", "error"), LATE, ids=["name", "address", "TLS"])
async def test_connect_timeout(
    make_client: ClientFactory, resolver: Resolver, scheme: str, error: ProxyError
) -> None:
    """Name, connection and TLS have a limit of their own, long before that of the call."""
    async with ScriptedUpstream(silent_handshake) as upstream:
        with nobody_home("127.0.0.2", upstream.address.port) as port:
            async with make_client(
                resolver=resolver, limits=PoolLimits(connect_timeout=0.05)
            ) as client:
                with pytest.raises(ConnectTimedOut) as caught:
                    await client.call(named(port, scheme), GET, NEVER)
    assert caught.value.sent is False
    assert caught.value.proxy_error is error


@pytest.mark.parametrize(("resolver", "scheme", "error"), LATE, ids=["name", "address", "TLS"])
async def test_deadline_while_connecting(
    make_client: ClientFactory, resolver: Resolver, scheme: str, error: ProxyError
) -> None:
    """The time of the call bounds them as well, and tells what it was spent with."""
    async with ScriptedUpstream(silent_handshake) as upstream:
        with nobody_home("127.0.0.2", upstream.address.port) as port:
            async with make_client(
                resolver=resolver, limits=PoolLimits(connect_timeout=NEVER)
            ) as client:
                with pytest.raises(UpstreamTimeout) as caught:
                    await client.call(named(port, scheme), GET, 0.05)
    assert caught.value.sent is False
    assert caught.value.proxy_error is error


async def test_cancelling_while_the_name_is_looked_up(make_client: ClientFactory) -> None:
    """Whoever gives up ends at once; the client can be closed."""
    async with make_client(resolver=SilentNameServer()) as client:
        call = client.call(named(1), GET, NEVER)
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
