"""The product's commands as a black box: real processes, asked over real sockets."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

from config.models.tiers import DEFAULT_TIERS

SECRET = "a-secret-for-tests-that-is-long-enough"
COMMAND = (sys.executable, "-m", "api_gateway")
WITHIN = 60.0  # seconds for whatever a command is waited for, on a busy machine

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


def environment(**settings: str) -> dict[str, str]:
    """This process' environment with these settings of the gateway, and no others."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    return kept | {f"GATEWAY_{name.upper()}": value for name, value in settings.items()}


@dataclass
class Finished:
    """A command that has ended."""

    status: int
    stdout: str
    stderr: str


async def run(*arguments: str, **settings: str) -> Finished:
    """Run a command to its end."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *arguments, env=environment(**settings), stdout=PIPE, stderr=PIPE
    )
    try:
        stdout, stderr = await asyncio.wait_for(process.communicate(), WITHIN)
    except TimeoutError:
        process.kill()
        raise
    assert process.returncode is not None
    return Finished(process.returncode, stdout.decode(), stderr.decode())


class Running:
    """A command that serves."""

    def __init__(self, process: Process, stderr: Path) -> None:
        self.process = process
        self.addresses: dict[str, str] = {}
        self._stderr = stderr

    @property
    def public(self) -> str:
        """URL of the public listener."""
        return self.addresses["public"]

    @property
    def admin(self) -> str:
        """URL of the admin listener."""
        return self.addresses["admin"]

    @property
    def stderr(self) -> str:
        """What it has said so far."""
        return self._stderr.read_text()

    async def line(self) -> str:
        """The next line that it prints."""
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), WITHIN)
        assert line, f"it has ended:\n{self.stderr}"
        return line.decode().rstrip("\n")

    async def ready(self) -> None:
        """Wait for its line, and read the addresses in it."""
        word, *addresses = (await self.line()).split(" ")
        assert word == "ready"
        self.addresses = dict(address.split("=", 1) for address in addresses)

    def signal(self, number: int = signal.SIGTERM) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    async def ended(self) -> int:
        """Wait for its end; its exit status."""
        return await asyncio.wait_for(self.process.wait(), WITHIN)

    async def health(self) -> tuple[int, dict[str, Any]]:
        """Status and content of its readiness page."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(self.admin + "/health/ready") as response,
        ):
            return response.status, await response.json()

    async def healthy(self, condition: Callable[[int, dict[str, Any]], bool]) -> dict[str, Any]:
        """Ask for its health until it is as wanted."""
        async with asyncio.timeout(WITHIN):
            while not condition(*(found := await self.health())):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        return found[1]

    async def metrics(self) -> dict[str, float]:
        """Its metrics page, by the names of samples with their labels."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(self.admin + "/metrics") as response,
        ):
            lines = (await response.text()).splitlines()
        samples = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in samples}


@asynccontextmanager
async def launched(folder: Path, *arguments: str, **settings: str) -> AsyncIterator[Running]:
    """Start a command that serves, on free ports; it is killed at the end if it still runs."""
    ports = ("--port", "0") if arguments[0] in ("up", "ingress") else ()
    log = folder / f"stderr-{uuid4().hex}"
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            *(arguments[0], "--admin-port", "0", *ports, *arguments[1:]),
            env=environment(jwt_secret=SECRET) | environment(**settings),
            stdout=PIPE,
            stderr=stderr,
        )
    try:
        yield Running(process, log)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@asynccontextmanager
async def started(folder: Path, *arguments: str, **settings: str) -> AsyncIterator[Running]:
    """The same, and ready."""
    async with launched(folder, *arguments, **settings) as running:
        await running.ready()
        yield running


@asynccontextmanager
async def upstream(handler: Handler) -> AsyncIterator[str]:
    """Serve HTTP by one function; gives the URL."""
    application = web.Application()
    application.router.add_route("*", "/{rest:.*}", handler)
    async with TestServer(application) as server:
        yield str(server.make_url("")).rstrip("/")


def configuration(
    folder: Path,
    url: str,
    routes: Sequence[Mapping[str, Any]] = (),
    drain: Mapping[str, float] | None = None,
    rate_limits: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Write a directory with one service; its name is given back for ``--config``.

    Tiers have no limits.
    """
    directory = folder / "config"
    directory.mkdir(exist_ok=True)
    open_route = {"path": "/open/*", "service": "users", "auth_required": False, "timeout": 20}
    closed_route = {"path": "/closed", "service": "users"}
    gateway = {
        "drain": {"delay": 0, "timeout": 10, **(drain or {})},
        "rate_limits": list(rate_limits),
    }
    files = {
        "routes": [open_route, closed_route, *routes],
        "services": [{"name": "users", "base_url": url}],
        "gateway": gateway,
        "tiers": {name: {"requests_per_minute": None} for name in DEFAULT_TIERS},
    }
    for name, content in files.items():
        (directory / f"{name}.yaml").write_text(yaml.safe_dump(content))
    return str(directory)


@asynccontextmanager
async def two_ingresses(
    folder: Path, directory: str, amqp_url: str, redis_url: str
) -> AsyncIterator[tuple[Running, Running]]:
    """Ready over one Redis, with a dispatcher behind them."""
    config = ("--config", directory)
    urls = {"amqp_url": amqp_url, "redis_url": redis_url}
    async with (
        launched(folder, "dispatcher", *config, amqp_url=amqp_url) as dispatcher,
        launched(folder, "ingress", *config, **urls) as one,
        launched(folder, "ingress", *config, **urls) as other,
    ):
        await asyncio.gather(*(role.ready() for role in (dispatcher, one, other)))
        yield one, other
