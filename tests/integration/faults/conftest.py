"""A broker of these tests' own, which they may kill."""

from collections.abc import Iterator

import pytest

from tests.servers import RabbitMQNode, find_rabbitmq


@pytest.fixture(scope="package")
def node_of_folder() -> Iterator[RabbitMQNode]:
    """One for all, as a start takes long."""
    node = find_rabbitmq()
    try:
        node.start()
        yield node
    finally:
        node.stop()


@pytest.fixture
def node(node_of_folder: RabbitMQNode) -> RabbitMQNode:
    """Alive at the start of each test, however the one before ended."""
    if not node_of_folder.alive:
        node_of_folder.start()
    return node_of_folder


@pytest.fixture
def own_vhost(node: RabbitMQNode) -> str:
    """The URL of a virtual host there that nobody has used."""
    return node.virtual_host()
