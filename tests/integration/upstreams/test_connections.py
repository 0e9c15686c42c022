"""Which connection a call gets, and what becomes of it."""

import asyncio
import socket
from collections.abc import Mapping
from typing import cast

import msgspec
import pytest

from broker.problems import ProxyError
from dispatcher.exchange import Exchange
from dispatcher.lean_upstream import LeanCaller
from dispatcher.options import PoolLimits, UpstreamOptions
from dispatcher.pool import Pool
from dispatcher.upstream import (
    Address,
    ConnectFailed,
    ConnectionLost,
    TooManyCalls,
    UpstreamTimeout,
)
from tests.integration.upstreams.calling import Calling, lean
from tests.integration.upstreams.conftest import ClientFactory
from tests.integration.upstreams.requests import GET, HEAD, POST, may_be_repeated, request
from tests.integration.upstreams.scripted import PATIENCE, ScriptedUpstream, Wire, always, once


def answer(body: bytes) -> bytes:
    """A response on a connection that is kept."""
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body


async def happens(event: asyncio.Event) -> None:
    """Wait for what has to happen."""
    async with asyncio.timeout(PATIENCE):
        await event.wait()


def pools(client: Calling) -> Mapping[Address, Pool]:
    """What the lean client keeps, by address."""
    assert isinstance(client.caller, LeanCaller)
    return client.caller._pools


async def test_most_recent_connection_is_used_first() -> None:
    """Idle connections are a stack (a queue in aiohttp), so that those not needed can expire."""

    async def script(wire: Wire) -> None:
        while True:
            await wire.answer(answer(b"%d" % wire.number))

    async with lean() as client, ScriptedUpstream(script) as upstream:
        both = [client.call(upstream.address, GET, PATIENCE) for _ in range(2)]
        numbers = {(await call).body for call in both}
        assert numbers == {b"1", b"2"}
        first = (await client.call(upstream.address, GET, PATIENCE)).body
        for _ in range(3):
            assert (await client.call(upstream.address, GET, PATIENCE)).body == first


@pytest.mark.parametrize("surplus", [answer(b"of another"), b"HTTP/1.1 200 OK\r\n\r\n"])
async def test_surplus_is_never_the_next_answer(client: Calling, surplus: bytes) -> None:
    """Bytes behind a response close the connection; the next call has its own answer."""
    closed = asyncio.Event()

    async def script(wire: Wire) -> None:
        if wire.number == 1:
            await wire.answer(answer(b"one") + surplus)
            await wire.gone()
            closed.set()
        else:
            await wire.answer(answer(b"two"))

    async with ScriptedUpstream(script) as upstream:
        assert (await client.call(upstream.address, GET, PATIENCE)).body == b"one"
        assert (await client.call(upstream.address, GET, PATIENCE)).body == b"two"
        await happens(closed)


@pytest.mark.parametrize("surplus", [b"\0garbage", b"HTTP/1.1 2", b"H"])
async def test_any_surplus_closes_the_connection(surplus: bytes) -> None:
    """The lean client takes the response, and no byte behind it is forgotten."""

    async def script(wire: Wire) -> None:
        await wire.answer(answer(b"%d" % wire.number) + surplus)
        await wire.gone()

    async with lean() as client, ScriptedUpstream(script) as upstream:
        assert (await client.call(upstream.address, GET, PATIENCE)).body == b"1"
        assert (await client.call(upstream.address, GET, PATIENCE)).body == b"2"


@pytest.mark.parametrize(
    ("framing", "surplus"),
    [
        (b"Content-Length: 5", b"hello"),
        (b"Content-Length: 5", b"h"),
        (b"Content-Length: 0", answer(b"of another")),
        (b"Transfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n"),
        (b"Transfer-Encoding: chunked", b"5\r\n"),
        (b"Transfer-Encoding: chunked", b"5"),
        (b"X-A: 1", b"hello"),
    ],
)
async def test_body_of_a_head_is_never_the_next_answer(framing: bytes, surplus: bytes) -> None:
    """A body that the answer to a HEAD must not have closes the connection (lean client).

    aiohttp fails the HEAD where that body is no HTTP.
    """

    async def script(wire: Wire) -> None:
        if wire.number == 1:
            await wire.answer(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n" + surplus)
            await wire.gone()
        else:
            await wire.answer(answer(b"two"))

    async with lean() as client, ScriptedUpstream(script) as upstream:
        assert (await client.call(upstream.address, HEAD, PATIENCE)).body == b""
        assert (await client.call(upstream.address, GET, PATIENCE)).body == b"two"
        assert upstream.accepted == 2


async def test_unsolicited_response_on_an_idle_connection() -> None:
    """A response that nobody asked for closes the idle connection (aiohttp hands it out)."""
    answered, closed = asyncio.Event(), asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.answer(answer(b"%d" % wire.number))
        if wire.number == 1:
            await answered.wait()
            await wire.send(answer(b"unsolicited"))
            await wire.gone()
            closed.set()

    async with (
        lean(limits=PoolLimits(idle_timeout=10 * PATIENCE)) as client,
        ScriptedUpstream(script) as upstream,
    ):
        assert (await client.call(upstream.address, GET, PATIENCE)).body == b"1"
        answered.set()
        await happens(closed)
        assert (await client.call(upstream.address, GET, PATIENCE)).body == b"2"
    assert client.counts.unsolicited == 1


async def test_connection_that_ended_while_idle(client: Calling) -> None:
    """A kept connection that the upstream has closed is not used."""
    answered, closed = asyncio.Event(), asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.answer(answer(b"%d" % wire.number))
        if wire.number == 1:
            await answered.wait()
            wire.shut()
            await wire.gone()
            closed.set()

    async with ScriptedUpstream(script) as upstream:
        assert (await client.call(upstream.address, POST, PATIENCE)).body == b"1"
        answered.set()
        await happens(closed)
        assert (await client.call(upstream.address, POST, PATIENCE)).body == b"2"


def dies_at_reuse(how: str) -> ScriptedUpstream:
    """Answers the first request of each connection; at its second the first connection dies."""

    async def script(wire: Wire) -> None:
        await wire.answer(
            b"HTTP/1.1 200 OK\r\nX-Wire: %d\r\nContent-Length: 0\r\n\r\n" % wire.number
        )
        await wire.request()
        getattr(wire, how)()

    return ScriptedUpstream(script)


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
async def test_idempotent_request_survives_the_death_of_a_kept_connection(
    client: Calling, method: str, how: str
) -> None:
    """What may be repeated is sent once more, on a fresh connection."""
    async with dies_at_reuse(how) as upstream:
        await client.call(upstream.address, GET, PATIENCE)
        response = await client.call(upstream.address, request(method), PATIENCE)
        assert (b"X-Wire", b"2") in response.headers
        assert upstream.accepted == 2


async def test_second_tries_are_counted() -> None:
    """What the client does unasked shows in its figures (aiohttp's does not tell)."""
    async with lean() as client, dies_at_reuse("close") as upstream:
        await client.call(upstream.address, GET, PATIENCE)
        await client.call(upstream.address, GET, PATIENCE)
    counts = client.counts
    assert (counts.opened, counts.reused, counts.repeated) == (2, 1, 1)


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_other_requests_are_never_repeated(client: Calling, how: str) -> None:
    """A POST may have been executed: it ends with the connection, and says so."""
    async with dies_at_reuse(how) as upstream:
        await client.call(upstream.address, GET, PATIENCE)
        with pytest.raises(ConnectionLost) as caught:
            await client.call(upstream.address, POST, PATIENCE)
        assert caught.value.sent is True
        assert upstream.accepted == 1


async def test_who_sends_a_request_has_the_say_whether_it_is_repeated() -> None:
    """Not its method: a GET may be one that must not happen twice, a POST one that may."""
    never, posted = msgspec.structs.replace(GET, again=None), request("POST", again=may_be_repeated)
    async with lean() as client, dies_at_reuse("close") as upstream:
        await client.call(upstream.address, GET, PATIENCE)
        with pytest.raises(ConnectionLost):
            await client.call(upstream.address, never, PATIENCE)
        await client.call(upstream.address, GET, PATIENCE)
        response = await client.call(upstream.address, posted, PATIENCE)
        assert (b"X-Wire", b"3") in response.headers
        assert client.counts.repeated == 1


async def test_what_is_not_to_be_repeated_now_ends_with_its_connection() -> None:
    """The answer is asked for once, when the connection is gone, and its place is free again."""
    asked: list[bool] = []

    def no() -> bool:
        asked.append(True)
        return False

    refusing = msgspec.structs.replace(GET, again=no)
    async with (
        lean(limits=PoolLimits(max_connections=1)) as client,
        dies_at_reuse("reset") as upstream,
    ):
        await client.call(upstream.address, refusing, PATIENCE)
        assert asked == []
        with pytest.raises(ConnectionLost) as caught:
            await client.call(upstream.address, refusing, PATIENCE)
        assert (caught.value.sent, asked, client.counts.repeated) == (True, [True], 0)
        await client.call(upstream.address, refusing, PATIENCE)


async def test_request_is_repeated_once_only() -> None:
    """When the fresh connection dies as well, the call has failed."""

    async def script(wire: Wire) -> None:
        if wire.number == 1:
            await wire.answer(answer(b"1"))
        await wire.request()

    async with lean() as client, ScriptedUpstream(script) as upstream:
        await client.call(upstream.address, GET, PATIENCE)
        with pytest.raises(ConnectionLost) as caught:
            await client.call(upstream.address, GET, PATIENCE)
        assert caught.value.sent is True
        assert upstream.accepted == 2


@pytest.mark.parametrize("beginning", [b"", b"HTTP/1.1 2"])
async def test_loss_of_a_fresh_connection_is_told(beginning: bytes) -> None:
    """Only kept connections are repeated on: retrying is the business of the retry policy."""
    async with lean() as client, ScriptedUpstream(once(beginning)) as upstream:
        with pytest.raises(ConnectionLost):
            await client.call(upstream.address, GET, PATIENCE)
        assert upstream.accepted == 1


async def test_begun_response_is_not_asked_for_again() -> None:
    """A kept connection that dies within the response was not dead: the call has failed."""

    async def script(wire: Wire) -> None:
        await wire.answer(answer(b"1"))
        await wire.answer(b"HTTP/1.1 2")

    async with lean() as client, ScriptedUpstream(script) as upstream:
        await client.call(upstream.address, GET, PATIENCE)
        with pytest.raises(ConnectionLost):
            await client.call(upstream.address, GET, PATIENCE)
        assert upstream.accepted == 1


async def test_early_response(client: Calling) -> None:
    """A response before the end of the request is taken, and the connection not used again."""

    async def script(wire: Wire) -> None:
        await wire.request_head()
        if wire.number == 1:
            await wire.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
            await wire.gone()
        else:
            await wire.send(answer(b"2"))

    async with ScriptedUpstream(script) as upstream:
        big = request("POST", body=bytes(32 * 1024**2))
        response = await client.call(upstream.address, big, PATIENCE)
        assert (response.status, response.body) == (413, b"no")
        assert (await client.call(upstream.address, GET, PATIENCE)).body == b"2"


async def test_limit_of_connections(make_client: ClientFactory) -> None:
    """At the limit calls wait, and are served in the order they came."""
    targets: list[bytes] = []

    async def script(wire: Wire) -> None:
        while True:
            targets.append((await wire.answer(answer(b""))).split()[1])

    async with (
        make_client(limits=PoolLimits(max_connections=1)) as client,
        ScriptedUpstream(script) as upstream,
    ):
        calls = [
            client.call(upstream.address, request(target=f"/{number}"), PATIENCE)
            for number in range(10)
        ]
        await asyncio.gather(*calls)
        assert targets == [b"/%d" % number for number in range(10)]
        assert upstream.accepted == 1


async def test_limit_of_waiting_calls(make_client: ClientFactory) -> None:
    """A call too many is refused at once, and was not sent."""
    go = asyncio.Event()

    async def script(wire: Wire) -> None:
        while True:
            await wire.request()
            await go.wait()
            await wire.send(answer(b""))

    async with (
        make_client(limits=PoolLimits(max_connections=1, max_waiting=1)) as client,
        ScriptedUpstream(script) as upstream,
    ):
        served = [client.call(upstream.address, GET, PATIENCE) for _ in range(2)]
        refused = client.call(upstream.address, GET, PATIENCE)
        with pytest.raises(TooManyCalls) as caught:
            await refused
        assert caught.value.sent is False
        assert caught.value.proxy_error is ProxyError.CONNECTION_LIMIT_REACHED
        go.set()
        await asyncio.gather(*served)


async def test_waiting_counts_against_the_timeout(make_client: ClientFactory) -> None:
    """A call that never got a connection was not sent, and leaves its place in the line."""
    go = asyncio.Event()

    async def script(wire: Wire) -> None:
        while True:
            await wire.request()
            await go.wait()
            await wire.send(answer(b""))

    async with (
        make_client(limits=PoolLimits(max_connections=1, max_waiting=1)) as client,
        ScriptedUpstream(script) as upstream,
    ):
        first = client.call(upstream.address, GET, PATIENCE)
        with pytest.raises(UpstreamTimeout) as caught:
            await client.call(upstream.address, GET, 0.05)
        assert caught.value.sent is False
        assert caught.value.proxy_error is ProxyError.CONNECTION_LIMIT_REACHED
        second = client.call(upstream.address, GET, PATIENCE)
        go.set()
        await asyncio.gather(first, second)


async def test_waiting_calls_outlive_the_connection(make_client: ClientFactory) -> None:
    """When the connection they wait for ends, the next one serves them."""
    async with (
        make_client(limits=PoolLimits(max_connections=1)) as client,
        ScriptedUpstream(
            once(answer(b"").replace(b"OK\r\n", b"OK\r\nConnection: close\r\n"))
        ) as up,
    ):
        calls = [client.call(up.address, GET, PATIENCE) for _ in range(5)]
        assert {response.status for response in await asyncio.gather(*calls)} == {200}
        assert up.accepted == 5


async def test_cancelling_closes_the_connection(client: Calling) -> None:
    """The rest of an abandoned exchange can't reach the next one."""
    asked, closed = asyncio.Event(), asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        if wire.number == 1:
            asked.set()
            await wire.gone()
            closed.set()
        else:
            await wire.send(answer(b"2"))

    async with ScriptedUpstream(script) as upstream:
        call = client.call(upstream.address, GET, PATIENCE)
        await happens(asked)
        assert call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await happens(closed)
        assert (await client.call(upstream.address, GET, PATIENCE)).body == b"2"


async def test_cancelling_a_waiting_call(make_client: ClientFactory) -> None:
    """It leaves the line, and those behind it are served."""
    go = asyncio.Event()

    async def script(wire: Wire) -> None:
        while True:
            await wire.request()
            await go.wait()
            await wire.send(answer(b""))

    async with (
        make_client(limits=PoolLimits(max_connections=1)) as client,
        ScriptedUpstream(script) as upstream,
    ):
        calls = [client.call(upstream.address, GET, PATIENCE) for _ in range(3)]
        await happens(upstream.first_accepted)
        calls[1].cancel()
        go.set()
        await asyncio.gather(calls[0], calls[2])
        assert calls[1].cancelled()


async def test_cancelling_while_connecting(make_client: ClientFactory) -> None:
    """A call that is given up while its connection opens takes nobody's place."""
    async with (
        make_client(limits=PoolLimits(max_connections=1)) as client,
        ScriptedUpstream(always(answer(b"ok"))) as upstream,
    ):
        for _ in range(3):
            call = client.call(upstream.address, GET, PATIENCE)
            await asyncio.sleep(0)
            call.cancel()
        assert (await client.call(upstream.address, GET, PATIENCE)).body == b"ok"


async def test_refused_connection(client: Calling) -> None:
    """Nobody listens: the call fails at once and was not sent."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = Address("http", "127.0.0.1", unused.getsockname()[1])
        with pytest.raises(ConnectFailed) as caught:
            await client.call(address, GET, PATIENCE)
    assert caught.value.sent is False


async def test_refused_connections_fail_those_who_wait(make_client: ClientFactory) -> None:
    """A line before a dead upstream does not stand until its timeouts."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = Address("http", "127.0.0.1", unused.getsockname()[1])
        async with make_client(limits=PoolLimits(max_connections=2)) as client:
            calls = [client.call(address, GET, PATIENCE) for _ in range(10)]
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {ConnectFailed}


async def test_idle_connections_expire(make_client: ClientFactory) -> None:
    """A connection that nobody needs is closed by the client."""
    closed = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.answer(answer(b""))
        await wire.gone()
        closed.set()

    async with (
        make_client(limits=PoolLimits(idle_timeout=0.05)) as client,
        ScriptedUpstream(script) as upstream,
    ):
        await client.call(upstream.address, GET, PATIENCE)
        await happens(closed)


async def test_leaving_ends_what_is_under_way(make_client: ClientFactory) -> None:
    """Calls end in ConnectionLost, connections are closed, later calls are refused."""
    asked, closed = asyncio.Event(), asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        asked.set()
        await wire.gone()
        closed.set()

    async with ScriptedUpstream(script) as upstream:
        async with make_client(limits=PoolLimits(max_connections=1)) as client:
            under_way = client.call(upstream.address, GET, PATIENCE)
            waiting = client.call(upstream.address, GET, PATIENCE)
            await happens(asked)
        outcomes = await asyncio.gather(under_way, waiting, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [ConnectionLost, ConnectionLost]
        assert [getattr(outcome, "sent", None) for outcome in outcomes] == [True, False]
        with pytest.raises(ConnectFailed):
            await client.call(upstream.address, GET, PATIENCE)
        await happens(closed)


async def test_leaving_while_connecting(make_client: ClientFactory) -> None:
    """A call whose connection is being opened ends too, and was not sent."""
    async with ScriptedUpstream(always(answer(b""))) as upstream:
        async with make_client() as client:
            call = client.call(upstream.address, GET, PATIENCE)
            await asyncio.sleep(0)
        with pytest.raises(ConnectionLost) as caught:
            await call
        assert caught.value.sent is False


async def test_closing_connection_is_not_used() -> None:
    """A POST is not lost to a connection that is about to be closed."""

    async def script(wire: Wire) -> None:
        await wire.answer(answer(b"%d" % wire.number))
        await wire.gone()

    async with lean() as client, ScriptedUpstream(script) as upstream:
        await client.call(upstream.address, GET, PATIENCE)
        [connection] = pools(client)[upstream.address]._idle
        connection._transport.abort()
        assert (await client.call(upstream.address, POST, PATIENCE)).body == b"2"


async def test_connection_that_opens_too_late_is_kept() -> None:
    """When its call has just been given up, it serves another."""
    async with (
        lean(limits=PoolLimits(max_connections=1)) as client,
        ScriptedUpstream(always(answer(b"ok"))) as upstream,
    ):
        late = cast(Exchange, client.call(upstream.address, GET, PATIENCE))
        late.abandon = None  # as if the connection had opened in this very moment
        late.cancel()
        assert (await client.call(upstream.address, GET, PATIENCE)).body == b"ok"
        assert (client.counts.opened, client.counts.reused) == (1, 1)


async def test_finished_call_can_be_cancelled_without_effect(client: Calling) -> None:
    """Cancelling too late leaves the response and the connection alone."""
    async with ScriptedUpstream(always(answer(b"ok"))) as upstream:
        call = client.call(upstream.address, GET, PATIENCE)
        assert (await call).body == b"ok"
        assert not call.cancel()
        await client.call(upstream.address, GET, PATIENCE)
        assert upstream.accepted == 1


async def test_callers_share_nothing(make_client: ClientFactory) -> None:
    """Two services at one address have connections, limits and queues of their own."""
    go = asyncio.Event()

    async def script(wire: Wire) -> None:
        while True:
            await wire.request()
            await go.wait()
            await wire.send(answer(b"%d" % wire.number))

    async with (
        make_client(limits=PoolLimits(max_connections=1, max_waiting=0)) as client,
        ScriptedUpstream(script) as upstream,
    ):
        other = client.client.caller(UpstreamOptions(PoolLimits(max_connections=1)))
        calls = [
            caller.call(upstream.address, GET, PATIENCE) for caller in (client.caller, other, other)
        ]
        with pytest.raises(TooManyCalls):
            await client.call(upstream.address, GET, PATIENCE)
        go.set()
        await asyncio.gather(*calls)
        assert upstream.accepted == 2


async def test_equal_options_have_one_caller(make_client: ClientFactory) -> None:
    """A service whose options stay keeps its connections."""
    async with make_client() as client:
        assert client.client.caller(UpstreamOptions(PoolLimits())) is client.caller


async def test_caller_that_nobody_holds_is_forgotten() -> None:
    """After a change of options the old caller goes, and its connections expire."""
    closed = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.answer(answer(b""))
        await wire.gone()
        closed.set()

    async with lean() as client, ScriptedUpstream(script) as upstream:
        old = client.client.caller(UpstreamOptions(PoolLimits(idle_timeout=0.05)))
        await old.call(upstream.address, GET, PATIENCE)
        del old
        await happens(closed)
        async with asyncio.timeout(PATIENCE):
            while len(client.client._callers) > 1:  # noqa: ASYNC110 - as below
                await asyncio.sleep(0.01)
        assert list(client.client._callers) == [client.options]


async def test_addresses_are_forgotten() -> None:
    """Nothing remains of an upstream that is not called any more."""
    async with (
        lean(limits=PoolLimits(idle_timeout=0.05)) as client,
        ScriptedUpstream(always(answer(b""))) as upstream,
    ):
        await client.call(upstream.address, GET, PATIENCE)
        assert pools(client)
        async with asyncio.timeout(PATIENCE):
            while pools(client):  # noqa: ASYNC110 - the client's own timer does it, unseen
                await asyncio.sleep(0.01)
