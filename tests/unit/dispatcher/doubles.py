"""A broker and an upstream client that tests hold in their hands."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from broker.contract import (
    ConnectionState,
    MessageTooLarge,
    OnDelivery,
    OnEvent,
    OnLeading,
    OnPublished,
    OnReply,
    OnState,
)
from broker.events import Event, Kind
from broker.messages import Envelope, Reply
from broker.topology import RequestQueue
from config.models.services import Service
from config.models.tiers import Tier
from config.models.transforms import Transform
from config.snapshot import Snapshot
from dispatcher.listener import DispatcherListener
from dispatcher.options import UpstreamOptions
from dispatcher.pipeline import Pipeline
from dispatcher.policies.load_balancing.balancer import Balancer
from dispatcher.policies.load_balancing.strategy import make_strategy
from dispatcher.policies.memory import Memory
from dispatcher.policies.retry import Retry
from dispatcher.route_rules import NO_RULES, RouteRules
from dispatcher.service_discovery import StaticDiscovery
from dispatcher.transformation.plans import Compiler
from dispatcher.transformation.transformation import OnEnded, Transformation
from dispatcher.transformation.workshop import Workshop
from dispatcher.upstream import Address, ConnectionCounts, UpstreamRequest, UpstreamResponse

NOW = 1_000_000.0  # Unix seconds
REPLY_TO = "gateway.replies.n1"


def tier(weight: int = 1, floor: float = 0.0, queue_limit: int = 100) -> Tier:
    """A tier without a rate limit."""
    return Tier(requests_per_minute=None, weight=weight, floor=floor, queue_limit=queue_limit)


TIERS = {
    "FREE": tier(weight=1, floor=0.05, queue_limit=10),
    "PRO": tier(weight=8, queue_limit=20),
    "ENTERPRISE": tier(weight=32, queue_limit=30),
}


def envelope(id_: str = "r1", **changes: Any) -> Envelope:
    """A GET of tier FREE for the service `users`, with 10 seconds left."""
    values: dict[str, Any] = {
        "id": id_,
        "route": "list-users",
        "service": "users",
        "tier": "FREE",
        "method": "GET",
        "path": "/api/users",
        "target": "/users?x=1",
        "headers": ((b"Accept", b"*/*"),),
        "body": b"",
        "principal": None,
        "deadline": NOW + 10,
        "idempotent": True,
        "reply_to": REPLY_TO,
        "published_at": NOW - 0.25,
    }
    return Envelope(**(values | changes))


def post(id_: str = "r1", **changes: Any) -> Envelope:
    """A POST, which is never executed twice."""
    return envelope(id_, method="POST", idempotent=False, **changes)


def service(name: str = "users", limit: int = 2, **changes: Any) -> Service:
    """A service with one instance."""
    values = {"name": name, "base_url": "http://users.test:8080", "timeout": 30.0}
    return Service.model_validate(values | {"concurrency": {"limit": limit}} | changes)


@dataclass
class Clock:
    """Time that stands until it is moved."""

    now: float = NOW

    def __call__(self) -> float:
        return self.now


@dataclass
class RecordingDelivery:
    """Remembers how it was settled; more than once is an error."""

    envelope: Envelope
    redelivered: bool
    log: list[str]  # what its broker saw, in order
    settled: str = ""

    def ack(self) -> None:
        self._settle("ack")

    def give_back(self) -> None:
        self._settle("give back")

    def retry(self) -> None:
        self._settle("retry")

    def dead_letter(self, reason: str) -> None:
        self._settle(f"dead-letter: {reason}")

    def _settle(self, how: str) -> None:
        assert not self.settled, f"settled twice: {self.settled}, {how}"
        self.settled = how
        self.log.append(f"{self.envelope.id} {how}")


@dataclass(eq=False)
class Subscription:
    """One consumer, as the broker sees it."""

    prefetch: int
    on_delivery: OnDelivery
    cancelled: bool = False
    cancelling: asyncio.Event | None = None  # wait for it before the cancellation is confirmed

    async def cancel(self) -> None:
        if self.cancelling is not None:
            await self.cancelling.wait()
        self.cancelled = True


@dataclass
class RecordingBroker:
    """Delivers what a test hands it, and keeps what is sent."""

    state: ConnectionState = ConnectionState.CONNECTED
    max_message: int = 1000  # of bodies
    log: list[str] = field(default_factory=list)
    replies: dict[str, Reply] = field(default_factory=dict)
    declared: list[RequestQueue] = field(default_factory=list)
    subscriptions: dict[str, Subscription] = field(default_factory=dict)  # by routing key
    watchers: list[OnState] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    subscribers: list[tuple[tuple[Kind, ...], OnEvent]] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        pass

    def watch(self, on_state: OnState) -> None:
        self.watchers.append(on_state)

    async def connected(self) -> None:
        pass

    async def declare(self, queues: Sequence[RequestQueue]) -> None:
        self.declared += queues

    def publish(self, envelope: Envelope, on_published: OnPublished) -> None:
        raise NotImplementedError

    async def consume(
        self, queue: RequestQueue, prefetch: int, on_delivery: OnDelivery
    ) -> Subscription:
        assert queue in self.declared
        subscription = self.subscriptions[queue.routing_key] = Subscription(prefetch, on_delivery)
        return subscription

    async def receive_replies(self, node: str, on_reply: OnReply) -> None:
        raise NotImplementedError

    def reply(self, to: str, reply: Reply, deadline: float) -> None:
        assert to == REPLY_TO
        assert reply.id not in self.replies, "answered twice"
        if len(reply.body) > self.max_message:
            raise MessageTooLarge
        self.replies[reply.id] = reply
        self.log.append(f"{reply.id} reply {reply.status}")

    def publish_event(self, event: Event) -> None:
        self.events.append(event)

    async def subscribe(self, kinds: Collection[Kind], on_event: OnEvent) -> None:
        self.subscribers.append((tuple(kinds), on_event))

    async def lead(self, task: str, on_leading: OnLeading) -> None:
        raise NotImplementedError

    def tell(self, event: Event) -> None:
        """Let an event come in."""
        for kinds, on_event in self.subscribers:
            if isinstance(event, kinds):
                on_event(event)

    def deliver(self, message: Envelope, *, redelivered: bool = False) -> RecordingDelivery:
        """Hand a message to the subscription of its queue."""
        delivery = RecordingDelivery(message, redelivered, self.log)
        subscription = self.subscriptions[f"{message.service}.{message.tier}"]
        assert not subscription.cancelled
        subscription.on_delivery(delivery)
        return delivery

    def become(self, state: ConnectionState) -> None:
        """Change the state, and tell."""
        self.state = state
        for on_state in self.watchers:
            on_state(state)


@dataclass
class Call:
    """One call of the upstream, which the test answers."""

    address: Address
    request: UpstreamRequest
    timeout: float
    future: asyncio.Future[UpstreamResponse]

    def answer(self, status: int = 200, body: bytes = b"ok") -> None:
        self.future.set_result(UpstreamResponse(status, b"OK", ((b"X", b"y"),), body))

    def fail(self, error: Exception) -> None:
        self.future.set_exception(error)


class HeldClient:
    """An upstream client whose calls stay open until the test ends them."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.options: list[UpstreamOptions] = []  # of each caller that was made
        self.counts = ConnectionCounts()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        pass

    def caller(self, options: UpstreamOptions) -> Self:
        self.options.append(options)
        return self

    def call(
        self, address: Address, request: UpstreamRequest, timeout: float
    ) -> asyncio.Future[UpstreamResponse]:
        future: asyncio.Future[UpstreamResponse] = asyncio.get_running_loop().create_future()
        self.calls.append(Call(address, request, timeout, future))
        return future


async def settled() -> None:
    """Let the loop run until everything that can happen without outside help has happened."""
    for _ in range(20):
        await asyncio.sleep(0)


def pipeline(
    client: HeldClient,
    of: Service,
    clock: Clock,
    *,
    transforms: Sequence[Transform] = (),
    ended: OnEnded = lambda name, ended: None,
    rules: RouteRules = NO_RULES,
    by_route: Mapping[str, RouteRules] | None = None,
    memory: Memory | None = None,
    listener: DispatcherListener | None = None,
    fall_back_to: Pipeline | None = None,
) -> Pipeline:
    """The pipeline of a service; all is measured on one clock, which retries move.

    Their waits are as long as they may be. ``rules`` are those of the usual envelope's route.
    """
    listener = listener or DispatcherListener()
    snapshot = Snapshot(routes=(), services={of.name: of}, transforms=tuple(transforms))

    async def sleep(seconds: float) -> None:
        clock.now += seconds

    return Pipeline(
        client,
        StaticDiscovery(of),
        Balancer(make_strategy(of.strategy), clock=clock),
        memory or Memory.of(of, listener.breaker_changed, clock, clock),
        Retry(of.retry_backoff, uniform=lambda _, bound: bound, sleep=sleep, now=clock),
        Transformation(snapshot, Compiler().compile(snapshot), Workshop(clock), ended),
        rules=by_route or {"list-users": rules},
        listener=listener,
        fall_back_to=fall_back_to,
        now=clock,
        monotonic=clock,
    )
