"""Registration over the admin listener."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from api_gateway.admin import AdminServer, Health
from api_gateway.admin_access import AdminToken
from api_gateway.instances import InstancesApi
from api_gateway.listening import http_url, listen
from config.models.services import Service
from dispatcher.discovery.embedded_registry import EmbeddedRegistry
from dispatcher.discovery.registration import Lease
from dispatcher.discovery.registry import Registry, RegistryFull, RegistryUnavailable
from dispatcher.service_discovery import Instance, instance_at

TOKEN = {"Authorization": "Bearer sesame"}
URL = "http://10.0.0.5:8080"
FOUND_BY: dict[str, dict[str, Any]] = {
    "users": {"discovery": {"type": "registry"}},
    "near": {"discovery": {"type": "registry", "allow": ["127.0.0.0/8"]}},
    "fixed": {"base_url": "http://a.test"},
}
SERVICES = {
    name: Service.model_validate({"name": name, **found_by}) for name, found_by in FOUND_BY.items()
}


class Subject:
    """Serves the routes of one API."""

    def __init__(self, api: InstancesApi) -> None:
        self.routes = api.routes

    async def health(self) -> Health:
        return Health(True)

    async def metrics(self) -> bytes:
        return b""

    async def breakers(self) -> list[dict[str, Any]]:
        return []


class Failing(EmbeddedRegistry):
    """Fails in one way, whatever it is asked."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    async def register(self, service: str, lease: Lease) -> bool:
        raise self.error

    async def remove(self, service: str, url: str) -> bool:
        raise self.error

    async def registered(self, service: str) -> Sequence[Lease]:
        raise self.error


class Client:
    """Asks for one path after another."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def ask(
        self, method: str, service: str = "users", headers: Any = TOKEN, **what: Any
    ) -> tuple[int, Any]:
        """Status and content."""
        url = f"{self._url}/services/{service}/instances"
        async with self._session.request(method, url, headers=headers, **what) as response:
            self.fields = response.headers
            content = await response.json(content_type=None) if response.status != 204 else None
            return response.status, content


@asynccontextmanager
async def served(
    registry: Registry | None, token: str | None = "sesame", known: Any = None
) -> AsyncIterator[Client]:
    api = InstancesApi(AdminToken(token), lambda: SERVICES, registry, known)
    listening = listen("127.0.0.1", 0)
    url = http_url(listening)
    async with AdminServer(Subject(api), listening), aiohttp.ClientSession() as session:
        yield Client(session, url)


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """Of a registry of this process."""
    async with EmbeddedRegistry() as registry, served(registry) as client:
        yield client


async def test_the_life_of_a_registration(client: Client) -> None:
    """It is made, shown, kept by a heartbeat, and removed, by the id that it was told."""
    body = {"url": URL + "/", "weight": 2, "zone": "east", "ttl": 9}
    told = {"id": URL, "ttl": 9.0, "heartbeat": 3.0}
    assert await client.ask("POST", json=body) == (201, told)
    assert client.fields["Location"].startswith("/services/users/instances?id=http%3A%2F%2F10.")
    assert await client.ask("POST", json=body) == (200, told)
    shown = {"id": URL, "url": URL, "weight": 2, "zone": "east"}
    expected = {"service": "users", "discovery": "registry", "instances": [shown]}
    assert await client.ask("GET", headers=None) == (200, expected)
    assert await client.ask("DELETE", params={"id": URL}) == (204, None)
    assert (await client.ask("DELETE", params={"id": URL}))[0] == 404
    assert (await client.ask("GET"))[1]["instances"] == []


@pytest.mark.parametrize("method", ["POST", "DELETE"])
@pytest.mark.parametrize(
    "shown", ["", "sesame", "Bearer", "Bearer open", "Basic sesame", "Bearer sesamé"]
)
async def test_changes_want_the_token(client: Client, method: str, shown: str) -> None:
    """Exactly it, in a Bearer scheme."""
    headers = {"Authorization": shown}
    status, _ = await client.ask(method, headers=headers, json={"url": URL}, params={"id": URL})
    assert status == 401
    assert client.fields["WWW-Authenticate"] == "Bearer"


async def test_without_a_token_nothing_can_be_changed() -> None:
    """There is no default one."""
    async with EmbeddedRegistry() as registry, served(registry, token=None) as client:
        for shown in ("Bearer ", "Bearer None", "Bearer sesame"):
            headers = {"Authorization": shown}
            assert (await client.ask("POST", headers=headers, json={"url": URL}))[0] == 403
        assert (await client.ask("GET", headers=None))[0] == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"\xff", 400),
        (b"[" * 60_000, 400),
        (b'["http://a"]', 400),
        (b'{"url": "ftp://a"}', 400),
        (b'{"url": "http://169.254.169.254"}', 403),
        (b'{"url": "http://a", "zone": "' + b"z" * 70_000 + b'"}', 413),
    ],
)
async def test_what_can_not_be_registered(client: Client, body: bytes, status: int) -> None:
    """Each is refused with a reason, and nothing is registered."""
    assert (await client.ask("GET"))[1]["instances"] == []
    async with client._session.post(
        f"{client._url}/services/users/instances", data=body, headers=TOKEN
    ) as response:
        assert response.status == status
    assert (await client.ask("GET"))[1]["instances"] == []


async def test_faults_are_told_by_their_keys(client: Client) -> None:
    """All of them at once."""
    status, problem = await client.ask("POST", json={"url": "ftp://a", "weight": 0})
    assert status == 400
    assert client.fields["Content-Type"].startswith("application/problem+json")
    assert [fault["key"] for fault in problem["faults"]] == ["url", "weight"]


async def test_a_service_chooses_its_networks(client: Client) -> None:
    """``allow`` is that of the service."""
    assert (await client.ask("POST", "near", json={"url": URL}))[0] == 403
    assert (await client.ask("POST", "near", json={"url": "http://127.0.0.1:81"}))[0] == 201


@pytest.mark.parametrize(("service", "status"), [("fixed", 409), ("unknown", 404)])
@pytest.mark.parametrize("method", ["POST", "DELETE", "GET"])
async def test_services_that_nobody_registers_for(
    client: Client, method: str, service: str, status: int
) -> None:
    """One that has its instances otherwise, and one that is not there."""
    body = {"json": {"url": URL}} if method == "POST" else {"params": {"id": URL}}
    assert (await client.ask(method, service, **body))[0] == status


async def test_a_removal_names_somebody(client: Client) -> None:
    """Nobody removes all by mistake."""
    assert (await client.ask("DELETE"))[0] == 400


@pytest.mark.parametrize(
    ("error", "statuses"),
    [(RegistryUnavailable("away"), [503, 503, 503]), (RegistryFull(), [409])],
    ids=["away", "full"],
)
async def test_a_registry_that_takes_nothing(error: Exception, statuses: list[int]) -> None:
    """Away is 503 with Retry-After, full is 409."""
    async with served(Failing(error)) as client:
        asked = [
            await client.ask("POST", json={"url": URL}),
            *([] if len(statuses) == 1 else [await client.ask("DELETE", params={"id": URL})]),
            *([] if len(statuses) == 1 else [await client.ask("GET")]),
        ]
        assert [status for status, _ in asked] == statuses
        assert ("Retry-After" in client.fields) is (statuses[0] == 503)


async def test_a_process_without_a_registry() -> None:
    """It does not pretend to keep what nobody would hear of."""
    async with served(None) as client:
        assert (await client.ask("POST", json={"url": URL}))[0] == 503


async def test_a_dispatcher_shows_what_it_calls() -> None:
    """Whatever kind of discovery found it, and while the registry is away."""
    instances: dict[str, tuple[Instance, ...]] = {
        "fixed": (instance_at("http://a.test"),),
        "users": (instance_at(URL, 3, "east"),),
    }
    away = Failing(RegistryUnavailable("away"))
    async with served(away, known=instances.__getitem__) as client:
        _, fixed = await client.ask("GET", "fixed")
        _, users = await client.ask("GET")
    assert fixed["instances"][0]["url"] == "http://a.test"
    assert users["instances"] == [{"id": URL, "url": URL, "weight": 3, "zone": "east"}]
