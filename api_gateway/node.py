"""The one place where a process is wired together: its broker, its roles, what is told of them."""

import asyncio
import socket
from collections.abc import Callable, Collection, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING, Any, Self

from prometheus_client import generate_latest

from api_gateway.admin import Health
from api_gateway.admin_access import AdminToken
from api_gateway.instances import InstancesApi
from api_gateway.probing import FoundAlone, FoundByDispatcher
from api_gateway.roles import DispatcherRole, IngressRole, WorkersRole
from api_gateway.telemetry import BrokerMetrics, metrics_registry
from broker.contract import Broker, BrokerListener, ConnectionState
from broker.embedded import EmbeddedBroker
from broker.rabbitmq import RabbitMQBroker
from broker.topology import request_queues
from config.settings import Settings
from config.snapshot import Snapshot
from dispatcher.discovery.discoveries import Discoveries
from dispatcher.discovery.embedded_registry import EmbeddedRegistry
from dispatcher.discovery.listener import DiscoveryListener, DiscoveryMetrics
from dispatcher.discovery.registry import Registry
from dispatcher.tls import TlsContexts
from ingress.request import Request, Response

if TYPE_CHECKING:
    from api_gateway.tracing import Tracing


class Role(Enum):
    """What a process does."""

    INGRESS = "ingress"
    DISPATCHER = "dispatcher"
    WORKERS = "workers"


class Node:
    """The roles of one process around one broker.

    An async context manager. Entering starts the parts from the broker outwards, whether the broker
    is there or not; leaving ends them in reverse, so that each can still use those it stands on.
    ``public`` is a listening socket for HTTP; without one, only ``handle`` takes requests.
    ``routes`` are what the admin listener serves besides health and metrics.
    """

    def __init__(
        self,
        settings: Settings,
        snapshot: Snapshot,
        roles: Collection[Role] = tuple(Role),
        public: socket.socket | None = None,
    ) -> None:
        self.snapshot = snapshot
        self._registry = metrics_registry()
        self._tracing = _tracing(settings)
        self._broker = _broker(settings, snapshot, BrokerMetrics(self._registry))
        news = DiscoveryMetrics(self._registry) if Role.DISPATCHER in roles else None
        self._instances = _instances(settings, news)
        self._dispatcher: DispatcherRole | None = None
        self._ingress: IngressRole | None = None
        self._workers: WorkersRole | None = None
        parts = (self._broker, snapshot, self._registry, self._tracing)
        tls, nameservers = TlsContexts(), settings.dns_nameservers
        if Role.DISPATCHER in roles:
            discoveries = Discoveries(self._instances, nameservers, news)
            self._dispatcher = DispatcherRole(*parts, discoveries, tls, settings.zone)
        if Role.WORKERS in roles:
            finding = (
                FoundByDispatcher(self._dispatcher.instances)
                if self._dispatcher is not None
                else FoundAlone(self._instances, nameservers)
            )
            self._workers = WorkersRole(self._broker, snapshot, self._registry, finding, tls)
        if Role.INGRESS in roles:
            secret = settings.jwt_secret.get_secret_value() if settings.jwt_secret else None
            redis_url = settings.redis_url.get_secret_value() if settings.redis_url else None
            self._ingress = IngressRole(*parts, secret, redis_url, settings.redis_timeout, public)
        self.routes = self._instances_api(settings).routes
        self._changing = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._forced = False
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            for part in (self._tracing, self._broker, self._instances):
                if part is not None:
                    await stack.enter_async_context(part)
            await self._declare(self.snapshot)
            for role in (self._dispatcher, self._workers, self._ingress):
                if role is not None:
                    await stack.enter_async_context(role)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    async def handle(self, request: Request) -> Response:
        """Answer a request that was handed in. Only where this process has ingress."""
        if self._ingress is None:
            raise RuntimeError("this process has no ingress")
        return await self._ingress.handle(request)

    async def change(self, make: Callable[[Snapshot], Snapshot]) -> None:
        """Go over to what ``make`` makes of the configuration; it may raise, and nothing changes.

        What is under way is finished under the configuration it had. Meanwhile the services of both
        are served, so that no request goes to where nobody takes it. Once this process stops, no
        change is begun.
        """
        async with self._changing:
            if self._stopping.is_set():
                return
            snapshot = make(self.snapshot)
            self._broker.max_message = snapshot.options.limits.max_message
            await self._declare(snapshot)
            services = {**self.snapshot.services, **snapshot.services}
            if self._dispatcher is not None:
                await self._dispatcher.use(replace(snapshot, services=services))
            if self._ingress is not None:
                self._ingress.use(snapshot)
            if self._workers is not None:
                self._workers.use(snapshot)
            if self._dispatcher is not None:
                await self._dispatcher.use(snapshot)
            self.snapshot = snapshot

    async def use(self, snapshot: Snapshot) -> None:
        """Go over to another configuration; see ``change``."""
        await self.change(lambda _: snapshot)

    async def _declare(self, snapshot: Snapshot) -> None:
        """Each role sees to the queues, so that none has to be started before another."""
        limits = {name: tier.queue_limit for name, tier in snapshot.tiers.items()}
        await self._broker.declare(request_queues(snapshot.services, limits))

    # --- from ready to stopped ------------------------------------------------------------------

    async def ready(self) -> bool:
        """Wait until it can serve; False if it was told to stop before."""
        able = asyncio.create_task(self._able())
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait((able, stopping), return_when=asyncio.FIRST_COMPLETED)
            return not self._stopping.is_set()
        finally:
            able.cancel()
            stopping.cancel()

    async def _able(self) -> None:
        """Return when all that requests need is there."""
        await self._broker.connected()
        await self._instances.available()
        if self._ingress is not None:
            await self._ingress.ready()

    def stop(self) -> None:
        """Begin to stop."""
        self._stopping.set()

    def force(self) -> None:
        """Stop at once: what is in flight is cut off."""
        self._forced = True
        self._stopping.set()
        for role in (self._ingress, self._dispatcher):
            if role is not None:
                role.force()

    async def run(self) -> bool:
        """Serve until told to stop, then drain; whether nothing had to be cut off."""
        await self._stopping.wait()
        drained = True
        async with self._changing:  # a change that has begun would start again what has drained
            for role in (self._ingress, self._dispatcher, self._workers):
                if role is not None:
                    drained = await role.drain() and drained
        return drained and not self._forced

    # --- what the admin listener shows ----------------------------------------------------------

    async def health(self) -> Health:
        """Ready with a broker, with Redis where it is needed, and with what has to be fetched."""
        state = self._broker.state
        keys = self._ingress.keys_ready if self._ingress is not None else None
        redis = self._ingress.redis_ready if self._ingress is not None else None
        ready = state is ConnectionState.CONNECTED and self._instances.ready
        ready = ready and keys is not False and redis is not False
        checks = {
            "configuration": f"version {self.snapshot.version}",
            "broker": state.name.lower(),
            "stopping": self._stopping.is_set(),
        }
        if self._ingress is not None and self._ingress.redis_state is not None:
            checks["redis"] = self._ingress.redis_state
        if self._workers is not None:
            checks["workers"] = self._workers.state
        if self._instances.state is not None:
            checks["registry"] = self._instances.state
        for role in (self._dispatcher, self._workers):
            if role is not None and role.lookups_failing:
                checks["dns"] = _dns_state(role.lookups_failing)
        if self._ingress is not None and self._ingress.keys_state is not None:
            checks["keys"] = self._ingress.keys_state
        return Health(ready and not self._stopping.is_set(), checks)

    async def metrics(self) -> bytes:
        """The page of this process."""
        return generate_latest(self._registry)

    async def breakers(self) -> list[dict[str, Any]]:
        """Those of this process' dispatcher, if it has one."""
        return [] if self._dispatcher is None else self._dispatcher.breakers()

    def _instances_api(self, settings: Settings) -> InstancesApi:
        token = settings.admin_token.get_secret_value() if settings.admin_token else None
        shared = settings.redis_url is not None or self._dispatcher is not None
        return InstancesApi(
            AdminToken(token),
            lambda: self.snapshot.services,
            self._instances if shared else None,
            self._dispatcher.instances if self._dispatcher is not None else None,
        )


def _dns_state(failing: Mapping[str, bool]) -> str:
    """Of the lookups of services' names, with all that fail."""
    names = [name for name, is_so in failing.items() if is_so]
    return f"failing: {', '.join(names)}" if names else "answering"


def _broker(settings: Settings, snapshot: Snapshot, listener: BrokerListener) -> Broker:
    most = snapshot.options.limits.max_message
    if settings.amqp_url is None:
        return EmbeddedBroker(listener=listener, max_message=most)
    url = settings.amqp_url.get_secret_value()
    return RabbitMQBroker(url, lane=settings.amqp_lane, listener=listener, max_message=most)


def _instances(settings: Settings, listener: DiscoveryListener | None) -> Registry:
    """Where instances report: one for all who share a Redis, or one of this process."""
    if settings.redis_url is None:
        return EmbeddedRegistry()
    # Imported only here, as it costs time at the start and memory.
    from dispatcher.discovery.redis_registry import RedisRegistry

    return RedisRegistry(settings.redis_url.get_secret_value(), listener)


def _tracing(settings: Settings) -> "Tracing | None":
    if settings.otlp_endpoint is None:
        return None
    # Imported only here, as it costs time at the start and memory.
    from api_gateway.tracing import Tracing, otlp_processor

    return Tracing(otlp_processor(settings.otlp_endpoint.get_secret_value()))
