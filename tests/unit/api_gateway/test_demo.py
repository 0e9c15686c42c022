"""The demo upstream and the request to try."""

import aiohttp
import pytest

from api_gateway.demo import DemoUpstream, bearer_for, curl, local_addresses, route_to_try
from api_gateway.listening import CantListenError, listen
from broker.messages import Principal
from config.models.routes import Route
from config.models.services import Service
from config.snapshot import Snapshot
from tests.processes import free_port


def service(name: str, *urls: str) -> Service:
    return Service.model_validate({"name": name, "instances": [{"url": url} for url in urls]})


def route(**fields: object) -> Route:
    return Route.model_validate({"service": "users", **fields})


def test_only_plain_addresses_on_this_machine_are_played() -> None:
    """Other hosts and TLS are left alone; the same address twice is one."""
    services = [
        service("a", "http://127.0.0.1:9000", "http://users:8080", "https://127.0.0.1:9443"),
        service("b", "http://localhost:9001/base", "http://127.0.0.1:9000"),
    ]

    assert local_addresses(services) == [("127.0.0.1", 9000), ("localhost", 9001)]


async def test_the_demo_echoes_what_it_received() -> None:
    """Method, path, query, headers and body come back as JSON."""
    port = free_port()
    async with (
        DemoUpstream([("127.0.0.1", port)]),
        aiohttp.ClientSession() as session,
        session.post(
            f"http://127.0.0.1:{port}/a%2Fb?x=1&x=2", data=b"hello", headers={"X-Tried": "yes"}
        ) as response,
    ):
        seen = await response.json()

    assert (seen["method"], seen["path"], seen["query"]) == ("POST", "/a%2Fb", "x=1&x=2")
    assert seen["body"] == "hello"
    assert seen["headers"]["X-Tried"] == "yes"


async def test_a_taken_port_is_an_error() -> None:
    """Entering on a port in use is refused."""
    with listen("127.0.0.1", 0) as taken, pytest.raises(CantListenError, match="in use"):
        await DemoUpstream([taken.getsockname()]).__aenter__()


def test_the_first_route_for_a_get_is_tried() -> None:
    """A route that takes no GET is passed over; without any there is nothing to try."""
    post, get = route(path="/a", method="POST"), route(path="/b", method="GET")

    assert route_to_try(Snapshot((post, get), {})) is get
    assert route_to_try(Snapshot((post,), {})) is None


def test_the_bearer_has_what_the_route_demands() -> None:
    """Roles and scopes of the route are in the demo's token."""
    demanding = route(path="/a", roles={"any": ["admin"]}, scopes={"all": ["users:read"]})

    bearer = bearer_for(demanding, ["FREE", "PRO"])

    assert bearer == Principal("demo", "PRO", ("admin",), ("users:read",))


def test_the_command_line_is_ready_to_paste() -> None:
    """Parameters have example values, and the token is quoted."""
    line = curl("http://127.0.0.1:8000", route(path="/users/{id}/files/*"), "t0k3n")

    assert line == (
        "curl -i -H 'Authorization: Bearer t0k3n' http://127.0.0.1:8000/users/1/files/file.txt"
    )
    assert "Authorization" not in curl("http://127.0.0.1:8000", route(path="/"), None)
