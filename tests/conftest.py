"""Servers for every test that needs a real one; see tests/servers.py for where they come from."""

import asyncio
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack

import pytest
import uvloop

from tests.servers import (
    RabbitMQNode,
    RedisClusterNode,
    RedisServer,
    environment_url,
    find_rabbitmq,
    join,
)


def pytest_configure() -> None:
    """Let SIGTERM end the run as an interrupt does, so that the servers end with it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Tests run on the event loop that the product runs on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def shared_rabbitmq() -> Iterator[RabbitMQNode]:
    """One node for the whole run; tests leave it alive and use a virtual host of their own."""
    node = find_rabbitmq()
    try:
        node.start()
        yield node
    finally:
        node.stop()


@pytest.fixture
def amqp_url(request: pytest.FixtureRequest) -> str:
    """A fresh virtual host; or the environment's broker as it is, so use unique names."""
    url = environment_url("AMQP")
    if url is not None:
        return url
    node: RabbitMQNode = request.getfixturevalue("shared_rabbitmq")
    return node.virtual_host()


@pytest.fixture
def private_rabbitmq() -> Iterator[Callable[[], RabbitMQNode]]:
    """Starts nodes that the test may kill, starve and restart."""
    with ExitStack() as stack:

        def start() -> RabbitMQNode:
            node = find_rabbitmq()
            stack.callback(node.stop)
            node.start()
            return node

        yield start


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Redis for the whole run; tests use keys of their own."""
    url = environment_url("REDIS")
    if url is not None:
        yield url
        return
    server = RedisServer()
    try:
        server.start()
        yield server.url
    finally:
        server.stop()


@pytest.fixture(scope="session")
def redis_cluster_url() -> Iterator[str]:
    """A Redis Cluster of one shard for the whole run; tests use keys of their own."""
    with ExitStack() as stack:
        yield _cluster(1, stack)[0].url


@pytest.fixture
def private_cluster() -> Iterator[Callable[[int], list[RedisClusterNode]]]:
    """Starts Redis Clusters of so many shards."""
    with ExitStack() as stack:
        yield lambda shards: _cluster(shards, stack)


def _cluster(shards: int, stack: ExitStack) -> list[RedisClusterNode]:
    nodes = [RedisClusterNode() for _ in range(shards)]
    for node in nodes:
        stack.callback(node.stop)
        node.start()
    join(nodes)
    return nodes


@pytest.fixture
def private_redis() -> Iterator[Callable[[], RedisServer]]:
    """Starts Redis servers that the test may kill and restart."""
    with ExitStack() as stack:

        def start() -> RedisServer:
            server = RedisServer()
            stack.callback(server.stop)
            server.start()
            return server

        yield start
