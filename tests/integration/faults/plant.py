"""A gateway of several processes between a crowd of clients and an upstream with a ledger."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml

from broker.topology import RequestQueue
from tests.integration.commands import Running, started, upstream
from tests.integration.faults.amqp import Bystander
from tests.integration.faults.clients import Crowd
from tests.integration.faults.ledger import Ledger
from tests.integration.faults.waiting import WITHIN, eventually


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to build. ``services`` are upstreams beside the ledger, by the name of their route.

    Each service has one queue of ``queue_limit`` messages, and ``concurrency`` calls at a time in
    each dispatcher. ``limits`` and ``drain`` are as in gateway.yaml, but for a drain without delay.
    ``settings`` are further ones of services, by the name of their route.
    """

    ingresses: int = 1
    dispatchers: int = 1
    concurrency: int = 64
    queue_limit: int = 5000
    timeout: float = 60.0
    services: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)
    drain: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    lane: bool = True


class Plant:
    """The processes, and what to ask of them. The ledger's route is ``open``."""

    def __init__(
        self, folder: Path, amqp_url: str, plan: Plan, ledger: Ledger, stack: AsyncExitStack
    ) -> None:
        self.ledger = ledger
        self.amqp_url = amqp_url
        self.ingresses: list[Running] = []
        self.dispatchers: list[Running] = []
        self._folder = folder
        self._plan = plan
        self._stack = stack
        self._suffix = uuid4().hex[:12]  # the broker may be shared

    def queue(self, route: str = "open") -> str:
        """The name of the one queue of a route's service."""
        return RequestQueue(self._service(route), "FREE", self._plan.queue_limit).name

    async def start_all(self) -> None:
        """So many of each as planned, ready."""
        await asyncio.gather(
            *(self.start_dispatcher() for _ in range(self._plan.dispatchers)),
            *(self.start_ingress() for _ in range(self._plan.ingresses)),
        )

    async def start_dispatcher(self) -> Running:
        """One more."""
        self.dispatchers.append(running := await self._start("dispatcher"))
        return running

    async def start_ingress(self) -> Running:
        """One more."""
        self.ingresses.append(running := await self._start("ingress"))
        return running

    async def crowd(self) -> Crowd:
        """Clients of all ingresses."""
        urls = [ingress.public for ingress in self.ingresses]
        return await self._stack.enter_async_context(Crowd(*urls))

    async def pending(self, count: int) -> None:
        """Return when so many requests wait for their answers."""

        async def reached() -> bool:
            return await total(self.ingresses, "ingress_pending") == count

        await eventually(reached, f"{count} requests pending")

    async def consumers(self, count: int, within: float) -> None:
        """Return when the broker counts so many at the ledger's queue."""

        async def reached() -> bool:
            async with Bystander.at(self.amqp_url) as bystander:
                return await bystander.consumers(self.queue()) == count

        await eventually(reached, f"{count} consumers", within)

    async def ready(self, within: float = WITHIN) -> None:
        """Return when every process is."""
        async with asyncio.timeout(within):
            for running in (*self.ingresses, *self.dispatchers):
                await running.healthy(lambda status, _: status == 200)

    async def not_ready(self, within: float = WITHIN) -> None:
        """Return when no process is."""
        async with asyncio.timeout(within):
            for running in (*self.ingresses, *self.dispatchers):
                await running.healthy(lambda status, _: status == 503)

    async def _start(self, role: str) -> Running:
        settings = {"amqp_url": self.amqp_url, "amqp_lane": "on" if self._plan.lane else "off"}
        command = started(self._folder, role, "--config", self._config, **settings)
        return await self._stack.enter_async_context(command)

    def _service(self, route: str) -> str:
        return f"{route}-{self._suffix}"

    def configure(self, ledger_url: str) -> None:
        """Write the configuration directory."""
        plan = self._plan
        urls = {"open": ledger_url, **plan.services}
        directory = self._folder / "config"
        directory.mkdir()
        files: dict[str, Any] = {
            "routes": [
                {
                    "path": f"/{route}/*",
                    "service": self._service(route),
                    "auth_required": False,
                    "timeout": plan.timeout,
                }
                for route in urls
            ],
            "services": [
                {
                    "name": self._service(route),
                    "base_url": url,
                    "timeout": plan.timeout,
                    "concurrency": {"limit": plan.concurrency},
                    **plan.settings.get(route, {}),
                }
                for route, url in urls.items()
            ],
            "tiers": {"FREE": {"requests_per_minute": None, "queue_limit": plan.queue_limit}},
            "gateway": {
                "drain": {"delay": 0, "timeout": 10, **plan.drain},
                "limits": dict(plan.limits),
            },
        }
        for name, content in files.items():
            (directory / f"{name}.yaml").write_text(yaml.safe_dump(content))
        self._config = str(directory)


@asynccontextmanager
async def plant(folder: Path, amqp_url: str, plan: Plan) -> AsyncIterator[Plant]:
    """Build it, ready to serve; whatever still runs at the end is killed."""
    ledger = Ledger()
    async with upstream(ledger.answer) as url, AsyncExitStack() as stack:
        built = Plant(folder, amqp_url, plan, ledger, stack)
        built.configure(url)
        await built.start_all()
        try:
            yield built
        finally:
            ledger.gate.set()


async def total(processes: list[Running], metric: str, label: str = "") -> float:
    """A metric of several processes, added up over all its labels, or those with this one."""
    pages = await asyncio.gather(*(process.metrics() for process in processes))
    return sum(
        value
        for page in pages
        for name, value in page.items()
        if name.partition("{")[0] == metric and label in name
    )
