"""Connections to services as users see them: docs/upstream-connections.md, and what goes wrong."""

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from api_gateway import APIGateway
from tests.integration.commands import SECRET, configuration, run, started
from tests.integration.door import ask
from tests.integration.test_policies_doc import FENCED, exchanges, files
from tests.integration.upstreams.authority import (
    YESTERDAY,
    demanding,
    server_context,
    write_authority,
    write_certificate,
)
from tests.integration.upstreams.scripted import Script, ScriptedUpstream, Wire, always, once

DOCUMENT = Path(__file__).parents[2] / "docs" / "upstream-connections.md"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SECRET_FOLDER = "/etc/gateway/tls"


async def test_example(tmp_path: Path) -> None:
    """The example of the documentation, with its names and files put where they are here."""
    authority = trustme.CA()
    write_authority(authority, tmp_path / "ca.pem")
    write_certificate(authority.issue_cert("gateway.internal"), tmp_path, "gateway")
    tls = demanding(authority.issue_cert("users.internal"), authority)
    blocks = FENCED.findall(DOCUMENT.read_text())
    async with ScriptedUpstream(always(OK), tls=tls) as upstream:
        directory = Path(configuration(tmp_path, "http://unused.test"))
        for name, text in files(blocks).items():
            there = text.replace("users.internal:8443", f"localhost:{upstream.address.port}")
            (directory / name).write_text(there.replace(SECRET_FOLDER, str(tmp_path)))
        async with started(tmp_path, "up", "--config", str(directory)) as running:
            [(request, expected)] = exchanges(blocks)
            answer = await ask(running.public, request.split(" HTTP")[0])
            status_line, *fields = expected.strip().split("\n")
            assert answer.status == int(status_line.split(" ")[1])
            assert {field.encode() for field in fields} <= set(answer.lines)


# By the name of the service, what its clients are told.
EXPECTED = {
    "refused": (502, "connection_refused"),
    "unknown": (502, "dns_error"),
    "silent": (504, "connection_read_timeout"),
    "slow": (504, "http_response_timeout"),
    "handshake": (504, "connection_timeout"),
    "gone": (502, "connection_terminated"),
    "half": (502, "http_response_incomplete"),
    "nonsense": (502, "http_protocol_error"),
    "large": (502, "http_response_body_size"),
    "expired": (502, "tls_certificate_error"),
    "another-name": (502, "tls_certificate_error"),
    "self-signed": (502, "tls_certificate_error"),
    "plain": (502, "tls_protocol_error"),
}


class Trouble:
    """Services of which each fails in its own way."""

    def __init__(self, stack: AsyncExitStack, ca: Path, authority: trustme.CA) -> None:
        self.services: list[dict[str, Any]] = []
        self._stack = stack
        self._tls = {"ca": str(write_authority(authority, ca))}
        self._authority = authority

    async def begin(self) -> None:
        """Start them all."""
        unused = self._stack.enter_context(socket.socket())
        unused.bind(("127.0.0.1", 0))
        self._add("refused", f"http://127.0.0.1:{unused.getsockname()[1]}")
        self._add("unknown", "http://nowhere.invalid")
        silence = {"read_timeout": 0.1}
        await self._plain("silent", self._never, connections=silence)
        await self._plain("slow", self._never, timeout=0.5)
        await self._plain("gone", once(b""))
        await self._plain("half", once(OK[:-1]))
        await self._plain("nonsense", once(b"SSH-2.0-OpenSSH_9.2\r\n"))
        await self._plain("large", once(OK), max_response=1)
        await self._https("handshake", self._never, None, connections={"connect_timeout": 0.1})
        await self._https("plain", self._no_tls, None)
        issue = self._authority.issue_cert
        await self._https("expired", once(OK), issue("localhost", not_after=YESTERDAY))
        await self._https("another-name", once(OK), issue("elsewhere.test"))
        await self._https("self-signed", once(OK), trustme.CA().issue_cert("localhost"))

    @staticmethod
    async def _never(wire: Wire) -> None:
        await wire.gone()

    @staticmethod
    async def _no_tls(wire: Wire) -> None:
        await wire.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await wire.gone()

    def _add(self, name: str, url: str, **settings: Any) -> None:
        self.services.append({"name": name, "base_url": url, **settings})

    async def _plain(self, name: str, script: Script, **settings: Any) -> None:
        upstream = await self._stack.enter_async_context(ScriptedUpstream(script))
        self._add(name, str(upstream.address), **settings)

    async def _https(
        self, name: str, script: Script, shown: trustme.LeafCert | None, **settings: Any
    ) -> None:
        context: ssl.SSLContext | None = server_context(shown) if shown else None
        upstream = await self._stack.enter_async_context(ScriptedUpstream(script, tls=context))
        url = f"https://localhost:{upstream.address.port}"
        self._add(name, url, tls=self._tls, **settings)


@pytest.fixture
async def trouble(tmp_path: Path) -> AsyncIterator[Trouble]:
    """All services, running."""
    async with AsyncExitStack() as stack:
        trouble = Trouble(stack, tmp_path / "ca.pem", trustme.CA())
        await trouble.begin()
        yield trouble


async def test_every_failure_is_told_by_its_cause(tmp_path: Path, trouble: Trouble) -> None:
    """Status and Proxy-Status fit; nothing else of what is behind the gateway gets out."""
    directory = Path(configuration(tmp_path, "http://unused.test"))
    routes = [
        {"path": f"/{service['name']}", "service": service["name"], "auth_required": False}
        for service in trouble.services
    ]
    (directory / "services.yaml").write_text(yaml.safe_dump(trouble.services))
    (directory / "routes.yaml").write_text(yaml.safe_dump(routes))
    async with started(tmp_path, "up", "--config", str(directory)) as running:
        names = list(EXPECTED)
        answers = await asyncio.gather(*(ask(running.public, f"POST /{name}") for name in names))
    for name, answer in zip(names, answers, strict=True):
        status, error = EXPECTED[name]
        assert answer.status == status, name
        assert f"Proxy-Status: api-gateway;error={error}".encode() in answer.lines, name
        assert answer.body is not None
        text = json.dumps(json.loads(answer.body)).lower()
        assert not any(word in text for word in ("localhost", "127.0.0.1", "certif", ".pem", "ssl"))


async def test_unverified_is_loud(tmp_path: Path) -> None:
    """A service whose certificates are not verified is in the log of every start."""
    tls = server_context(trustme.CA().issue_cert("elsewhere.test"))
    async with ScriptedUpstream(always(OK), tls=tls) as upstream:
        directory = Path(configuration(tmp_path, "http://unused.test"))
        users = {"name": "users", "base_url": str(upstream.address), "tls": {"verify": False}}
        (directory / "services.yaml").write_text(yaml.safe_dump([users]))
        async with started(tmp_path, "up", "--config", str(directory)) as running:
            assert (await ask(running.public, "GET /open/x")).status == 200
            assert "NOT VERIFIED" in running.stderr


async def test_check_looks_at_the_files(tmp_path: Path) -> None:
    """A certificate that is not there is found before anything runs with it."""
    directory = Path(configuration(tmp_path, "http://unused.test"))
    tls = {"ca": str(tmp_path / "ca.pem")}
    users = {"name": "users", "base_url": "https://users.test", "tls": tls}
    (directory / "services.yaml").write_text(yaml.safe_dump([users]))
    checked = await run("check", str(directory))
    assert checked.status == 1
    assert "tls.ca: found" in checked.stdout + checked.stderr


async def test_renewed_files_hold_from_the_next_configuration_on(tmp_path: Path) -> None:
    """An authority that is replaced on disk is trusted once the configuration is applied anew."""
    old, new = trustme.CA(), trustme.CA()
    ca = write_authority(old, tmp_path / "ca.pem")
    tls = server_context(new.issue_cert("localhost"))
    async with ScriptedUpstream(once(OK), tls=tls) as upstream:
        directory = Path(configuration(tmp_path, "http://unused.test"))
        users = [{"name": "users", "base_url": str(upstream.address), "tls": {"ca": str(ca)}}]
        (directory / "services.yaml").write_text(yaml.safe_dump(users))
        async with APIGateway(config_dir=directory, jwt_secret=SECRET) as gateway:

            async def status() -> int:
                answer = await gateway.handle_request({"method": "GET", "path": "/open/x"}, {})
                return int(answer["status"])

            assert await status() == 502
            write_authority(new, ca)
            assert await status() == 502
            await gateway.update_config(config_type="services", config_data=users)
            assert await status() == 200


async def test_messages_are_measured_by_the_configuration_in_use(tmp_path: Path) -> None:
    """A larger request is a 413 and not sent; a larger answer a 502, and asked for once."""
    size = 100_000
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size)
    async with ScriptedUpstream(always(answer)) as upstream:
        directory = configuration(tmp_path, str(upstream.address))
        async with APIGateway(config_dir=directory, jwt_secret=SECRET) as gateway:

            async def asked(method: str, body: bytes = b"") -> tuple[int, Any]:
                request = {"method": method, "path": "/open/x", "body": body}
                answer = await gateway.handle_request(request, {})
                return int(answer["status"]), answer["body"]

            assert (await asked("POST", bytes(size)))[0] == 200
            await gateway.update_config("gateway", {"limits": {"max_message": "64KiB"}})
            refused, failed = await asked("POST", bytes(size)), await asked("GET")
            await gateway.update_config("gateway", {})
            assert (await asked("GET"))[0] == 200
    assert (refused[0], refused[1]["executed"]) == (413, "no")
    assert (failed[0], failed[1]["attempts"], failed[1]["executed"]) == (502, 1, "unknown")
