"""The gateway inside an application: no socket in front, a real upstream behind."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from api_gateway import APIGateway
from broker.messages import Principal
from config.faults import ConfigError
from config.models.auth import Auth
from ingress.identity.tokens import issue
from tests.integration.commands import SECRET, configuration, upstream

NOW = 1_700_000_000.0


async def echo(request: web.BaseRequest) -> web.StreamResponse:
    """What was received, as JSON; other paths answer in other types."""
    match request.path:
        case "/open/text":
            return web.Response(text="grüße")
        case "/open/bytes":
            return web.Response(body=b"\x00\xff", content_type="application/octet-stream")
        case "/open/broken":
            return web.Response(body=b"{", content_type="application/json")
        case "/open/cookies":
            response = web.Response(status=204)
            response.headers.add("Set-Cookie", "a=1")
            response.headers.add("Set-Cookie", "b=2")
            response.headers.add("X-Many", "1")
            response.headers.add("X-Many", "2")
            return response
    body = await request.read()
    seen = {
        "method": request.method,
        "target": request.path_qs,
        "headers": dict(request.headers),
        "body": body.decode(),
    }
    return web.json_response(seen)


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AMQP_URL", "REDIS_URL", "ELASTICSEARCH_URL", "JWT_SECRET", "CONFIG_DIR"):
        monkeypatch.delenv(f"GATEWAY_{name}", raising=False)


@pytest.fixture
async def config(tmp_path: Path) -> AsyncIterator[str]:
    """A configuration whose upstream echoes."""
    async with upstream(echo) as url:
        yield configuration(
            tmp_path,
            url,
            routes=[
                {"path": "/admin", "service": "users", "roles": {"any": ["admin"]}},
                {"path": "/small", "service": "users", "auth_required": False, "max_body": 4},
            ],
        )


@pytest.fixture
async def gateway(config: str) -> AsyncIterator[APIGateway]:
    """A gateway on the embedded broker."""
    async with APIGateway(config_dir=config, jwt_secret=SECRET) as gateway:
        yield gateway


def bearer(**claims: Any) -> dict[str, str]:
    import time

    token = issue(
        Principal("u1", **{"tier": "FREE", **claims}), SECRET, Auth(), ttl=60, now=time.time()
    )
    return {"Authorization": f"Bearer {token}"}


async def test_a_request_takes_the_whole_way(gateway: APIGateway) -> None:
    """A request with a token is answered by the upstream, and its JSON is decoded."""
    response = await gateway.handle_request(
        request={"method": "GET", "path": "/closed", "headers": bearer()},
        context={"user_id": "ignored", "ip_address": "192.168.1.1"},
    )

    assert response["status"] == 200
    assert response["headers"]["Content-Type"].startswith("application/json")
    assert response["body"]["target"] == "/closed"
    assert response["body"]["headers"]["X-User-Id"] == "u1"
    assert response["body"]["headers"]["X-Forwarded-For"] == "192.168.1.1"


async def test_the_application_may_vouch_for_a_caller(gateway: APIGateway) -> None:
    """`user_id` in the context stands for a token; without both the answer is 401."""
    request = {"method": "GET", "path": "/closed"}

    vouched = await gateway.handle_request(request, {"user_id": "user123", "tier": "PRO"})
    anonymous = await gateway.handle_request(request, {})

    assert vouched["status"] == 200
    assert vouched["body"]["headers"]["X-User-Id"] == "user123"
    assert vouched["body"]["headers"]["X-User-Tier"] == "PRO"
    assert anonymous["status"] == 401
    assert anonymous["body"]["type"] == "/problems/unauthorized"


async def test_a_bad_token_is_not_outvoted_by_the_context(gateway: APIGateway) -> None:
    """An Authorization that is there must be valid, whomever the application vouches for."""
    response = await gateway.handle_request(
        {"path": "/closed", "headers": {"authorization": "Bearer no-token"}}, {"user_id": "u1"}
    )

    assert response["status"] == 401


async def test_roles_count_for_vouched_callers_too(gateway: APIGateway) -> None:
    """A route for admins is closed to others."""
    statuses = [
        (await gateway.handle_request({"path": "/admin"}, {"user_id": "u1", "roles": roles}))[
            "status"
        ]
        for roles in ([], ["admin"])
    ]

    assert statuses == [403, 200]


async def test_an_unknown_tier_is_the_applications_mistake(gateway: APIGateway) -> None:
    """There is no queue for it, so nothing is sent."""
    with pytest.raises(ValueError, match="GOLD"):
        await gateway.handle_request({"path": "/closed"}, {"user_id": "u1", "tier": "GOLD"})


async def test_bodies_and_queries_of_all_kinds(gateway: APIGateway) -> None:
    """Data is sent as JSON, text as UTF-8, bytes as they are; a query may be text or a mapping."""
    sent: list[dict[str, Any]] = [
        {"body": {"name": "Zoë"}},
        {"body": "Zoë"},
        {"body": b"Zo"},
        {"query": "a=1"},
        {"query": {"a": [1, 2]}},
        {"path": "/open/a?b=1", "query": {"a": "x y"}},
    ]

    seen = [
        (await gateway.handle_request({"method": "POST", "path": "/open/a", **request}))["body"]
        for request in sent
    ]

    assert [json.loads(seen[0]["body"]), seen[1]["body"], seen[2]["body"]] == [
        {"name": "Zoë"},
        "Zoë",
        "Zo",
    ]
    assert seen[0]["headers"]["Content-Type"] == "application/json"
    assert [answer["target"] for answer in seen[3:]] == [
        "/open/a?a=1",
        "/open/a?a=1&a=2",
        "/open/a?b=1&a=x+y",
    ]


async def test_answers_of_all_kinds(gateway: APIGateway) -> None:
    """Text is decoded, other types are bytes, and so is JSON that is none; repeated fields stay."""
    text, binary, broken, cookies = [
        await gateway.handle_request({"path": f"/open/{kind}"})
        for kind in ("text", "bytes", "broken", "cookies")
    ]

    assert (text["body"], binary["body"], broken["body"]) == ("grüße", b"\x00\xff", b"{")
    assert (cookies["status"], cookies["body"]) == (204, b"")
    assert cookies["headers"]["Set-Cookie"] == ["a=1", "b=2"]
    assert cookies["headers"]["X-Many"] == "1, 2"


async def test_limits_hold_without_a_socket_too(gateway: APIGateway) -> None:
    """A body over the route's limit is 413, an unknown path 404."""
    large = await gateway.handle_request({"method": "POST", "path": "/small", "body": "12345"})
    unknown = await gateway.handle_request({"path": "/nowhere"})

    assert (large["status"], unknown["status"]) == (413, 404)


@pytest.mark.parametrize("headers", [{"X-A": "1\r\nX-B: 2"}, {"X A": "1"}, {"": "1"}])
async def test_header_fields_that_cannot_be_sent(
    gateway: APIGateway, headers: dict[str, str]
) -> None:
    """A field that would split the request is the application's mistake, and told so."""
    with pytest.raises(ValueError, match=r"X-A|name of a header"):
        await gateway.handle_request({"path": "/open/a", "headers": headers})


async def test_many_requests_at_once(gateway: APIGateway) -> None:
    """Each gets the answer to its own."""
    responses = await asyncio.gather(
        *(gateway.handle_request({"path": f"/open/{number}"}) for number in range(200))
    )

    assert [r["body"]["target"] for r in responses] == [f"/open/{n}" for n in range(200)]


# --- update_config ------------------------------------------------------------------------------


async def test_new_routes_count_from_the_next_request_on(gateway: APIGateway) -> None:
    """Routes are replaced as a whole."""
    await gateway.update_config(
        config_type="routes",
        config_data=[{"path": "/new", "service": "users", "auth_required": False}],
    )

    new = await gateway.handle_request({"path": "/new"})
    old = await gateway.handle_request({"path": "/open/a"})

    assert (new["status"], old["status"]) == (200, 404)


async def test_new_services_are_served(gateway: APIGateway) -> None:
    """A service that was added is called, and a moved one is called at its new place."""
    async with upstream(echo) as url:
        services = [{"name": name, "base_url": f"{url}/{name}"} for name in ("users", "orders")]
        await gateway.update_config("services", services)
        route = {"path": "/{a}", "auth_required": False}
        await gateway.update_config(
            "routes",
            [
                {**route, "service": "orders", "path": "/orders"},
                {**route, "service": "users", "path": "/users"},
            ],
        )
        responses = [
            await gateway.handle_request({"path": f"/{name}"}) for name in ("orders", "users")
        ]

    assert [r["body"]["target"] for r in responses] == ["/orders/orders", "/users/users"]


async def test_bad_configuration_never_replaces_good(gateway: APIGateway) -> None:
    """Every fault is told, and the routes of before go on."""
    with pytest.raises(ConfigError) as caught:
        await gateway.update_config(
            "routes", [{"path": "nowhere", "service": "users"}, {"path": "/a", "service": "none"}]
        )
    with pytest.raises(ConfigError, match="colours"):
        await gateway.update_config("colours", [])

    assert len(caught.value.faults) == 2
    assert (await gateway.handle_request({"path": "/open/a"}))["status"] == 200


async def test_changes_under_load_fail_nobody(gateway: APIGateway) -> None:
    """While the configuration goes to and fro, every request is answered 200."""
    route = {"path": "/open/*", "service": "users", "auth_required": False}
    stop = asyncio.Event()
    statuses: list[int] = []

    async def ask() -> None:
        while not stop.is_set():
            statuses.append((await gateway.handle_request({"path": "/open/a"}))["status"])

    async with asyncio.TaskGroup() as asking:
        for _ in range(8):
            asking.create_task(ask())
        for number in range(20):
            await gateway.update_config("routes", [route, {**route, "path": f"/{number}"}])
            await gateway.update_config(
                "tiers", {"FREE": {"requests_per_minute": None, "weight": number + 1}}
            )
            while len(statuses) < 10 * number:  # noqa: ASYNC110
                await asyncio.sleep(0)
        stop.set()

    assert set(statuses) == {200}


# --- its life -----------------------------------------------------------------------------------


def test_bad_configuration_raises_every_fault(tmp_path: Path) -> None:
    """The constructor refuses a directory that can't be used."""
    with pytest.raises(ConfigError, match="no such directory"):
        APIGateway(config_dir=tmp_path / "missing")


async def test_over_a_real_broker(config: str, amqp_url: str) -> None:
    """With `amqp_url` requests pass through RabbitMQ."""
    async with APIGateway(config_dir=config, amqp_url=amqp_url, jwt_secret=SECRET) as gateway:
        await gateway.ready()
        response = await gateway.handle_request({"path": "/open/a"})

    assert response["status"] == 200


async def test_while_the_broker_is_away(config: str) -> None:
    """Requests are answered 503 at once, with a Retry-After."""
    async with APIGateway(config_dir=config, amqp_url="amqp://guest:guest@127.0.0.1:1/") as gateway:
        response = await gateway.handle_request({"path": "/open/a"})

    assert response["status"] == 503
    assert int(response["headers"]["Retry-After"]) > 0


def test_what_is_not_used_yet_is_said(config: str, caplog: pytest.LogCaptureFixture) -> None:
    """Addresses of servers that no part uses are named in the log, without what may be secret."""
    with caplog.at_level(logging.WARNING):
        APIGateway(
            config_dir=config,
            elasticsearch_url="http://user:hidden@localhost:9200",
        )

    assert "GATEWAY_ELASTICSEARCH_URL" in caplog.text
    assert "hidden" not in caplog.text
