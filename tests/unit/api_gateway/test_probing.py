"""Probes of real servers that behave well and badly."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from api_gateway.probing import FoundAlone, FoundByDispatcher, Probing
from config.models.services import Service
from dispatcher.discovery.embedded_registry import EmbeddedRegistry
from dispatcher.discovery.registration import Lease
from dispatcher.service_discovery import instance_at
from dispatcher.tls import TlsContexts
from tests.dns_server import DnsServer
from tests.integration.upstreams.authority import (
    YESTERDAY,
    demanding,
    plain_spoken,
    server_context,
    write_authority,
    write_certificate,
)
from tests.processes import free_port
from workers.probe import Outcome, Result

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
async def serving(answer: bytes, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server(answer)
    async with await asyncio.start_server(server.serve, "127.0.0.1", ssl=tls) as listening:
        scheme = "https" if tls else "http"
        server.url = f"{scheme}://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        yield server


def service(**options: object) -> Service:
    return Service.model_validate({"name": "users", "base_url": "http://unused", **options})


def probing(at_once: int = 256) -> Probing:
    return Probing(FoundByDispatcher(lambda name: ()), TlsContexts(), at_once)


async def result(
    url: str, timeout: float = PATIENCE, path: str = "/health", by: Probing | None = None
) -> Result:
    return await (by or probing()).probe(service(), instance_at(url), path, timeout)


async def ask(
    url: str, timeout: float = PATIENCE, path: str = "/health", by: Probing | None = None
) -> Outcome:
    return (await result(url, timeout, path, by)).outcome


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Outcome.PASSED),
        (b"HTTP/1.1 204 No Content\r\n\r\n", Outcome.PASSED),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\nx", Outcome.PASSED),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\nno gzip", Outcome.PASSED),
        (b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", Outcome.PASSED),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", Outcome.STATUS),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", Outcome.STATUS),
        (b"HTTP/1.1 500 Sick\r\nContent-Length: 0\r\n\r\n", Outcome.STATUS),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", Outcome.UNREACHABLE),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", Outcome.UNREACHABLE),
        (b"RTSP/1.0 200 OK\r\n\r\n", Outcome.UNREACHABLE),
        (b"HTTP/1.1 200 O\0K\r\n\r\n", Outcome.UNREACHABLE),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", Outcome.UNREACHABLE),
    ],
)
async def test_only_2xx_passes(answer: bytes, expected: Outcome) -> None:
    """The head of the answer decides, and the connection is closed with the body unread."""
    async with serving(answer) as server:
        assert await ask(server.url, path="/health?deep=1") is expected
        await server.closed.wait()
    assert server.heads[0].startswith(b"GET /health?deep=1 HTTP/1.1\r\n")


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nX-Endless: "])
async def test_silence_is_a_timeout(answer: bytes) -> None:
    """An answer that does not come, or not to its end, is given up, and its connection closed."""
    async with serving(answer) as server:
        assert await ask(server.url, 0.05) is Outcome.TIMEOUT
        await server.closed.wait()


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid", "a..b"])
async def test_nobody_there(host: str) -> None:
    """A port that is closed, and a name that nobody has."""
    assert await ask(f"http://{host}:{free_port()}") is Outcome.UNREACHABLE


async def test_the_path_is_sent_as_it_is_written() -> None:
    """Nothing is encoded or decoded on the way."""
    async with serving(b"HTTP/1.1 200 OK\r\n\r\n") as server:
        await ask(server.url + "/base/", path="/a%2Fb;c=%7e")
    assert server.heads[0].startswith(b"GET /base/a%2Fb;c=%7e HTTP/1.1\r\n")


async def test_each_probe_has_a_connection_of_its_own() -> None:
    """Though the server would keep it: what is to be shown is that it still takes new ones."""
    async with serving(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as server:
        for _ in range(3):
            assert await ask(server.url) is Outcome.PASSED
    assert len(server.heads) == 3


async def test_so_many_at_once_and_no_more() -> None:
    """Others wait for their turn, and have their whole timeout then."""
    async with serving(b"HTTP/1.1 200 OK\r\n\r\n") as server:
        by = probing(at_once=2)
        probes = (ask(server.url, by=by) for _ in range(20))
        assert set(await asyncio.gather(*probes)) == {Outcome.PASSED}
        assert len(server.heads) == 20
        assert server.most <= 3  # a connection may be seen to end a moment after the next begins


async def test_a_probe_that_is_broken_off_leaves_nothing_behind() -> None:
    """Its connection is closed, and its turn is another's."""
    async with serving(b"") as server:
        by = probing(at_once=1)
        asking = asyncio.create_task(ask(server.url, by=by))
        while not server.heads:  # noqa: ASYNC110 - the server has no event for this
            await asyncio.sleep(0.01)
        asking.cancel()
        await server.closed.wait()
        server.answer = b"HTTP/1.1 200 OK\r\n\r\n"
        assert await ask(server.url, by=by) is Outcome.PASSED


async def test_connecting_has_the_time_that_calls_have() -> None:
    """An instance that calls would give up before TLS stands is not well, whatever time is left."""
    quick = service(base_url="https://unused", connections={"connect_timeout": 0.05})
    async with serving(b"") as server:
        instance = instance_at(server.url.replace("http", "https"))
        asked = await probing().probe(quick, instance, "/", PATIENCE)
        assert asked.outcome is Outcome.TIMEOUT
        assert asked.detail == f"no connection to {instance.name} within 0.05 s"
        await server.closed.wait()


async def test_by_the_tls_that_calls_have(tmp_path: Path) -> None:
    """Authority, client certificate and name are of the service; the system's else; kept files."""
    authority = trustme.CA()
    ca = write_authority(authority, tmp_path / "ca.pem")
    own, key = write_certificate(authority.issue_cert("gateway.test"), tmp_path, "gateway")
    shown = demanding(authority.issue_cert("users.test"), authority)
    files = {"ca": str(ca), "certificate": str(own), "key": str(key)}
    async with serving(b"HTTP/1.1 200 OK\r\n\r\n", shown) as server:

        async def outcome(by: Probing, **tls: str) -> Outcome:
            users = service(base_url=server.url, **({"tls": tls} if tls else {}))
            by.use({"users": users})
            return (await by.probe(users, instance_at(server.url), "/", PATIENCE)).outcome

        by = probing()
        assert await outcome(by) is Outcome.TLS
        assert await outcome(by, **files) is Outcome.TLS
        assert await outcome(by, ca=str(ca), server_name="users.test") is not Outcome.PASSED
        assert await outcome(by, **files, server_name="users.test") is Outcome.PASSED
        write_authority(trustme.CA(), ca)  # what is renewed holds from the next configuration on
        assert await outcome(by, **files, server_name="users.test") is Outcome.TLS


@pytest.mark.parametrize(
    ("answer", "outcome", "detail"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", Outcome.PASSED, "204"),
        (b"HTTP/1.1 503 Busy\r\n\r\n", Outcome.STATUS, "503"),
        (b"", Outcome.TIMEOUT, "no answer within 0.05 s"),
    ],
)
async def test_what_came_is_told(answer: bytes, outcome: Outcome, detail: str) -> None:
    """Beside the outcome, for the log."""
    async with serving(answer) as server:
        patience = PATIENCE if answer else 0.05
        assert await result(server.url, patience) == Result(outcome, detail)


async def test_a_refused_connection_is_told() -> None:
    """In the words of the system."""
    url = f"http://127.0.0.1:{free_port()}"
    asked = await result(url)
    assert asked.outcome is Outcome.UNREACHABLE
    assert asked.detail.startswith(f"can't connect to {url}: ")


async def test_a_refused_certificate_is_told(tmp_path: Path) -> None:
    """One that has expired is what an operator has to know of."""
    authority = trustme.CA()
    ca = write_authority(authority, tmp_path / "ca.pem")
    shown = server_context(authority.issue_cert("127.0.0.1", not_after=YESTERDAY))
    async with serving(b"", shown) as server:
        by = probing()
        users = service(base_url=server.url, tls={"ca": str(ca)})
        by.use({"users": users})
        asked = await by.probe(users, instance_at(server.url), "/", PATIENCE)
    assert asked.outcome is Outcome.TLS
    assert "certificate has expired" in asked.detail


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_the_refusal_of_our_certificate_is_told(
    tmp_path: Path, version: ssl.TLSVersion
) -> None:
    """Though TLS 1.3 does it only when the connection stands."""
    authority = trustme.CA()
    ca = write_authority(authority, tmp_path / "ca.pem")
    demanded = demanding(authority.issue_cert("localhost"), trustme.CA())
    demanded.minimum_version = demanded.maximum_version = version
    with plain_spoken(demanded, b"HTTP/1.1 200 OK\r\n\r\n") as address:
        by = probing()
        users = service(base_url=str(address), tls={"ca": str(ca)})
        by.use({"users": users})
        asked = await by.probe(users, instance_at(str(address)), "/", PATIENCE)
    assert asked.outcome is Outcome.TLS
    assert "ALERT" in asked.detail


async def test_the_address_that_was_looked_up_is_asked_under_its_name() -> None:
    """As DNS has it: connected to by IP address, the Host field is the name's."""
    async with serving(b"HTTP/1.1 200 OK\r\n\r\n") as server, DnsServer() as dns:
        dns.zone["users.test.", "A"] = ["127.0.0.1"]
        port = server.url.rpartition(":")[2]
        users = service(base_url=f"http://users.test:{port}", discovery={"type": "dns"})
        found = FoundAlone(EmbeddedRegistry(), dns.nameservers)
        async with Probing(found, TlsContexts()).follow(users) as targets:
            [target] = targets()
            assert target.name == server.url
            assert (await target.probe("/health", PATIENCE)).outcome is Outcome.PASSED
            assert found.failing == {"users": False}
        assert found.failing == {}
    assert f"\r\nHost: users.test:{port}\r\n".encode() in server.heads[0]


async def test_registered_instances_are_followed_while_they_are_probed() -> None:
    """They come and go with their leases; nothing is followed before and after."""
    users = service(base_url=None, discovery={"type": "registry"})
    async with EmbeddedRegistry() as registry:
        async with Probing(FoundAlone(registry, ()), TlsContexts()).follow(users) as targets:
            assert list(targets()) == []
            await registry.register("users", Lease("http://127.0.0.1:1", 30.0))
            assert [target.name for target in targets()] == ["http://127.0.0.1:1"]
            await registry.remove("users", "http://127.0.0.1:1")
            assert list(targets()) == []
        assert not registry._followers["users"]


async def test_what_a_dispatcher_has_found_is_not_looked_up_again() -> None:
    """Workers in its process see what it knows, whenever they look."""
    known = {"users": [instance_at("http://a:1")]}
    finding = FoundByDispatcher(lambda name: known[name])
    async with Probing(finding, TlsContexts()).follow(service()) as targets:
        assert [target.name for target in targets()] == ["http://a:1"]
        known["users"] = [instance_at("http://b:1")]
        assert [target.name for target in targets()] == ["http://b:1"]
