"""The admin listener."""

from pathlib import Path
from typing import Any

import aiohttp

from api_gateway.admin import AdminServer, Health
from api_gateway.listening import http_url, listen, listen_unix


class Subject:
    """Something to look at, whose health a test sets."""

    routes = ()

    def __init__(self, ready: bool = True) -> None:
        self.ready = ready

    async def health(self) -> Health:
        return Health(self.ready, {"broker": "connected" if self.ready else "disconnected"})

    async def metrics(self) -> bytes:
        return b"requests_total 1.0\n"

    async def breakers(self) -> list[dict[str, Any]]:
        return [{"service": "users", "state": "OPEN"}]


async def get(session: aiohttp.ClientSession, url: str) -> tuple[int, str]:
    async with session.get(url) as response:
        return response.status, await response.text()


async def test_health_follows_the_subject() -> None:
    """Ready is 200 or 503 with the state of each dependency; alive stays 200."""
    subject = Subject()
    listening = listen("127.0.0.1", 0)
    url = http_url(listening)
    async with AdminServer(subject, listening), aiohttp.ClientSession() as session:
        ready = await get(session, url + "/health/ready")
        subject.ready = False
        not_ready = await get(session, url + "/health/ready")
        live = await get(session, url + "/health/live")

    assert ready == (200, '{"status": "ready", "checks": {"broker": "connected"}}')
    assert not_ready == (503, '{"status": "not ready", "checks": {"broker": "disconnected"}}')
    assert live == (200, '{"status": "alive"}')


async def test_metrics_are_served_as_prometheus_text() -> None:
    """The page and its content type are what Prometheus expects."""
    listening = listen("127.0.0.1", 0)
    url = http_url(listening)
    async with (
        AdminServer(Subject(), listening),
        aiohttp.ClientSession() as session,
        session.get(url + "/metrics") as response,
    ):
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert await response.text() == "requests_total 1.0\n"


async def test_breakers_are_shown() -> None:
    """Each is an entry of a list."""
    listening = listen("127.0.0.1", 0)
    url = http_url(listening)
    async with AdminServer(Subject(), listening), aiohttp.ClientSession() as session:
        shown = await get(session, url + "/breakers")

    assert shown == (200, '{"breakers": [{"service": "users", "state": "OPEN"}]}')


async def test_the_listener_can_be_a_unix_socket(tmp_path: Path) -> None:
    """A child process is asked over a socket file."""
    path = tmp_path / "admin.sock"
    connector = aiohttp.UnixConnector(str(path))
    async with (
        AdminServer(Subject(), listen_unix(path)),
        aiohttp.ClientSession(connector=connector) as session,
    ):
        status, _ = await get(session, "http://child/health/live")

    assert status == 200


async def test_the_port_is_free_afterwards() -> None:
    """Leaving closes the listener."""
    listening = listen("127.0.0.1", 0)
    address = listening.getsockname()
    async with AdminServer(Subject(), listening):
        pass
    listen(*address).close()
