"""What a process can be: the parts of each role, wired around a broker.

A role is an async context manager. ``drain`` ends it gently while it is still entered; ``force``
makes a drain that has begun end soon. Leaving ends it at once, in the reverse order of entering.
"""

import asyncio
import socket
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

from prometheus_client import CollectorRegistry

from api_gateway.probing import Finding, Probing
from api_gateway.telemetry import ServerMetrics, UpstreamConnections
from broker.contract import Broker
from config.snapshot import Snapshot
from dispatcher.discovery.discoveries import Discoveries
from dispatcher.lean_upstream import LeanUpstreamClient
from dispatcher.lifecycle import Dispatcher
from dispatcher.metrics import DispatcherMetrics
from dispatcher.tls import TlsContexts
from dispatcher.upstream import UpstreamClient
from ingress.exchange import Exchange
from ingress.identity.identity import Identity
from ingress.lifecycle import Lifecycle
from ingress.limits.shared import NodeStore
from ingress.metrics import IngressMetrics
from ingress.pipeline import Pipeline
from ingress.request_ids import RequestIds
from ingress.server import Server
from workers.health import HealthProber
from workers.metrics import InstancesHealthy, WorkersMetrics
from workers.rounds import Means

if TYPE_CHECKING:  # else imported only where it is turned on
    from api_gateway.tracing import Tracing

_START_PATIENCE = 2.0  # seconds


class DispatcherRole:
    """Takes messages, calls upstreams.

    ``discoveries`` are its own from now on; ``tls`` may be shared with who serves the same
    configuration; ``zone`` is where it runs, as instances name theirs.
    """

    def __init__(
        self,
        broker: Broker,
        snapshot: Snapshot,
        registry: CollectorRegistry,
        tracing: "Tracing | None",
        discoveries: Discoveries,
        tls: TlsContexts,
        zone: str | None,
    ) -> None:
        client = LeanUpstreamClient()
        registry.register(UpstreamConnections(client.counts))
        self._client: UpstreamClient = tracing.client(client) if tracing else client
        self._discoveries = discoveries
        self._dispatcher = Dispatcher(
            broker,
            self._client,
            snapshot,
            discoveries=discoveries,
            tls=tls,
            listener=DispatcherMetrics(registry),
            zone=zone,
        )
        self.instances = self._dispatcher.instances
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            for part in (self._client, self._discoveries, self._dispatcher):
                await stack.enter_async_context(part)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    @property
    def lookups_failing(self) -> Mapping[str, bool]:
        """Of each service whose name is looked up, whether that fails at the moment."""
        return self._discoveries.failing

    async def use(self, snapshot: Snapshot) -> None:
        """Serve the services of another snapshot."""
        await self._dispatcher.use(snapshot)

    def breakers(self) -> list[dict[str, Any]]:
        """The state of each circuit breaker, in plain data.

        ``reason``: why it is in that state; ``retry_after`` is in seconds; ``probe_due``: its time
        is over, the next call is tried.
        """
        return [
            {
                "service": service,
                "state": breaker.state,
                "reason": breaker.reason,
                "failures": breaker.failures,
                "retry_after": round(breaker.retry_after, 3),
                "probe_due": breaker.probe_due,
            }
            for service, breaker in self._dispatcher.breakers.items()
        ]

    async def drain(self) -> bool:
        """Give back what waits, finish what is under way, settle what had to be broken off."""
        await self._dispatcher.stop()
        return True

    def force(self) -> None:
        """Break off what is under way."""
        self._dispatcher.force()


class IngressRole:
    """Takes requests: those that come to ``public``, a listening socket, and those handed to it.

    Without a socket it has the latter only. ``secret`` is what tokens are signed with; rate limits
    are shared with all who have the same ``redis_url``, which may hold up a request by
    ``redis_timeout`` seconds.
    """

    def __init__(
        self,
        broker: Broker,
        snapshot: Snapshot,
        registry: CollectorRegistry,
        tracing: "Tracing | None",
        secret: str | None,
        redis_url: str | None,
        redis_timeout: float,
        public: socket.socket | None,
    ) -> None:
        self._broker = broker
        metrics = tracing.ingress_metrics(registry) if tracing else IngressMetrics(registry)
        # A new name for every start: what is on its way to an earlier one is not for this one.
        self._exchange = Exchange(broker, new_node(), listener=metrics)
        self._request_ids = RequestIds()
        self._limits = NodeStore(redis_url, metrics, redis_timeout)
        self._identity = Identity(secret, listener=metrics)
        self._pipeline = Pipeline(
            snapshot,
            self._exchange,
            identity=self._identity,
            request_ids=self._request_ids,
            limits=self._limits,
            listener=metrics,
        )
        self.handle = tracing.handle(self._pipeline.handle) if tracing else self._pipeline.handle
        self._options = snapshot.options
        self._server_metrics = ServerMetrics(registry)
        self._public = public
        self._server: Server | None = None
        self._lifecycle: Lifecycle | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._limits)
            await stack.enter_async_context(self._identity)
            await stack.enter_async_context(self._exchange)
            if self._public is not None:
                await self._first_connection()
                self._server = self._make_server(self._public)
                await stack.enter_async_context(self._server)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    @property
    def redis_state(self) -> str | None:
        """Of the connection to Redis, in a word; None without one."""
        return self._limits.state

    @property
    def redis_ready(self) -> bool | None:
        """Whether Redis is there; None where requests can do without."""
        if self._limits.state is None or not self._pipeline.needs_store:
            return None
        return self._limits.connected

    @property
    def keys_ready(self) -> bool | None:
        """Whether keys that are fetched are there; None where there are none to fetch."""
        return self._identity.ready

    @property
    def keys_state(self) -> str | None:
        """Of the keys that are fetched, in few words; None where there are none to fetch."""
        return self._identity.state

    async def ready(self) -> None:
        """Wait for keys that are fetched, and for Redis if requests can't do without."""
        await self._identity.available()
        if self._pipeline.needs_store:
            await self._limits.available()

    async def _first_connection(self) -> None:
        """Let clients that come at the start wait a moment for the broker; later they get a 503."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._broker.connected(), _START_PATIENCE)

    def _make_server(self, public: socket.socket) -> Server:
        server = Server(
            self.handle,
            self._options.limits,
            sock=public,
            listener=self._server_metrics,
            request_ids=self._request_ids,
        )
        self._server_metrics.serving(lambda: server.connections)
        self._lifecycle = Lifecycle(server, self._options.drain, {})
        return server

    def use(self, snapshot: Snapshot) -> None:
        """Serve under another snapshot from the next request on."""
        self._pipeline.use(snapshot)
        if self._server is not None:
            self._server.set_limits(snapshot.options.limits)
        if self._lifecycle is not None:
            self._lifecycle.drain = snapshot.options.drain

    async def drain(self) -> bool:
        """Stop as ingress.lifecycle says; whether nothing had to be cut off."""
        if self._lifecycle is None:
            return True
        self._lifecycle.stop()
        return await self._lifecycle.run()

    def force(self) -> None:
        """Cut off what is in flight."""
        if self._lifecycle is not None:
            self._lifecycle.stop()


class WorkersRole:
    """Does what is done once for all: probes the instances of services, while it leads.

    ``finding`` knows where they are; ``tls`` may be shared with who serves the same configuration.
    """

    def __init__(
        self,
        broker: Broker,
        snapshot: Snapshot,
        registry: CollectorRegistry,
        finding: Finding,
        tls: TlsContexts,
    ) -> None:
        self._snapshot = snapshot
        self._finding = finding
        self._probing = Probing(finding, tls)
        means = Means(self._probing.follow, listener=WorkersMetrics(registry))
        self._prober = prober = HealthProber(broker, snapshot, means, new_node())
        registry.register(InstancesHealthy(lambda: prober.leading, lambda: prober.healthy))

    async def __aenter__(self) -> Self:
        self._probing.use(self._snapshot.services)
        await self._prober.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._prober.__aexit__(*exc_info)

    @property
    def lookups_failing(self) -> Mapping[str, bool]:
        """Of each service whose name this process looks up to probe it, whether that fails."""
        return self._finding.failing

    @property
    def state(self) -> str:
        """Whether this process does the work, or stands by."""
        return "leading" if self._prober.leading else "standby"

    def use(self, snapshot: Snapshot) -> None:
        """Work for the services of another snapshot.

        Raises ConfigError where files are not as they were checked; then nothing has changed.
        """
        self._probing.use(snapshot.services)
        self._prober.use(snapshot)

    async def drain(self) -> bool:
        """Stop; whatever is under way can be broken off."""
        await self._prober.stop()
        return True


def new_node() -> str:
    """A name for this start of this process, which no other has."""
    return f"{socket.gethostname()}-{uuid4().hex}"
