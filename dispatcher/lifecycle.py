"""A dispatcher from start to stop, and from one configuration to the next."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Self

from broker.contract import Broker, ConnectionState
from config.models import Service
from config.snapshot import Snapshot
from dispatcher.consumer import ServiceConsumer
from dispatcher.discovery.discoveries import Discoveries
from dispatcher.discovery.embedded_registry import EmbeddedRegistry
from dispatcher.metrics import DispatcherListener
from dispatcher.pipeline import Pipeline
from dispatcher.policies.load_balancing import RoundRobin
from dispatcher.service_discovery import Instance
from dispatcher.settle import Settler
from dispatcher.upstream import UpstreamClient


class Dispatcher:
    """Serves every service of the configuration; an async context manager.

    Broker, client and discoveries are entered before it and left after it. Leaving it drains it.
    ``now`` is Unix seconds.
    """

    def __init__(
        self,
        broker: Broker,
        client: UpstreamClient,
        snapshot: Snapshot,
        *,
        discoveries: Discoveries | None = None,
        listener: DispatcherListener | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._broker = broker
        self._client = client
        self._snapshot = snapshot
        self._discoveries = discoveries or Discoveries(EmbeddedRegistry())
        self._listener = listener or DispatcherListener()
        self._now = now
        self._settler = Settler(broker, self._listener, now)
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
        anything else changes, the consumer goes on with a new pipeline.
        """
        async with self._changing:
            await self._discoveries.use(snapshot.services)
            services = snapshot.services.items()
            pipelines = {name: self._pipeline(service) for name, service in services}
            self._snapshot = snapshot
            for name, consumer in list(self._serving.items()):
                service = snapshot.services.get(name)
                if service is None or not consumer.fits(service, snapshot.tiers):
                    self._let_go(self._serving.pop(name))
            for name, pipeline in pipelines.items():
                if name in self._serving:
                    self._serving[name].pipeline = pipeline
                else:
                    await self._serve(snapshot.services[name], pipeline)

    def instances(self, service: str) -> Sequence[Instance]:
        """Those known of a service; none of one that is not served yet."""
        return self._discoveries.instances(service)

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

    def _pipeline(self, service: Service) -> Pipeline:
        discovery, balancer = self._discoveries[service.name], RoundRobin()
        return Pipeline(self._client, discovery, balancer, service.timeout, self._now)

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
