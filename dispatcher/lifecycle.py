"""A dispatcher from start to stop, and from one configuration to the next."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from broker.contract import Broker, ConnectionState
from broker.events import HealthReported, StateWanted
from config.models.services import Service
from config.snapshot import Snapshot
from dispatcher.breaker_log import log_change
from dispatcher.breaker_news import BreakerNews
from dispatcher.consumer import ServiceConsumer
from dispatcher.discovery.discoveries import Discoveries
from dispatcher.discovery.embedded_registry import EmbeddedRegistry
from dispatcher.health import FleetHealth
from dispatcher.listener import DispatcherListener
from dispatcher.options import ClientTls, UpstreamOptions
from dispatcher.pipeline import Pipeline
from dispatcher.policies.circuit_breaker import CircuitBreaker, Transition
from dispatcher.policies.load_balancing.services import Balancers
from dispatcher.policies.memory import Memory
from dispatcher.policies.retry import Retry
from dispatcher.route_rules import RouteRules, rules_by_service
from dispatcher.service_discovery import Instance
from dispatcher.settle import Settler
from dispatcher.tls import TlsContexts
from dispatcher.transformation.plans import Compiler
from dispatcher.transformation.transformation import Transformation
from dispatcher.transformation.workshop import Workshop
from dispatcher.upstream import UpstreamClient


@dataclass(frozen=True, slots=True)
class _Parts:
    """What the pipelines of one configuration have in common, or by service."""

    tls: Mapping[str, ClientTls | None]
    transformation: Transformation
    rules: Mapping[str, Mapping[str, RouteRules]]


class Dispatcher:
    """Serves every service of the configuration; an async context manager.

    Broker, client and discoveries are entered before it and left after it. Leaving it drains it.
    ``zone`` is where it runs, ``now`` is Unix seconds, ``monotonic`` measures durations.
    ``balancers`` is where health checks report to.
    """

    def __init__(
        self,
        broker: Broker,
        client: UpstreamClient,
        snapshot: Snapshot,
        *,
        discoveries: Discoveries | None = None,
        tls: TlsContexts | None = None,
        listener: DispatcherListener | None = None,
        zone: str | None = None,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._broker = broker
        self._client = client
        self._snapshot = snapshot
        self._discoveries = discoveries or Discoveries(EmbeddedRegistry())
        self._listener = listener or DispatcherListener()
        self._now = now
        self._tls = tls or TlsContexts()
        self._monotonic = monotonic
        self.balancers = Balancers(self._listener, zone, monotonic)
        self._health = FleetHealth(self.balancers.set_probed)
        self._settler = Settler(broker, self._listener, now)
        self._transforms = Compiler()
        self._workshop = Workshop(now)
        self._news = BreakerNews(broker, lambda: self.breakers)
        self._memories: dict[str, Memory] = {}
        self._serving: dict[str, ServiceConsumer] = {}
        self._leaving: dict[ServiceConsumer, asyncio.Task[None]] = {}
        self._changing = asyncio.Lock()

    async def __aenter__(self) -> Self:
        """Take messages from now on, or as soon as the broker is there."""
        await self._broker.subscribe([HealthReported], self._health.hear)
        self._broker.watch(self._on_state)
        await self._news.start()
        if self._broker.state is ConnectionState.CONNECTED:
            self._ask()
        await self.use(self._snapshot)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Stop."""
        await self.stop()
        self._health.close()

    @property
    def in_flight(self) -> int:
        """How many messages are under way."""
        return sum(consumer.in_flight for consumer in self._consumers())

    @property
    def breakers(self) -> Mapping[str, CircuitBreaker]:
        """The circuit breakers, by service."""
        memories = self._memories.items()
        return {name: memory.breaker for name, memory in memories if memory.breaker is not None}

    async def use(self, snapshot: Snapshot) -> None:
        """Go over to another configuration; what is under way is finished under the one it had.

        Where slots or tiers change, a new consumer takes over while the old one is drained; where
        anything else changes, the consumer goes on with a new pipeline. Certificates that were
        renewed on disk hold for the connections opened from then on. Raises ConfigError where
        files are not as they were checked; then nothing has changed.
        """
        async with self._changing:
            await self._discoveries.use(snapshot.services)
            pipelines = self._pipelines(snapshot)
            self._snapshot = snapshot
            self.balancers.retain(snapshot.services)
            self._health.repeat()
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

    def _pipelines(self, snapshot: Snapshot) -> dict[str, Pipeline]:
        """One for each service; those that others fall back to are made first."""
        self._remember(snapshot)
        parts = _Parts(
            self._tls.of(snapshot.services),
            Transformation(
                snapshot,
                self._transforms.compile(snapshot),
                self._workshop,
                self._listener.transformed,
            ),
            rules_by_service(snapshot.routes),
        )
        pipelines: dict[str, Pipeline] = {}

        def make(name: str) -> Pipeline:
            if name not in pipelines:
                options = snapshot.services[name].circuit_breaker
                other = options.fallback_service if options else None
                fall_back_to = make(other) if other else None
                pipelines[name] = self._pipeline(self._memories[name], parts, fall_back_to)
            return pipelines[name]

        for name in snapshot.services:
            make(name)
        return pipelines

    def _pipeline(self, memory: Memory, parts: "_Parts", fall_back_to: Pipeline | None) -> Pipeline:
        service = memory.service
        discovery = self._discoveries[service.name]
        return Pipeline(
            self._client.caller(UpstreamOptions.of(service, parts.tls[service.name])),
            discovery,
            self.balancers.of(service, discovery.instances),
            memory,
            Retry(service.retry_backoff, now=self._now),
            parts.transformation,
            rules=parts.rules.get(service.name, {}),
            listener=self._listener,
            fall_back_to=fall_back_to,
            now=self._now,
            monotonic=self._monotonic,
        )

    def _remember(self, snapshot: Snapshot) -> None:
        """What is known of a service stays, unless that is another service by now."""
        known, self._memories = self._memories, {}
        for name, service in snapshot.services.items():
            memory = known.get(name)
            if memory is not None and memory.fits(service):
                self._memories[name] = memory.under(service, self._now)
                continue
            memory = Memory.of(service, self._breaker_changed, self._monotonic, self._now)
            self._memories[name] = memory
            if memory.breaker is not None:
                self._listener.guarding(name, memory.breaker)
        for name, memory in known.items():
            if memory.breaker is not None and name not in self.breakers:
                self._listener.unguarded(name)

    def _breaker_changed(self, service: str, transition: Transition) -> None:
        log_change(service, transition, self._now())
        self._listener.breaker_changed(service, transition)
        self._news.changed(service, transition)

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
        self._listener.consuming(service.name, lambda: consumer.taken, lambda: consumer.limit)
        self._listener.holding(service.name, lambda: consumer.held)
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
            if state is ConnectionState.CONNECTED:
                self._ask()
            return
        for consumer in self._consumers():
            consumer.connection_lost()

    def _ask(self) -> None:
        """What was said of instances before this dispatcher could hear it."""
        self._broker.publish_event(StateWanted(kind="health"))
