"""``--processes N``: copies of one role behind one port, one readiness and one metrics page.

The parent serves no request itself. It holds a listening socket for each child, and the next child
inherits the one of a child that ended, so that no connection is lost with it. A child's standard
input is a pipe that the parent holds; its end tells the child to drain, a line on it to go over to
another configuration. So children never outlive a parent that was killed, a signal sent to all of
them at once is not taken for two, and one that is only just starting misses nothing.
"""

import asyncio
import json
import logging
import socket
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import aiohttp
from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from yarl import URL

from api_gateway.admin import READY, Health
from api_gateway.admin_access import problem
from api_gateway.aggregation import Aggregation
from api_gateway.instances import PATH as INSTANCES
from api_gateway.listening import listen_beside

REFUSED = 2  # the exit status of a child that can't run as configured
_NOT_STARTED = 1
_ASK_TIMEOUT = aiohttp.ClientTimeout(total=2.0)
_PASSED_ON = ("Authorization", "Content-Type")
_PASSED_BACK = ("Content-Type", "Location", "Retry-After", "WWW-Authenticate")
_OPERATE_TIMEOUT = aiohttp.ClientTimeout(total=10.0)
_KILL_TIMEOUT = 5.0
_PATIENCE = 1.0  # seconds that a connection may wait for its child to start again
_SETTLED = 10.0  # seconds after which a child's end is no part of a crash loop

log = logging.getLogger(__name__)


class ChildRefusedError(Exception):
    """A child can't run as configured; it has said why on standard error."""


def restart_delay(crashes: int) -> float:
    """Seconds before the next start after so many early ends in a row: doubling, at most 5."""
    return min(5.0, 0.05 * 2.0 ** min(crashes, 10))


class Child:
    """One copy of the role: its process, and the admin socket by which it is asked."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        admin_socket: Path,
        public: socket.socket | None,
    ) -> None:
        self.name = name
        self._public = public
        self._address = public.getsockname() if public is not None else None
        self.ready = asyncio.Event()
        self.has_served = False
        self.ends = 0
        self._command = (*command, "--admin-socket", str(admin_socket))
        self._admin_socket = admin_socket
        self._draining = False
        self._process: Process | None = None

    @property
    def pid(self) -> int | None:
        """Of its process, while it has one."""
        return self._process.pid if self._process is not None else None

    async def run(self) -> int:
        """Start it, and return its exit status when it has ended. Raises OSError if it can't be."""
        self._admin_socket.unlink(missing_ok=True)
        if self._address is None:
            self._process = await self._start((), self._command)
        else:
            self._public = self._public or listen_beside(self._address)
            with self._public.dup() as public:  # stays open for the start, whatever happens
                fd = public.fileno()
                self._process = await self._start([fd], (*self._command, "--public-fd", str(fd)))
        if self._draining:
            self.drain()
        try:
            await self._hear(self._process)
            return await self._process.wait()
        finally:
            self.ends += 1
            self.ready.clear()
            self._process = None

    async def _start(self, inherited: Sequence[int], command: Sequence[str]) -> Process:
        return await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, pass_fds=inherited, start_new_session=True
        )

    async def _hear(self, process: Process) -> None:
        if process.stdout is None:
            return
        async for line in process.stdout:
            if line.startswith(READY.encode()):
                self.has_served = True
                self.ready.set()

    def drain(self) -> None:
        """Tell it to finish what is in flight and end."""
        self._draining = True
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    def reload(self) -> None:
        """Tell it that its configuration is another."""
        if not self._draining and self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(b"\n")

    def stop_listening(self) -> None:
        """Let others have its share of connections; it listens again when it runs again."""
        if self._public is not None:
            self._public.close()
            self._public = None

    def kill(self) -> None:
        """End it at once."""
        self._draining = True  # if it is only just being made
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()

    async def ask(self, path: str) -> bytes:
        """A page of its admin listener. Raises aiohttp.ClientError or TimeoutError."""
        connector = aiohttp.UnixConnector(str(self._admin_socket))
        async with (
            aiohttp.ClientSession(connector=connector, timeout=_ASK_TIMEOUT) as session,
            session.get(f"http://child{path}") as response,
        ):
            return await response.read()

    async def pass_on(self, request: web.Request) -> web.Response:
        """Its answer to a request that came to its parent. Raises aiohttp.ClientError."""
        connector = aiohttp.UnixConnector(str(self._admin_socket))
        async with (
            aiohttp.ClientSession(connector=connector, timeout=_OPERATE_TIMEOUT) as session,
            session.request(
                request.method,
                URL(f"http://child{request.rel_url}", encoded=True),
                headers=_chosen(request.headers, _PASSED_ON),
                data=await request.read(),
            ) as response,
        ):
            headers = _chosen(response.headers, _PASSED_BACK)
            return web.Response(status=response.status, body=await response.read(), headers=headers)


def _chosen(fields: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    return {name: fields[name] for name in names if name in fields}


class Processes:
    """Keeps ``count`` copies of a command running, and speaks for all of them on the admin port.

    ``public`` are listening sockets of one address, one for each copy, if the role has any. The
    command gets the hidden options ``--admin-socket PATH`` and, with a socket, ``--public-fd FD``.
    ``drain_timeout`` is seconds, and may be changed. ``delay`` maps the number of early ends in a
    row to the seconds before the next start.
    """

    def __init__(
        self,
        command: Sequence[str],
        count: int,
        folder: Path,
        *,
        drain_timeout: float,
        public: Sequence[socket.socket] = (),
        delay: Callable[[int], float] = restart_delay,
    ) -> None:
        self._children = [
            Child(str(number), command, folder / f"{number}.sock", listening)
            for number, listening in enumerate(public or [None] * count)
        ]
        self.drain_timeout = drain_timeout
        self._delay = delay
        self._stopping = asyncio.Event()
        self._aggregation = Aggregation()
        self._registry = CollectorRegistry()
        self._registry.register(self._aggregation)
        self._tasks: list[asyncio.Task[Any]] = []
        self.routes = [web.route("*", INSTANCES, self._operate)]

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._keep(child)) for child in self._children]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.force()
        await asyncio.wait(self._tasks, timeout=_KILL_TIMEOUT)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def ready(self) -> bool:
        """Wait for every child; False if told to stop before. Raises ChildRefusedError."""
        everyone = asyncio.create_task(self._everyone_ready())
        try:
            await asyncio.wait((everyone, *self._tasks), return_when=asyncio.FIRST_COMPLETED)
        finally:
            everyone.cancel()
        for task in self._tasks:
            if task.done():
                task.result()
        return not self._stopping.is_set()

    async def _everyone_ready(self) -> None:
        for child in self._children:
            await child.ready.wait()

    def stop(self) -> None:
        """Let the children finish what is in flight, and end."""
        self._stopping.set()
        for child in self._children:
            child.stop_listening()  # its own copy alone keeps the port open now
            child.drain()

    def reload(self) -> None:
        """Tell the children that their configuration is another."""
        for child in self._children:
            child.reload()

    def force(self) -> None:
        """End all children at once."""
        self._stopping.set()
        for child in self._children:
            child.kill()

    async def run(self) -> bool:
        """Keep the children until told to stop; whether all of them ended well and in time."""
        await self._stopping.wait()
        done, late = await asyncio.wait(self._tasks, timeout=self.drain_timeout)
        return not late and all(task.result() == 0 for task in done)

    async def _keep(self, child: Child) -> int:
        """Run the child again and again until told to drain; its last exit status."""
        loop = asyncio.get_running_loop()
        crashes = 0
        while True:
            started = loop.time()
            status = await self._run_once(child)
            if self._stopping.is_set():
                return status
            if status == REFUSED and not child.has_served:
                raise ChildRefusedError
            crashes = 1 if loop.time() - started > _SETTLED else crashes + 1
            pause = self._delay(crashes)
            log.error("process %s ended with %d, starts again in %g s", child.name, status, pause)
            if pause > _PATIENCE:
                child.stop_listening()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
                return 0

    async def _run_once(self, child: Child) -> int:
        try:
            return await child.run()
        except OSError as error:
            log.error("process %s can't be started: %s", child.name, error)
            return _NOT_STARTED
        finally:
            self._aggregation.retire(child.name)

    async def health(self) -> Health:
        """Ready when every child is; the answers of each."""
        answers = await asyncio.gather(*(self._health_of(child) for child in self._children))
        ready = all(answer["status"] == READY for answer in answers)
        return Health(
            ready and not self._stopping.is_set(),
            {child.name: answer for child, answer in zip(self._children, answers, strict=True)},
        )

    async def _health_of(self, child: Child) -> dict[str, Any]:
        if not child.ready.is_set():
            return {"status": "starting"}
        try:
            answer: dict[str, Any] = json.loads(await child.ask("/health/ready"))
        except (aiohttp.ClientError, TimeoutError, ValueError):
            answer = {"status": "silent"}
        return {"pid": child.pid, **answer}

    async def _operate(self, request: web.Request) -> web.Response:
        """What one of them is asked is for all: they share what it changes."""
        for child in self._children:
            if child.ready.is_set():
                with suppress(aiohttp.ClientError):
                    return await child.pass_on(request)
        return problem(503, "No process could answer.")

    async def metrics(self) -> bytes:
        """The children's pages as one."""
        await asyncio.gather(*(self._read_metrics(child) for child in self._children))
        return generate_latest(self._registry)

    async def breakers(self) -> list[dict[str, Any]]:
        """Those of all children that answer, each with the child's name as its ``process``."""
        return [
            {"process": child.name, **breaker}
            for child, breakers in zip(
                self._children,
                await asyncio.gather(*(self._breakers_of(child) for child in self._children)),
                strict=True,
            )
            for breaker in breakers
        ]

    async def _breakers_of(self, child: Child) -> list[dict[str, Any]]:
        try:
            answer: dict[str, Any] = json.loads(await child.ask("/breakers"))
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return []
        return list(answer["breakers"])

    async def _read_metrics(self, child: Child) -> None:
        ends = child.ends
        try:
            page = await child.ask("/metrics")
        except (aiohttp.ClientError, TimeoutError):
            return  # its last page goes on to count
        if ends == child.ends:
            self._aggregation.update(child.name, page.decode())
