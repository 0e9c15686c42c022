"""A dispatcher from start to stop, and from one configuration to the next."""

import asyncio
import time
from collections.abc import Callable
from typing import Self

from broker.contract import Broker, ConnectionState
from config.models import Service
from config.snapshot import Snapshot
from dispatcher.consumer import ServiceConsumer
from dispatcher.metrics import DispatcherListener
from dispatcher.options import ClientTls, UpstreamOptions
from dispatcher.pipeline import Pipeline
from dispatcher.policies.load_balancing.services import Balancers
from dispatcher.service_discovery import StaticDiscovery
from dispatcher.settle import Settler
from dispatcher.tls import TlsContexts
from dispatcher.transformation.plans import Compiler
from dispatcher.transformation.transformation import Transformation
from dispatcher.upstream import UpstreamClient


class Dispatcher:
    """Serves every service of the configuration; an async context manager.

    Broker and client are entered before it and left after it. Leaving it drains it. ``zone`` is
    where it runs, ``now`` is Unix seconds, ``monotonic`` measures durations. ``balancers`` is where
    health checks report to.
    """

    def __init__(
        self,
        broker: Broker,
        client: UpstreamClient,
        snapshot: Snapshot,
        *,
        listener: DispatcherListener | None = None,
        zone: str | None = None,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._broker = broker
        self._client = client
        self._snapshot = snapshot
        self._listener = listener or DispatcherListener()
        self._now = now
        self._tls = TlsContexts()
        self._monotonic = monotonic
        self.balancers = Balancers(self._listener, zone, monotonic)
        self._settler = Settler(broker, self._listener, now)
        self._transforms = Compiler()
        self._serving: dict[str, ServiceConsumer] = {}
        self._leaving: dict[ServiceConsumer, asyncio.Task[None]] = {}
        self._changing = asyncio.Lock()

    async def __aenter__(self) -> Self:
        """Take messages from now on, or as soon as the broker is there."""
        self._broker.watch(self._on_state)
        await self.use(self._snapshot)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Stop."""
        await self.stop()

    @property
    def in_flight(self) -> int:
        """How many messages are under way."""
        return sum(consumer.in_flight for consumer in self._consumers())

    async def use(self, snapshot: Snapshot) -> None:
        """Go over to another configuration; what is under way is finished under the one it had.

        Where slots or tiers change, a new consumer takes over while the old one is drained; where
        anything else changes, the consumer goes on with a new pipeline. Certificates that were
        renewed on disk hold for the connections opened from then on. Raises ConfigError where
        files are not as they were checked; then nothing has changed.
        """
        async with self._changing:
            pipelines = self._pipelines(snapshot)
            self._snapshot = snapshot
            self.balancers.retain(snapshot.services)
            for name, consumer in list(self._serving.items()):
                service = snapshot.services.get(name)
                if service is None or not consumer.fits(service, snapshot.tiers):
                    self._let_go(self._serving.pop(name))
            for name, pipeline in pipelines.items():
                if name in self._serving:
                    self._serving[name].pipeline = pipeline
                else:
                    await self._serve(snapshot.services[name], pipeline)

    async def stop(self) -> None:
        """Take no more, give back what waits, finish what is under way within ``drain.timeout``."""
        async with self._changing:
            while self._serving:
                self._let_go(self._serving.popitem()[1])
        if self._leaving:
            await asyncio.wait(self._leaving.values())

    def force(self) -> None:
        """Break off what is under way, so that a stop that has begun ends soon."""
        for consumer in self._consumers():
            consumer.interrupt()

    def _pipelines(self, snapshot: Snapshot) -> dict[str, Pipeline]:
        tls = self._tls.of(snapshot.services)
        compiled = self._transforms.compile(snapshot)
        transformation = Transformation(snapshot, compiled, self._listener.transformed)
        return {
            name: self._pipeline(service, tls[name], transformation)
            for name, service in snapshot.services.items()
        }

    def _pipeline(
        self, service: Service, tls: ClientTls | None, transformation: Transformation
    ) -> Pipeline:
        caller = self._client.caller(UpstreamOptions.of(service, tls))
        discovery = StaticDiscovery(service)
        balancer = self.balancers.of(service, discovery.instances)
        clocks = (self._now, self._monotonic)
        return Pipeline(caller, discovery, balancer, service.timeout, transformation, *clocks)

    async def _serve(self, service: Service, pipeline: Pipeline) -> None:
        consumer = self._serving[service.name] = ServiceConsumer(
            service,
            self._snapshot.tiers,
            pipeline,
            self._broker,
            self._settler,
            self._listener,
            self._now,
        )
        self._listener.consuming(service.name, lambda: consumer.in_flight)
        await consumer.start()

    def _let_go(self, consumer: ServiceConsumer) -> None:
        """Drain it in the background."""
        task = asyncio.create_task(consumer.drain(self._snapshot.options.drain.timeout))
        self._leaving[consumer] = task
        task.add_done_callback(lambda _: self._leaving.pop(consumer))

    def _consumers(self) -> list[ServiceConsumer]:
        return [*self._serving.values(), *self._leaving]

    def _on_state(self, state: ConnectionState) -> None:
        if state is not ConnectionState.DISCONNECTED:
            self._settler.connection_restored()
            return
        for consumer in self._consumers():
            consumer.connection_lost()
