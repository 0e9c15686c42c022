"""One suite, three carriers."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from broker.contract import Broker, BrokerListener
from broker.topology import RequestQueue
from tests.conformance.carriers import WITHIN, Carrier, EmbeddedCarrier, RabbitMQCarrier

Connect = Callable[..., Awaitable[Broker]]


@pytest.fixture(params=["embedded", "lane", "plain"])
def carrier(request: pytest.FixtureRequest) -> Carrier:
    """Each carrier in turn; those over RabbitMQ start it when they are first asked for."""
    if request.param == "embedded":
        return EmbeddedCarrier()
    url: str = request.getfixturevalue("amqp_url")
    return RabbitMQCarrier(url, lane=request.param == "lane")


@pytest_asyncio.fixture
async def connect(carrier: Carrier) -> AsyncIterator[Connect]:
    """Makes connected brokers, and closes them when the test ends."""
    async with AsyncExitStack() as stack:

        async def connect(listener: BrokerListener | None = None) -> Broker:
            broker = await stack.enter_async_context(carrier.broker(listener))
            await asyncio.wait_for(broker.connected(), WITHIN)
            return broker

        yield connect


@pytest_asyncio.fixture
async def broker(connect: Connect) -> Broker:
    """A connected broker."""
    return await connect()


@pytest.fixture
def service() -> str:
    """A service of which nobody has heard, as the broker may be shared."""
    return f"service-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def node() -> str:
    """An ingress node of which nobody has heard."""
    return f"node-{uuid.uuid4().hex[:12]}"


@pytest_asyncio.fixture
async def queue(broker: Broker, service: str) -> RequestQueue:
    """A declared queue with room for much."""
    queue = RequestQueue(service, "FREE", limit=5000)
    await broker.declare([queue])
    return queue
