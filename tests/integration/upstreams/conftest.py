"""Both clients, so that every test here shows that they behave alike."""

from collections.abc import AsyncIterator, Callable

import pytest

from tests.integration.upstreams.calling import Calling, aiohttp, lean

ClientFactory = Callable[..., Calling]


@pytest.fixture(params=[lean, aiohttp], ids=["lean", "aiohttp"])
def make_client(request: pytest.FixtureRequest) -> ClientFactory:
    """Makes a client of each kind; takes ``limits``, ``tls``, ``server_name``, ``resolver``."""
    factory: ClientFactory = request.param
    return factory


@pytest.fixture
async def client(make_client: ClientFactory) -> AsyncIterator[Calling]:
    """A running client with default limits."""
    async with make_client() as client:
        yield client
