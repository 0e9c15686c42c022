"""Probes of real servers that behave well and badly."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio

from tests.processes import free_port
from workers.probe import HttpProbe, Outcome

PATIENCE = 30.0  # seconds: a probe that is to end by itself


class Server:
    """Answers every connection with the same bytes, then leaves it open."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.heads: list[bytes] = []
        self.open = 0
        self.most = 0
        self.closed = asyncio.Event()
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            self.heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(self.answer)
            await reader.read()  # until the client closes
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            self.closed.set()
            writer.close()


@asynccontextmanager
async def serving(answer: bytes) -> AsyncIterator[Server]:
    server = Server(answer)
    async with await asyncio.start_server(server.serve, "127.0.0.1") as listening:
        server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        yield server


@pytest_asyncio.fixture
async def probe() -> AsyncIterator[HttpProbe]:
    async with HttpProbe() as probe:
        yield probe


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Outcome.PASSED),
        (b"HTTP/1.1 204 No Content\r\n\r\n", Outcome.PASSED),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\nx", Outcome.PASSED),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\nno gzip", Outcome.PASSED),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", Outcome.STATUS),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", Outcome.STATUS),
        (b"HTTP/1.1 500 Sick\r\nContent-Length: 0\r\n\r\n", Outcome.STATUS),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", Outcome.UNREACHABLE),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", Outcome.UNREACHABLE),
    ],
)
async def test_only_2xx_passes(probe: HttpProbe, answer: bytes, expected: Outcome) -> None:
    """The head of the answer decides, and the connection is closed with the body unread."""
    async with serving(answer) as server:
        assert await probe(server.url + "/health?deep=1", PATIENCE) is expected
        await server.closed.wait()
    assert server.heads[0].startswith(b"GET /health?deep=1 HTTP/1.1\r\n")


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nX-Endless: "])
async def test_silence_is_a_timeout(probe: HttpProbe, answer: bytes) -> None:
    """An answer that does not come, or not to its end, is given up, and its connection closed."""
    async with serving(answer) as server:
        assert await probe(server.url + "/health", 0.05) is Outcome.TIMEOUT
        await server.closed.wait()


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid", "a..b"])
async def test_nobody_there(probe: HttpProbe, host: str) -> None:
    """A port that is closed, and a name that nobody has."""
    assert await probe(f"http://{host}:{free_port()}/health", PATIENCE) is Outcome.UNREACHABLE


async def test_the_path_is_sent_as_it_is_written(probe: HttpProbe) -> None:
    """Nothing is encoded or decoded on the way."""
    async with serving(b"HTTP/1.1 200 OK\r\n\r\n") as server:
        await probe(server.url + "/a%2Fb;c=%7e", PATIENCE)
    assert server.heads[0].startswith(b"GET /a%2Fb;c=%7e HTTP/1.1\r\n")


async def test_each_probe_has_a_connection_of_its_own(probe: HttpProbe) -> None:
    """Though the server would keep it: what is to be shown is that it still takes new ones."""
    async with serving(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as server:
        for _ in range(3):
            assert await probe(server.url + "/health", PATIENCE) is Outcome.PASSED
    assert len(server.heads) == 3


async def test_so_many_at_once_and_no_more() -> None:
    """Others wait for their turn, and have their whole timeout then."""
    async with serving(b"HTTP/1.1 200 OK\r\n\r\n") as server, HttpProbe(at_once=2) as probe:
        probes = (probe(server.url + "/health", PATIENCE) for _ in range(20))
        assert set(await asyncio.gather(*probes)) == {Outcome.PASSED}
        assert len(server.heads) == 20
        assert server.most <= 3  # a connection may be seen to end a moment after the next begins


async def test_a_probe_that_is_broken_off_leaves_nothing_behind() -> None:
    """Its connection is closed, and its turn is another's."""
    async with serving(b"") as server, HttpProbe(at_once=1) as probe:
        asking = asyncio.create_task(probe(server.url + "/health", PATIENCE))
        while not server.heads:  # noqa: ASYNC110 - the server has no event for this
            await asyncio.sleep(0.01)
        asking.cancel()
        await server.closed.wait()
        server.answer = b"HTTP/1.1 200 OK\r\n\r\n"
        assert await probe(server.url + "/health", PATIENCE) is Outcome.PASSED
