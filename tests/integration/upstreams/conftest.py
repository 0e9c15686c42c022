"""Both clients, so that every test here shows that they behave alike."""

from collections.abc import AsyncIterator, Callable

import pytest

from dispatcher.aiohttp_upstream import AiohttpUpstreamClient
from dispatcher.lean_upstream import LeanUpstreamClient
from dispatcher.upstream import UpstreamClient

ClientFactory = Callable[..., UpstreamClient]


@pytest.fixture(params=[LeanUpstreamClient, AiohttpUpstreamClient], ids=["lean", "aiohttp"])
def make_client(request: pytest.FixtureRequest) -> ClientFactory:
    """Makes a client of each kind; takes ``limits`` and ``tls``."""
    factory: ClientFactory = request.param
    return factory


@pytest.fixture
async def client(make_client: ClientFactory) -> AsyncIterator[UpstreamClient]:
    """A running client with default limits."""
    async with make_client() as client:
        yield client
