"""The server over real sockets, byte for byte."""

import asyncio
import logging
import os
import socket
from collections.abc import Callable

import pytest

from broker.problems import ProblemType
from config.models.gateway import Limits
from ingress.problems import Refused
from ingress.request import Request, Response
from ingress.server import Server
from ingress.server_state import ServerListener
from tests.unit.ingress.raw_http import PATIENCE, Gate, RawClient, Recorder, serving

GET = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


class Heard(ServerListener):
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.refusals: list[ProblemType] = []
        self.left = 0

    def refused(self, problem_type: ProblemType) -> None:
        self.refusals.append(problem_type)

    def client_left(self) -> None:
        self.left += 1


async def gone(server: Server) -> None:
    """Wait until no connection is left."""
    async with asyncio.timeout(PATIENCE):
        await server.all_gone()


# --- responses ----------------------------------------------------------------------------------


async def test_header_fields_go_out_as_given() -> None:
    """Order, duplicates and spelling stay; nothing is added but Date and framing."""
    fields = ((b"set-Cookie", b"a=1"), (b"X-B", b""), (b"Set-Cookie", b"b=\xff"))

    async def handle(request: Request) -> Response:
        return Response(200, fields, b"hello", b"Very Well")

    async with serving(handle) as running, running.client() as client:
        await client.send(GET % b"/")
        answer = await client.answer()
        assert answer.body == b"hello"
        assert answer.lines[:3] == [b"set-Cookie: a=1", b"X-B: ", b"Set-Cookie: b=\xff"]
        assert [name for name, _ in answer.pairs[3:]] == [b"Date", b"Content-Length"]


async def test_keep_alive_and_close() -> None:
    """HTTP/1.1 persists until somebody says close; then the connection ends."""
    recorder = Recorder()
    async with serving(recorder) as running, running.client() as client:
        for _ in range(3):
            assert (await client.ask(GET % b"/")).get(b"Connection") is None
        answer = await client.ask(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert answer.get(b"Connection") == b"close"
        assert await client.rest() == b""
        assert len(recorder.requests) == 4


async def test_the_handler_may_close() -> None:
    """A response can end its connection."""

    async def handle(request: Request) -> Response:
        return Response(200, (), b"x", close=True)

    async with serving(handle) as running, running.client() as client:
        assert (await client.ask(GET % b"/")).get(b"Connection") == b"close"
        assert await client.rest() == b""


async def test_http10() -> None:
    """It needs no Host, ends after an answer, and persists on demand."""
    async with serving(Recorder()) as running:
        async with running.client() as client:
            answer = await client.ask(b"GET / HTTP/1.0\r\n\r\n")
            assert answer.get(b"Connection") == b"close"
            assert await client.rest() == b""
        async with running.client() as client:
            keep = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
            assert (await client.ask(keep)).get(b"Connection") == b"keep-alive"
            assert (await client.ask(keep)).status == 200


async def test_answers_without_a_body() -> None:
    """HEAD, 204 and 304 have no body, and leave the connection in step."""
    responses = iter(
        (
            Response(200, ((b"Content-Length", b"77"),)),
            Response(204, ()),
            Response(304, ((b"Content-Length", b"77"),)),
            Response(200, (), b"end"),
        )
    )

    async def handle(request: Request) -> Response:
        return next(responses)

    async with serving(handle) as running, running.client() as client:
        answer = await client.ask(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert answer.get(b"Content-Length") == b"77"
        assert (await client.ask(GET % b"/")).get(b"Content-Length") is None
        assert (await client.ask(GET % b"/")).get(b"Content-Length") == b"77"
        assert (await client.ask(GET % b"/")).body == b"end"


async def test_a_failing_handler(caplog: pytest.LogCaptureFixture) -> None:
    """A bug is a 500 that shows nothing of it, and is logged; the connection goes on."""

    async def handle(request: Request) -> Response:
        raise RuntimeError("the secret")

    with caplog.at_level(logging.ERROR):
        async with serving(handle) as running, running.client() as client:
            answer = await client.ask(GET % b"/")
            assert (answer.status, answer.problem["executed"]) == (500, "unknown")
            assert b"secret" not in answer.body
            assert (await client.ask(GET % b"/")).status == 500
    assert "the secret" in caplog.text


async def test_a_response_can_not_be_split() -> None:
    """A line end in a header field never reaches the client."""

    async def handle(request: Request) -> Response:
        return Response(200, ((b"X", b"1\r\nSet-Cookie: evil=1"),))

    async with serving(handle) as running, running.client() as client:
        answer = await client.ask(GET % b"/")
        assert answer.status == 500
        assert answer.values(b"Set-Cookie") == []


async def test_a_refusal_of_the_handler() -> None:
    """What it raises is answered with the path, without the query, and with the client's id."""

    async def handle(request: Request) -> Response:
        raise Refused(ProblemType.METHOD_NOT_ALLOWED, "No.", headers=((b"Allow", b"PUT"),))

    async with serving(handle) as running, running.client() as client:
        answer = await client.ask(b"GET /a?secret HTTP/1.1\r\nHost: a\r\nX-Request-ID: me\r\n\r\n")
        assert answer.status == 405
        assert answer.get(b"Allow") == b"PUT"
        assert (answer.problem["instance"], answer.problem["request_id"]) == ("/a", "me")


async def test_a_handler_that_is_cancelled_from_elsewhere() -> None:
    """No client waits for an answer that will not come."""

    async def handle(request: Request) -> Response:
        raise asyncio.CancelledError

    async with serving(handle) as running, running.client() as client:
        await client.send(GET % b"/")
        assert await client.rest() == b""


async def test_a_slow_reader_gets_all_of_it() -> None:
    """A large answer waits for its reader, and the next request waits for the answer."""
    size = 8_000_000

    async def handle(request: Request) -> Response:
        return Response(200, (), b"x" * size if request.target == "/large" else b"next")

    async with serving(handle) as running, running.client() as client:
        await client.send(GET % b"/large" + GET % b"/small")
        assert len((await client.answer()).body) == size
        assert (await client.answer()).body == b"next"


async def test_a_reader_that_stalls_is_cut_off() -> None:
    """An answer that nobody reads does not stay for ever."""

    async def handle(request: Request) -> Response:
        return Response(200, (), b"x" * 50_000_000)

    async with serving(handle, keepalive_timeout=0.2) as running, running.client() as client:
        await client.send(GET % b"/")
        assert (await client.head()).status == 200
        await gone(running.server)


# --- requests -----------------------------------------------------------------------------------


async def test_what_the_handler_sees() -> None:
    """Method, target, raw header pairs, lookup, the peer's address and the body."""
    recorder = Recorder()
    async with serving(recorder) as running, running.client() as client:
        head = b"PUT /a%2f?b HTTP/1.1\r\nHost: h\r\nx-Y:  1 \r\nX-y: 2\r\nContent-Length: 3\r\n\r\n"
        await client.ask(head + b"abc")
    request, body = recorder.only
    assert (request.method, request.target, body) == ("PUT", "/a%2f?b", b"abc")
    assert request.raw_headers[1:3] == ((b"x-Y", b"1"), (b"X-y", b"2"))
    assert request.headers.get("X-Y") == "1"
    assert request.peer == "127.0.0.1"


async def test_a_request_in_pieces() -> None:
    """It makes no difference how the network cuts a request."""
    recorder = Recorder()
    data = CHUNKED + b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: 1\r\n\r\n"
    async with serving(recorder) as running, running.client() as client:
        for at in range(len(data)):
            await client.send(data[at : at + 1])
            await asyncio.sleep(0)
        assert (await client.answer()).body == b"[abcde]"
        assert recorder.only[0].headers.get("T") is None


async def test_pipelining_in_order() -> None:
    """Requests that come together are answered one after the other, bodies and all."""
    async with serving(Recorder()) as running, running.client() as client:
        one = POST + b"Content-Length: 1\r\n\r\n1"
        two = CHUNKED + b"1\r\n2\r\n0\r\n\r\n"
        await client.send(one + two + GET % b"/" + one + b"\r\n" + two)
        bodies = [(await client.answer()).body for _ in range(5)]
        assert bodies == [b"[1]", b"[2]", b"[]", b"[1]", b"[2]"]


async def test_pipelined_requests_wait_in_the_client() -> None:
    """A client can't pile up requests here: what is too much stays with it, and is served later."""
    gate = Gate()
    count = 10_000
    async with serving(gate) as running, running.client() as client:
        sending = asyncio.create_task(client.send((GET % b"/".ljust(2000, b"x")) * count))
        await gate.arrived()
        await asyncio.sleep(0.1)  # time to take in too much, if it did
        assert not sending.done()
        gate.opened.set()
        for _ in range(count):
            assert (await client.answer()).status == 200
        await sending


async def test_nothing_is_served_behind_a_malformed_request() -> None:
    """After a 400 the connection is dead, whatever follows in it."""
    recorder = Recorder()
    async with serving(recorder) as running, running.client() as client:
        await client.send(GET % b"/1" + b"BAD\r\n\r\n" + GET % b"/2")
        assert (await client.answer()).status == 200
        assert (await client.answer()).status == 400
        assert await client.rest() == b""
    assert recorder.only[0].target == "/1"


async def test_data_behind_the_last_request() -> None:
    """A body on a request that says it has none, and that it is the last: 400."""
    async with serving(Recorder()) as running, running.client() as client:
        data = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nabc"
        assert (await client.refused(data)).status == 400


async def test_options_of_the_server() -> None:
    """OPTIONS * is answered by the server itself."""
    recorder = Recorder()
    async with serving(recorder) as running, running.client() as client:
        answer = await client.ask(b"OPTIONS * HTTP/1.1\r\nHost: a\r\nX-Request-ID: me\r\n\r\n")
        assert (answer.status, answer.get(b"X-Request-ID")) == (204, b"me")
        assert b"GET" in (answer.get(b"Allow") or b"")
    assert recorder.requests == []


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", 417),
        (b"GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 421),
        (b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),
        (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    ],
)
async def test_refusals_are_problems(data: bytes, status: int) -> None:
    """The server's own answers are problems with an id, end the connection, and are counted."""
    heard = Heard()
    async with serving(Recorder(), listener=heard) as running, running.client() as client:
        assert (await client.refused(data)).status == status
    assert [kind.status for kind in heard.refusals] == [status]


# --- bodies -------------------------------------------------------------------------------------


async def test_a_large_body_is_refused_by_its_length() -> None:
    """413 comes before the body does; the client gets to read it."""
    async with serving(Recorder(limit=100_000)) as running, running.client() as client:
        answer = await client.ask(POST + b"Content-Length: 100001\r\n\r\n")
        assert answer.status == 413
        assert answer.get(b"Connection") == b"close"
        await client.send(b"x" * 100_001)
        assert await client.rest() == b""


@pytest.mark.parametrize("body", [b"4\r\nabcd\r\n4\r\nefgh\r\n", b"9\r\n", b"ffffffffffff\r\n"])
async def test_a_large_chunked_body_is_counted(body: bytes) -> None:
    """413 comes with the chunk that is too much, before its data."""
    async with serving(Recorder(limit=7)) as running, running.client() as client:
        answer = await client.ask(CHUNKED + body)
        assert answer.status == 413
        assert await client.rest() == b""


async def test_the_largest_body() -> None:
    """The limit itself is allowed, and passes whole."""
    async with serving(Recorder(limit=300_000)) as running, running.client() as client:
        content = os.urandom(300_000)
        answer = await client.ask(POST + b"Content-Length: 300000\r\n\r\n" + content)
        assert answer.body == b"[" + content + b"]"


async def test_malformed_chunks_while_the_body_is_read() -> None:
    """The reader of the body hears of it, the client gets a 400, and nothing follows."""
    recorder = Recorder()
    async with serving(recorder) as running, running.client() as client:
        await client.send(CHUNKED + b"3\r\nabc\r\n")
        await client.send(b"oops\r\n" + GET % b"/2")
        answer = await client.answer()
        assert answer.status == 400
        assert answer.problem["executed"] == "no"
        assert await client.rest() == b""
    assert recorder.requests == []


async def refuse(request: Request) -> Response:
    """Answer without a look at the body."""
    return Response(401, (), b"no")


async def test_a_small_body_that_nobody_reads() -> None:
    """It is dropped as it comes, and the connection goes on."""
    async with serving(refuse) as running, running.client() as client:
        assert (await client.ask(POST + b"Content-Length: 5\r\n\r\nab")).status == 401
        assert (await client.ask(b"cde" + GET % b"/")).status == 401
        assert (await client.ask(POST + b"Content-Length: 5\r\n\r\nabcde")).status == 401
        assert (await client.ask(GET % b"/")).status == 401


async def test_a_body_that_nobody_reads_behind_a_large_answer() -> None:
    """However the answer flows, the rest of the body is never taken for a request."""

    async def handle(request: Request) -> Response:
        return Response(401, (), b"x" * 8_000_000)

    async with serving(handle) as running, running.client() as client:
        await client.send(POST + b"Content-Length: 40\r\n\r\nab")
        assert len((await client.answer()).body) == 8_000_000
        assert (await client.ask(b"x" * 38 + GET % b"/")).status == 401


async def test_a_large_body_that_nobody_reads() -> None:
    """The answer is there to be read, though the client goes on sending; then it is over."""
    async with serving(refuse) as running, running.client() as client:
        await client.send(POST + b"Content-Length: 9000000\r\n\r\n" + b"x" * 500_000)
        assert (await client.answer()).get(b"Connection") == b"close"
        await client.send(b"x" * 500_000)
        assert await client.rest() == b""


async def test_a_body_waits_in_the_client_until_it_is_wanted() -> None:
    """What is sent before anybody reads it is bounded."""
    gate = Gate()

    async def handle(request: Request) -> Response:
        await gate(request)
        return Response(200, (), b"%d" % len(await request.read_body(50_000_000)))

    async with serving(handle) as running, running.client() as client:
        data = POST + b"Content-Length: 30000000\r\n\r\n" + b"x" * 30_000_000
        sending = asyncio.create_task(client.send(data))
        await gate.arrived()
        await asyncio.sleep(0.1)  # time to take in too much, if it did
        assert not sending.done()
        gate.opened.set()
        assert (await client.answer()).body == b"30000000"
        await sending


async def test_100_continue() -> None:
    """It is sent when the body is wanted."""
    async with serving(Recorder()) as running, running.client() as client:
        await client.send(POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert (await client.head()).status == 100
        assert (await client.ask(b"abc")).body == b"[abc]"
        assert (await client.ask(GET % b"/")).status == 200


async def test_100_continue_is_not_sent_in_vain() -> None:
    """Not for a body that is refused, nor for one that is not wanted, nor for one that is here."""
    head = POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n"
    async with serving(Recorder(limit=2)) as running, running.client() as client:
        assert (await client.ask(head)).status == 413
        assert await client.rest() == b""
    async with serving(refuse) as running, running.client() as client:
        assert (await client.ask(head)).status == 401
        assert await client.rest() == b""
    async with serving(Recorder()) as running, running.client() as client:
        assert (await client.ask(head + b"abc")).status == 200


# --- time and room ------------------------------------------------------------------------------


async def test_a_head_that_does_not_come() -> None:
    """408 and the end, however slowly it drips: no byte buys more time."""
    async with serving(Recorder(), header_timeout=0.3) as running, running.client() as client:

        async def drip() -> None:
            await client.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
            while True:
                await client.send(b"y")
                await asyncio.sleep(0.01)

        dripping = asyncio.create_task(drip())
        answer = await client.answer()
        dripping.cancel()
        assert (answer.status, answer.get(b"Connection")) == (408, b"close")
        assert answer.problem


async def test_a_head_that_stops_behind_another_request() -> None:
    """The time for a head runs from its first byte, or from the answer before it."""
    async with serving(Recorder(), header_timeout=0.2) as running, running.client() as client:
        await client.send(GET % b"/" + b"GET / HT")
        assert (await client.answer()).status == 200
        assert (await client.answer()).status == 408


async def test_a_body_that_does_not_come() -> None:
    """408, for whoever waits for the body."""
    async with serving(Recorder(), body_timeout=0.2) as running, running.client() as client:
        answer = await client.ask(POST + b"Content-Length: 3\r\n\r\nab")
        assert (answer.status, answer.get(b"Connection")) == (408, b"close")
        assert await client.rest() == b""


async def test_time_does_not_run_while_a_request_is_handled() -> None:
    """Neither limit concerns a handler that thinks."""
    gate = Gate()
    async with (
        serving(gate, header_timeout=0.05, body_timeout=0.05, keepalive_timeout=0.05) as running,
        running.client() as client,
    ):
        await client.send(POST + b"Content-Length: 3\r\n\r\nabc")
        await gate.arrived()
        await asyncio.sleep(0.3)  # long after all limits
        gate.opened.set()
        assert (await client.answer()).status == 200


async def test_idle_connections_end_silently() -> None:
    """One that was never used, and one that was."""
    async with serving(Recorder(), keepalive_timeout=0.2) as running:
        async with running.client() as client:
            assert await client.rest() == b""
        async with running.client() as client:
            assert (await client.ask(GET % b"/")).status == 200
            assert await client.rest() == b""


async def test_the_header_limits() -> None:
    """431 and 414 come as soon as it is too much, not only at the end of the head."""
    async with serving(Recorder(), max_header_bytes=1000, max_header_count=10) as running:
        for data, status in (
            (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 2000, 431),
            (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 12, 431),
            (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 2000 + b"\r\n\r\n", 431),
            (b"GET /" + b"y" * 9000, 414),
            (GET % (b"/" + b"y" * 8192), 414),
        ):
            async with running.client() as client:
                assert (await client.refused(data)).status == status


async def test_other_limits_from_now_on() -> None:
    """A running server takes a change of its limits."""
    async with serving(Recorder()) as running, running.client() as client:
        data = b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n"
        assert (await client.ask(data)).status == 200
        running.server.set_limits(Limits(max_header_count=1))
        assert (await client.refused(data)).status == 431


async def test_too_many_connections() -> None:
    """One more than allowed is turned away, and has its place when another leaves."""
    heard = Heard()
    async with serving(Recorder(), listener=heard, max_connections=2) as running:
        async with running.client() as first, running.client() as second:
            assert (await first.ask(GET % b"/")).status == 200
            assert (await second.ask(GET % b"/")).status == 200
            async with running.client() as third:
                answer = await third.answer()
                assert answer.status == 503
                assert answer.get(b"Retry-After") == b"1"
                assert answer.problem["type"] == "/problems/too-many-connections"
                assert await third.rest() == b""
            assert running.server.connections == 2
        await gone(running.server)
        async with running.client() as fourth:
            assert (await fourth.ask(GET % b"/")).status == 200
    assert heard.refusals == [ProblemType.TOO_MANY_CONNECTIONS]


# --- leaving ------------------------------------------------------------------------------------


@pytest.mark.parametrize("leave", [RawClient.reset, RawClient.end_sending])
async def test_clients_that_leave(leave: Callable[[RawClient], None]) -> None:
    """Their requests are cancelled and counted, and nothing of them stays: 300 times."""
    gate, heard = Gate(), Heard()
    async with serving(gate, listener=heard) as running:
        for _ in range(300):
            async with running.client() as client:
                await client.send(GET % b"/")
                await gate.arrived()
                assert running.server.requests == 1
                leave(client)
                await gone(running.server)
    assert (gate.cancelled, heard.left) == (300, 300)


async def test_a_client_that_leaves_in_its_body() -> None:
    """Whoever waits for the body is cancelled."""
    heard = Heard()
    async with serving(Recorder(), listener=heard) as running, running.client() as client:
        await client.send(POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert (await client.head()).status == 100
        client.reset()
        await gone(running.server)
    assert heard.left == 1


async def test_leaving_the_server() -> None:
    """Leaving its context closes the listener and every connection, and cancels what runs."""
    gate = Gate()
    async with serving(gate) as running:
        port = running.server.port
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET % b"/")
        await gate.arrived()
    assert gate.cancelled == 1
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    writer.close()


async def test_an_inherited_socket() -> None:
    """A socket that listens already, as several processes share it."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        async with (
            Server(Recorder(), Limits(), sock=sock.dup()) as one,
            Server(Recorder(), Limits(), sock=sock.dup()) as other,
        ):
            assert one.port == other.port == sock.getsockname()[1]
            _, writer = await asyncio.open_connection("127.0.0.1", one.port)
            writer.close()


async def test_an_empty_line_in_pieces_is_forgiven_too() -> None:
    """How the network cuts a request does not decide whether it is good."""
    handler = Recorder()
    async with serving(handler) as running, running.client() as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        await client.answer()
        [connection] = running.server._state.connections
        for piece in (b"\r", b"\n", b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"):
            connection.data_received(piece)  # as the transport would, one by one
        assert (await client.answer()).status == 200
