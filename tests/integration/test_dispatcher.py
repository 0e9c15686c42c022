"""A dispatcher between a broker and a real upstream on loopback, on both carriers."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from broker.contract import Broker, BrokerListener, Published
from broker.embedded import EmbeddedBroker, EmbeddedServer
from broker.messages import Envelope, Reply
from broker.rabbitmq import RabbitMQBroker
from broker.topology import reply_queue
from config.models.gateway import Drain, GatewayOptions
from config.models.services import Service
from config.models.tiers import Tier
from config.snapshot import Snapshot
from dispatcher.lean_upstream import LeanUpstreamClient
from dispatcher.lifecycle import Dispatcher
from dispatcher.pipeline import Pipeline

TIERS = {
    "FREE": Tier(requests_per_minute=None, weight=1, floor=0.05),
    "ENTERPRISE": Tier(requests_per_minute=None, weight=32),
}


class Upstream:
    """Counts what it is asked; answers at once, or when the test lets it."""

    def __init__(self) -> None:
        self.ledger: list[str] = []  # targets, in the order of their arrival
        self.headers: list[Mapping[str, str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self._arrived = asyncio.Condition()
        self.server = TestServer(self._application())

    def _application(self) -> web.Application:
        application = web.Application()
        application.router.add_route("*", "/{rest:.*}", self._answer)
        return application

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        async with self._arrived:
            self.ledger.append(request.path_qs)
            self.headers.append(dict(request.headers))
            self._arrived.notify_all()
        await self.gate.wait()
        return web.Response(status=203, body=body or b"hello", headers={"X-Up": "1"})

    async def arrived(self, count: int) -> None:
        """Wait until so many requests have come in."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.ledger) >= count)


class Ingress:
    """Publishes requests and gathers their replies; a second answer to one request is an error."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._pending: dict[str, asyncio.Future[Reply]] = {}
        self.order: list[str] = []

    async def listen(self) -> None:
        await self._broker.receive_replies("n1", self._take)

    def _take(self, reply: Reply) -> None:
        self.order.append(reply.id)
        self._pending[reply.id].set_result(reply)

    def send(
        self, id_: str, method: str = "GET", timeout: float = 20.0, **changes: Any
    ) -> asyncio.Future[Reply]:
        """Publish a request; the future is its reply."""
        envelope = Envelope(
            **{
                "id": id_,
                "route": "r",
                "service": "users",
                "tier": "FREE",
                "method": method,
                "path": f"/{id_}",
                "target": f"/{id_}",
                "headers": ((b"X-A", b"1"), (b"X-A", b"2")),
                "body": b"",
                "principal": None,
                "deadline": time.time() + timeout,
                "idempotent": method == "GET",
                "reply_to": reply_queue("n1"),
                "published_at": time.time(),
            }
            | changes
        )
        future = self._pending[id_] = asyncio.get_running_loop().create_future()
        self._broker.publish(envelope, lambda ended: self._published(ended))
        return future

    @staticmethod
    def _published(ended: Published) -> None:
        assert ended is Published.ACCEPTED


class Clock:
    """The time, which a test can move."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


class DeadLetters(BrokerListener):
    """Keeps the reasons."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def dead_lettered(self, queue: str, reason: str) -> None:
        self.reasons.append(reason)


class House:
    """An ingress, an upstream, and as many dispatchers as a test wants."""

    def __init__(
        self, stack: AsyncExitStack, clock: Clock, connect: Callable[[BrokerListener], Broker]
    ) -> None:
        self.stack = stack
        self.clock = clock
        self.connect = connect
        self.broker = connect(BrokerListener())
        self.upstream = Upstream()
        self.ingress = Ingress(self.broker)

    async def open(self) -> None:
        await self.stack.enter_async_context(self.broker)
        await self.broker.connected()
        await self.upstream.server.start_server()
        self.stack.push_async_callback(self.upstream.server.close)
        await self.ingress.listen()

    def snapshot(self, limit: int, drain_timeout: float = 20) -> Snapshot:
        service = Service.model_validate(
            {
                "name": "users",
                "base_url": str(self.upstream.server.make_url("/base")),
                "concurrency": {"limit": limit},
            }
        )
        return Snapshot(
            routes=(),
            services={"users": service},
            tiers=TIERS,
            options=GatewayOptions(drain=Drain(timeout=drain_timeout)),
        )

    async def dispatcher(self, limit: int = 4, drain_timeout: float = 20) -> "Node":
        """A dispatcher with a connection and a client of its own, as a process would have."""
        node = Node(self, self.snapshot(limit, drain_timeout))
        await node.start()
        self.stack.push_async_callback(node.close)
        return node


class Node:
    """What a dispatcher process consists of."""

    def __init__(self, house: House, snapshot: Snapshot) -> None:
        self.dead_letters = DeadLetters()
        self.broker = house.connect(self.dead_letters)
        self.client = LeanUpstreamClient()
        self.dispatcher = Dispatcher(self.broker, self.client, snapshot, now=house.clock)

    async def start(self) -> None:
        await self.broker.__aenter__()
        await self.client.__aenter__()
        await self.dispatcher.__aenter__()
        await self.broker.connected()

    async def holds(self, count: int) -> None:
        """Wait until it has so many messages, waiting or under way."""
        consumer = self.dispatcher._serving["users"]
        await until(lambda: len(consumer._in_hand) == count)

    async def close(self) -> None:
        await self.dispatcher.stop()
        await self.client.__aexit__()
        await self.broker.__aexit__()

    async def vanish(self) -> None:
        """Lose the connection, as when the process is killed: nothing is finished or given back."""
        await self.broker.__aexit__()


def embedded(clock: Clock) -> Callable[[BrokerListener], Broker]:
    """Brokers that share the queues of one process."""
    server = EmbeddedServer(clock)
    return lambda listener: EmbeddedBroker(server=server, listener=listener)


def rabbitmq(url: str, clock: Clock) -> Callable[[BrokerListener], Broker]:
    """Connections to a RabbitMQ."""
    return lambda listener: RabbitMQBroker(url, listener=listener, clock=clock)


@pytest.fixture(params=["embedded", "rabbitmq"])
async def house(request: pytest.FixtureRequest) -> AsyncIterator[House]:
    """Broker, upstream and ingress; a dispatcher is up to the test."""
    clock = Clock()
    if request.param == "embedded":
        connect = embedded(clock)
    else:
        connect = rabbitmq(request.getfixturevalue("amqp_url"), clock)
    async with AsyncExitStack() as stack:
        house = House(stack, clock, connect)
        await house.open()
        yield house
        house.upstream.gate.set()


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until the condition holds; the test's own timeout bounds it."""
    while not condition():  # noqa: ASYNC110 -- nothing tells of it
        await asyncio.sleep(0)


async def test_there_and_back(house: House) -> None:
    """A request reaches the upstream as it is, and its answer comes home with its times."""
    await house.dispatcher()

    reply = await house.ingress.send("r1", "POST", body=b"\x00body", target="/x?a=%20b")

    assert house.upstream.ledger == ["/base/x?a=%20b"]
    assert 0 < int(house.upstream.headers[0]["X-Request-Deadline-Ms"]) <= 20_000
    assert (reply.status, reply.body, reply.problem) == (203, b"\x00body", None)
    assert (b"X-Up", b"1") in reply.headers
    assert reply.attempts == 1
    assert reply.upstream_ms > 0
    assert reply.instance == str(house.upstream.server.make_url("/base"))


async def test_a_service_that_is_not_there(house: House) -> None:
    """When nobody listens, the answer is 502 and nothing was executed."""
    await house.dispatcher()
    await house.upstream.server.close()

    reply = await house.ingress.send("r1", "POST")

    assert reply.status == 502
    assert reply.problem is not None
    assert (reply.problem.type, reply.problem.executed) == ("upstream-connection", "no")


async def test_many_requests_each_get_their_own_answer(house: House) -> None:
    """Over two dispatchers, every one of 500 requests is called once and answered once."""
    await house.dispatcher()
    await house.dispatcher()

    replies = await asyncio.gather(
        *(
            house.ingress.send(f"r{number}", "POST", body=b"%d" % number, tier=tier)
            for number in range(500)
            for tier in [("FREE", "ENTERPRISE")[number % 2]]
        )
    )

    assert [reply.body for reply in replies] == [b"%d" % number for number in range(500)]
    assert set(Counter(house.upstream.ledger).values()) == {1}


async def test_a_flood_of_free_requests_does_not_touch_enterprise(house: House) -> None:
    """ENTERPRISE overtakes 200 waiting FREE requests, which are all served in the end."""
    house.upstream.gate.clear()
    node = await house.dispatcher(limit=2)
    free = [house.ingress.send(f"f{number}") for number in range(200)]
    await house.upstream.arrived(2)
    await node.holds(3)
    enterprise = [house.ingress.send(f"e{number}", tier="ENTERPRISE") for number in range(10)]
    await node.holds(6)

    house.upstream.gate.set()
    await asyncio.gather(*enterprise)
    served_free = sum(future.done() for future in free)
    await asyncio.gather(*free)

    # A slot that is free while more of ENTERPRISE is on its way goes to FREE.
    assert served_free < 50
    assert len(house.upstream.ledger) == 210


async def test_what_is_late_in_the_queue_is_not_called(house: House) -> None:
    """A request whose deadline passes while all slots are taken never reaches the upstream."""
    house.upstream.gate.clear()
    node = await house.dispatcher(limit=1)
    slow = house.ingress.send("slow", timeout=600)
    await house.upstream.arrived(1)
    late = house.ingress.send("late", timeout=30)
    await node.holds(2)

    house.clock.ahead = 60
    house.upstream.gate.set()
    await slow
    await house.ingress.send("after", timeout=600)

    assert house.upstream.ledger == ["/base/slow", "/base/after"]
    assert not late.done()


async def test_a_rolling_restart_fails_nobody(house: House) -> None:
    """One dispatcher stops with calls under way and messages waiting; another answers the rest."""
    house.upstream.gate.clear()
    old = await house.dispatcher(limit=4)
    sent = [
        house.ingress.send(f"r{number}", "POST" if number % 2 else "GET") for number in range(40)
    ]
    await house.upstream.arrived(4)
    await house.dispatcher(limit=4)
    await house.upstream.arrived(8)

    stop = asyncio.create_task(old.dispatcher.stop())
    house.upstream.gate.set()
    replies = await asyncio.gather(*sent)
    await stop

    assert {reply.status for reply in replies} == {203}
    assert set(Counter(house.upstream.ledger).values()) == {1}
    assert old.dispatcher.in_flight == 0


async def test_a_lost_dispatcher_loses_no_get_and_repeats_no_post(house: House) -> None:
    """GETs in its hands are answered by another; a POST under way is not called again."""
    house.upstream.gate.clear()
    lost = await house.dispatcher(limit=4)
    get = [house.ingress.send(f"g{number}") for number in range(3)]
    await house.upstream.arrived(3)
    under_way = house.ingress.send("p-called", "POST", timeout=20)
    await house.upstream.arrived(4)
    await lost.vanish()
    house.upstream.gate.set()
    await house.dispatcher()

    replies = await asyncio.gather(*get)

    assert {reply.status for reply in replies} == {203}
    assert Counter(house.upstream.ledger)["/base/p-called"] == 1
    assert not under_way.done()


async def test_a_post_waiting_in_a_lost_dispatcher_is_of_unknown_outcome(house: House) -> None:
    """Nobody else can know that it was not begun: it is answered, and not executed."""
    house.upstream.gate.clear()
    lost = await house.dispatcher(limit=1)
    house.ingress.send("running")
    await house.upstream.arrived(1)
    waiting = house.ingress.send("waiting", "POST")
    await lost.holds(2)
    await lost.vanish()
    house.upstream.gate.set()
    await house.dispatcher()

    reply = await waiting

    assert reply.problem is not None
    assert (reply.problem.type, reply.problem.executed) == ("outcome-unknown", "unknown")
    assert "/base/waiting" not in house.upstream.ledger


async def test_a_poison_message_harms_nobody(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message at which our code fails is dead-lettered and answered 500; others are served."""
    handle = Pipeline.handle

    async def fail_at_poison(self: Pipeline, work: Any) -> Any:
        if work.envelope.id == "poison":
            raise ZeroDivisionError("poison")
        return await handle(self, work)

    monkeypatch.setattr(Pipeline, "handle", fail_at_poison)
    node = await house.dispatcher(limit=1)

    poison = await house.ingress.send("poison")
    good = await house.ingress.send("good")

    assert (poison.status, good.status) == (500, 203)
    await until(lambda: node.dead_letters.reasons == ["ZeroDivisionError: poison"])


async def test_a_slow_service_is_given_up_at_the_deadline(house: House) -> None:
    """The call ends when nobody waits any more, and its slot is free for the next."""
    house.upstream.gate.clear()
    node = await house.dispatcher(limit=1)
    late = house.ingress.send("late", "POST", timeout=0.1)
    await house.upstream.arrived(1)
    await until(lambda: node.dispatcher.in_flight == 0)

    house.upstream.gate.set()
    assert (await house.ingress.send("after")).status == 203

    # A timer may go off a moment early: then there is still time to say so.
    assert not late.done() or late.result().status == 504
