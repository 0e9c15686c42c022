"""The whole door: two ingresses over one Redis, every policy on one route, in their order."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.integration.commands import SECRET as JWT_SECRET
from tests.integration.commands import Running, run, two_ingresses, upstream
from tests.integration.door import ask, guarded
from tests.servers import RedisServer

APP = "https://app.example"
API_KEY = "a-key-of-a-machine-that-is-random"
JSON = "Content-Type: application/json"
ORDERS = {
    "path": "/orders/{id}",
    "method": "PUT",
    "name": "put-order",
    "service": "users",
    "ip_filter": {"deny": ["127.0.0.3"]},
    "cors": {"allow_origins": [APP], "allow_methods": ["PUT"], "allow_credentials": True},
    "roles": {"any": ["clerk", "admin"]},
    "scopes": {"all": ["orders:write"]},
    "rate_limit": {"requests_per_minute": 1, "burst": 9},
    "validate": {
        "query": {"properties": {"dry": {"type": "boolean"}}, "additionalProperties": False},
        "body": {"type": "object", "required": ["sku"], "properties": {"sku": {"type": "string"}}},
    },
}
RULES = [
    {
        "name": "writers",
        "key": "customer",
        "match": {"roles": ["clerk"]},
        "requests_per_minute": 1,
        "burst": 99,
    }
]
AUTH = {
    "issuer": "https://login.example/",
    "api_keys": [
        {
            "id": "till",
            "key_hash": sha256(API_KEY.encode()).hexdigest(),
            "tier": "PRO",
            "roles": ["admin"],
            "scopes": ["orders:write"],
        }
    ],
}


async def mirror(request: web.BaseRequest) -> web.Response:
    """What reached the service."""
    fields = {name.lower(): value for name, value in request.headers.items()}
    body = (await request.read()).decode()
    return web.json_response({"fields": fields, "body": body, "target": str(request.rel_url)})


@asynccontextmanager
async def door(folder: Path, amqp_url: str, redis_url: str) -> AsyncIterator[list[Running]]:
    """Two ingresses with a dispatcher behind them."""
    async with upstream(mirror) as url:
        rules = {"rate_limits": RULES, "ip_filter": {"deny": ["127.0.0.2"]}}
        directory = guarded(folder, url, [ORDERS], auth=AUTH, **rules)
        async with two_ingresses(folder, directory, amqp_url, redis_url) as pair:
            yield list(pair)


async def token(folder: Path, *options: str) -> str:
    """An access token, as a header line."""
    finished = await run(
        "token", "--config", str(folder / "config"), *options, jwt_secret=JWT_SECRET
    )
    assert finished.status == 0, finished.stderr
    return f"Authorization: Bearer {finished.stdout.strip()}"


async def test_policies_in_their_order(
    tmp_path: Path, amqp_url: str, private_redis: Callable[[], RedisServer]
) -> None:
    """With one fault mended at a time a request comes one policy further, at either ingress."""
    async with door(tmp_path, amqp_url, private_redis().url) as pair:
        stranger = await token(tmp_path, "--subject", "s", "--scope", "orders:write")
        reader = await token(tmp_path, "--subject", "r", "--role", "clerk")
        clerk = await token(
            tmp_path,
            *["--subject", "ann", "--role", "clerk", "--scope", "orders:write", "--org", "acme"],
        )
        line, odd = "PUT /orders/7?dry=true", "PUT /orders/7?dry=perhaps"
        steps: list[tuple[int, str, str, list[str], bytes, str]] = [
            (403, "forbidden", odd, [stranger + "x"], b"{", "127.0.0.2"),
            (403, "forbidden", odd, [stranger + "x"], b"{", "127.0.0.3"),
            (401, "unauthorized", odd, [], b"{", "127.0.0.1"),
            (401, "unauthorized", odd, [stranger + "x"], b"{", "127.0.0.1"),
            (403, "forbidden", odd, [stranger], b"{", "127.0.0.1"),
            (403, "forbidden", odd, [reader], b"{", "127.0.0.1"),
            (400, "invalid-request", odd, [clerk, JSON], b"{}", "127.0.0.1"),
            (415, "unsupported-media-type", line, [clerk], b"{}", "127.0.0.1"),
            (400, "invalid-request", line, [clerk, JSON], b'{"sku":"a","sku":"b"}', "127.0.0.1"),
            (200, "", line, [clerk, JSON], b'{ "sku" : "a" }', "127.0.0.1"),
        ]
        at = cycle(pair)
        for status, kind, request, fields, body, source in steps:
            answer = await ask(
                next(at).public, request, f"Origin: {APP}", *fields, source=source, body=body
            )
            assert answer.status == status, (request, fields, body)
            if kind:
                assert answer.problem["type"].endswith(f"/{kind}")
            globally_filtered = source == "127.0.0.2"
            origin = None if globally_filtered else APP.encode()
            assert answer.get(b"Access-Control-Allow-Origin") == origin
        # Four of those came as far as the limits; of ten that is six left, whichever was asked.
        left = answer.get(b"RateLimit")
        assert left is not None
        assert b'"put-order";r=6;' in left
        assert b'"writers";r=96;' in left
        assert json.loads(answer.body)["body"] == '{ "sku" : "a" }'


async def test_what_passes_and_what_it_says_of_the_caller(
    tmp_path: Path, amqp_url: str, private_redis: Callable[[], RedisServer]
) -> None:
    """Who calls is what the door found, however the caller spells another; limits are shared."""
    lies = [
        "X-User-Id: root",
        "x_user_id: root",
        "X-USER-TIER: ENTERPRISE",
        "X_User-Roles: admin",
        "X-Forwarded-For: 127.0.0.2",
        "X-Request-Attempt: 99",
        "Connection: X-User-Id, X-Forwarded-For, X-API-Key",
    ]
    async with door(tmp_path, amqp_url, private_redis().url) as pair:
        at = cycle(pair)
        found = []
        for _ in range(12):
            answer = await ask(
                next(at).public,
                "PUT /orders/7",
                f"X-API-Key: {API_KEY}",
                JSON,
                *lies,
                body=b'{"sku":"a"}',
            )
            found.append(answer.status)
            if answer.status == 200:
                check_caller(json.loads(answer.body)["fields"])
        assert found == [200] * 10 + [429] * 2
        assert API_KEY not in "".join(each.stderr for each in pair)


def check_caller(fields: dict[str, Any]) -> None:
    """What an upstream is told of the machine."""
    assert (fields["x-user-id"], fields["x-user-tier"]) == ("till", "PRO")
    assert fields["x-user-roles"] == "admin"
    assert fields["x-forwarded-for"] == "127.0.0.1"
    assert fields["x-request-attempt"] == "1"
    spellings = {name.replace("_", "-") for name in fields}
    assert len(spellings) == len(fields)
    assert "x-api-key" not in fields


@pytest.mark.parametrize("method", ["OPTIONS", "GET"])
async def test_preflights_and_other_methods(
    tmp_path: Path, amqp_url: str, redis_url: str, method: str
) -> None:
    """A preflight is answered at the door without a token; a method without a route is a 405."""
    async with door(tmp_path, amqp_url, redis_url) as pair:
        for each in pair:
            asked = "Access-Control-Request-Method: PUT"
            answer = await ask(each.public, f"{method} /orders/7", f"Origin: {APP}", asked)
            if method == "OPTIONS":
                assert answer.status == 204
                assert answer.get(b"Access-Control-Allow-Credentials") == b"true"
            else:
                assert (answer.status, answer.get(b"Allow")) == (405, b"PUT")
