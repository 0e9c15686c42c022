"""Addresses and origins at the door of a real gateway, over real sockets."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from api_gateway import APIGateway
from api_gateway.node import Node
from config.loader import load
from config.settings import load_settings
from tests.integration.commands import SECRET, started, upstream
from tests.integration.door import ask, guarded
from tests.unit.ingress.raw_http import Answer, RawClient

APP = "https://app.example"
OPEN = {"path": "/hello", "service": "users", "auth_required": False}
CORS = {"allow_origins": [APP, "https://*.app.example"], "allow_credentials": True}


class Service:
    """An upstream that counts, and has CORS rules of its own."""

    def __init__(self) -> None:
        self.methods: list[str] = []

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.methods.append(request.method)
        headers = {"Access-Control-Allow-Origin": "https://own.example", "Vary": "Accept"}
        return web.Response(text=request.headers["X-Forwarded-For"], headers=headers)


@pytest.fixture
async def service() -> AsyncIterator[tuple[Service, str]]:
    """An upstream, and where it is."""
    made = Service()
    async with upstream(made.answer) as url:
        yield made, url


def cors_of(answer: Answer) -> dict[str, str]:
    """All CORS fields, by what follows Access-Control-; each comes once."""
    found = [pair for pair in answer.pairs if pair[0].lower().startswith(b"access-control-")]
    named = {name.decode().removeprefix("Access-Control-"): value.decode() for name, value in found}
    assert len(named) == len(found)
    return named


# --- addresses -----------------------------------------------------------------------------------

SPOOFED = [
    "X-Forwarded-For: 127.0.0.2",
    "x-forwarded-for: 127.0.0.2",
    "X_Forwarded_For: 127.0.0.2",
    "X-Forwarded_For: 127.0.0.2",
    "X.Forwarded.For: 127.0.0.2",
    "X-Forwarded-For: 127.0.0.2\r\nX-Forwarded-For: 127.0.0.2",
    "X-Forwarded-For: ::ffff:127.0.0.2",
    "X-Forwarded-For: [::ffff:127.0.0.2]:80",
    "Forwarded: for=127.0.0.2",
    'forwarded: For="127.0.0.2:80";by=127.0.0.2',
    "Forwarded-For: 127.0.0.2",
    "X-Forwarded: for=127.0.0.2",
    "X-Real-IP: 127.0.0.2",
    "X-Client-IP: 127.0.0.2",
    "X-Cluster-Client-IP: 127.0.0.2",
    "True-Client-IP: 127.0.0.2",
    "CF-Connecting-IP: 127.0.0.2",
    "Client-IP: 127.0.0.2",
    "Via: 1.1 127.0.0.2",
    "Connection: X-Forwarded-For\r\nX-Forwarded-For: 127.0.0.2",
    "X-Forwarded-Host: 127.0.0.2\r\nHost_: 127.0.0.2",
]


async def test_nobody_talks_their_way_in(tmp_path: Path, service: tuple[Service, str]) -> None:
    """Without trusted proxies the connection counts, whatever a client says of itself."""
    config = guarded(tmp_path, service[1], [OPEN], ip_filter={"allow": ["127.0.0.2"]})
    async with started(tmp_path, "up", "--config", config) as running:
        gateway = running.public
        for fields in SPOOFED:
            assert (await ask(gateway, "GET /hello", fields)).status == 403, fields
        allowed = await ask(gateway, "GET /hello", "X-Forwarded-For: 6.6.6.6", source="127.0.0.2")
        assert (allowed.status, allowed.body) == (200, b"127.0.0.2")
        assert (await ask(gateway, "GET /hello", "X-Forwarded-For : 127.0.0.2")).status == 400
        refused = await ask(gateway, "GET /no/such/path")
        assert refused.problem["type"] == "/problems/forbidden"
        assert b"127.0.0." not in refused.body
    assert service[0].methods == ["GET"]


BEHIND_PROXIES: list[tuple[list[str | bytes], int]] = [
    (["X-Forwarded-For: 203.0.113.9"], 200),
    (["X-Forwarded-For: 203.0.113.9:51234"], 200),
    (["x-forwarded-for: 203.0.113.9, 10.0.0.5,10.0.0.6"], 200),
    (["X-Forwarded-For: 6.6.6.6, 203.0.113.9", "X-Forwarded-For: 10.0.0.5"], 200),
    (["X-Forwarded-For: ::ffff:203.0.113.9"], 200),
    (["X-Forwarded-For: 2001:db8::9"], 200),
    (["X-Forwarded-For: [2001:db8::9]"], 200),
    (["X-Forwarded-For: [2001:DB8::9]:443, [::ffff:10.0.0.5]:8080"], 200),
    (["Forwarded: for=203.0.113.9;proto=https"], 200),
    (['Forwarded: proto=https;For="[2001:db8::9]:443", for="10.0.0.5:8080"'], 200),
    (['Forwarded: for="203.0.113.9:_port"', "forwarded: for=10.0.0.5"], 200),
    (["X-Forwarded-For: 203.0.113.9, 10.0.0.5", "Forwarded: for=203.0.113.9"], 200),
    (["X-Forwarded-For: 203.0.113.9", "X_Forwarded_For: 6.6.6.6", "X-Real-IP: 6.6.6.6"], 200),
    (["X-Forwarded-For: 203.0.113.9, 6.6.6.6"], 403),
    (["X-Forwarded-For: 203.0.113.9, 6.6.6.6, 10.0.0.5"], 403),
    (["X-Forwarded-For: 203.0.113.9", "X-Forwarded-For: 6.6.6.6"], 403),
    (["X-Forwarded-For: 203.0.113.9, unknown"], 403),
    (["X-Forwarded-For: 203.0.113.9, 10.0.0.5 6.6.6.6"], 403),
    (["X_Forwarded_For: 203.0.113.9"], 403),
    (["X-Forwarded-For: 6.6.6.6", "Forwarded: for=203.0.113.9"], 403),
    (["X-Forwarded-For: 203.0.113.9", "Forwarded: for=6.6.6.6"], 403),
    (['Forwarded: for=203.0.113.9;x=", for=6.6.6.6'], 403),
    (["Forwarded: for=203.0.113.9, for=_hidden"], 403),
    (["Forwarded: for=2001:db8::9, for=6.6.6.6"], 403),
    (["X-Forwarded-For: 203.0.113.66"], 403),
    ([b"X-Forwarded-For: 203.0.113.9\xff"], 403),
    ([], 403),
]


async def test_behind_trusted_proxies(tmp_path: Path, service: tuple[Service, str]) -> None:
    """The client is who stood before the last trusted proxy, in all spellings of the two fields."""
    config = guarded(
        tmp_path,
        service[1],
        [{**OPEN, "ip_filter": {"allow": ["203.0.113.0/24", "2001:db8::/32"]}}],
        trusted_proxies=["127.0.0.1", "10.0.0.0/8"],
        ip_filter={"deny": ["203.0.113.66"]},
    )
    async with started(tmp_path, "up", "--config", config) as running:
        gateway = running.public
        for fields, status in BEHIND_PROXIES:
            assert (await ask(gateway, "GET /hello", *fields)).status == status, fields
        stranger = await ask(
            gateway, "GET /hello", "X-Forwarded-For: 203.0.113.9", source="127.0.0.2"
        )
        assert stranger.status == 403


async def test_behind_a_number_of_proxies(tmp_path: Path, service: tuple[Service, str]) -> None:
    """With two proxies, the second address from the right counts; fewer are not enough."""
    rules = {"allow": ["203.0.113.9"]}
    config = guarded(tmp_path, service[1], [OPEN], trusted_proxies=2, ip_filter=rules)
    expected = {
        "X-Forwarded-For: 203.0.113.9, 198.51.100.1": 200,
        "X-Forwarded-For: 6.6.6.6, 203.0.113.9, 198.51.100.1": 200,
        "Forwarded: for=6.6.6.6, for=203.0.113.9;by=_a, for=_hidden": 200,
        "X-Forwarded-For: 203.0.113.9, 6.6.6.6, 198.51.100.1": 403,
        "X-Forwarded-For: 203.0.113.9": 403,
        "X-Forwarded-For: 198.51.100.1, 203.0.113.9": 403,
        "X-Real-IP: 203.0.113.9": 403,
    }
    async with started(tmp_path, "up", "--config", config) as running:
        gateway = running.public
        found = {field: (await ask(gateway, "GET /hello", field)).status for field in expected}
    assert found == expected


async def test_a_dual_stack_socket(
    tmp_path: Path, service: tuple[Service, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client of IPv4 that such a socket shows as ::ffff:127.0.0.1 is known by its own address."""
    monkeypatch.setenv("GATEWAY_JWT_SECRET", SECRET)
    for name in ("AMQP_URL", "REDIS_URL"):
        monkeypatch.delenv(f"GATEWAY_{name}", raising=False)
    denying = guarded(tmp_path, service[1], [OPEN], ip_filter={"deny": ["127.0.0.2"]})
    listening = socket.socket(socket.AF_INET6)
    listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listening.bind(("::ffff:127.0.0.1", 0))
    listening.listen()
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    async with Node(load_settings(), load(Path(denying)), public=listening):
        assert (await ask(url, "GET /hello")).body == b"127.0.0.1"
        assert (await ask(url, "GET /hello", source="127.0.0.2")).status == 403


async def test_a_unix_socket(
    tmp_path: Path, service: tuple[Service, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who comes by a Unix socket has no address: a filter refuses, other routes serve."""
    monkeypatch.setenv("GATEWAY_JWT_SECRET", SECRET)
    for name in ("AMQP_URL", "REDIS_URL"):
        monkeypatch.delenv(f"GATEWAY_{name}", raising=False)
    filtered = {**OPEN, "path": "/filtered", "ip_filter": {"deny": ["192.0.2.1"]}}
    config = guarded(tmp_path, service[1], [OPEN, filtered])
    path = str(tmp_path / "gateway.sock")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen()
    client = socket.socket(socket.AF_UNIX)
    client.bind("")  # the system gives it a name, as bytes
    client.connect(path)
    async with Node(load_settings(), load(Path(config)), public=listening):
        reader, writer = await asyncio.open_unix_connection(sock=client)
        raw = RawClient(reader, writer)
        hello = await raw.ask(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
        filtered_out = await raw.ask(b"GET /filtered HTTP/1.1\r\nHost: a\r\n\r\n")
        writer.close()
    assert (hello.status, hello.body) == (200, b"unknown")
    assert filtered_out.status == 403


async def test_inside_an_application(tmp_path: Path, service: tuple[Service, str]) -> None:
    """The application says where a request comes from; where it does not, filters refuse."""
    config = guarded(tmp_path, service[1], [OPEN], ip_filter={"allow": ["192.0.2.0/24"]})
    request = {"path": "/hello", "headers": {"X-Forwarded-For": "192.0.2.1"}}
    statuses = []
    async with APIGateway(config_dir=config, jwt_secret=SECRET) as gateway:
        for context in ({"ip_address": "192.0.2.1"}, {"ip_address": "198.51.100.1"}, {}):
            response = await gateway.handle_request(request, context)
            statuses.append(response["status"])
    assert statuses == [200, 403, 403]


# --- origins -------------------------------------------------------------------------------------


@pytest.fixture
async def gateway(tmp_path: Path, service: tuple[Service, str]) -> AsyncIterator[str]:
    """One with rules for some routes, and others for all."""
    routes: list[dict[str, Any]] = [
        {**OPEN, "cors": {"allow_origins": ["*"]}},
        {"path": "/orders", "methods": ["GET", "PUT"], "service": "users", "cors": CORS},
        {"path": "/slow", "service": "users", "auth_required": False, "timeout": 0.000001},
        {**OPEN, "path": "/small", "max_body": 4},
        {**OPEN, "path": "/shut", "cors": {"allow_origins": []}},
        {**OPEN, "path": "/inner", "ip_filter": {"allow": ["192.0.2.1"]}},
    ]
    rules = {"allow_origins": ["https://www.example"], "allow_private_network": True}
    config = guarded(tmp_path, service[1], routes, cors=rules)
    async with started(tmp_path, "up", "--config", config) as running:
        yield running.public


async def preflight(gateway: str, path: str, origin: str, method: str, *more: str) -> Answer:
    fields = (f"Origin: {origin}", f"Access-Control-Request-Method: {method}", *more)
    return await ask(gateway, f"OPTIONS {path}", *fields)


async def test_preflights_need_no_token(gateway: str, service: tuple[Service, str]) -> None:
    """A closed route's preflight is answered at the door; the service hears nothing of it."""
    answer = await preflight(gateway, "/orders", "https://a.app.example", "PUT")
    assert (answer.status, answer.body) == (204, b"")
    assert answer.get(b"X-Request-ID")
    assert cors_of(answer) == {
        "Allow-Origin": "https://a.app.example",
        "Allow-Credentials": "true",
        "Allow-Methods": "PUT",
        "Max-Age": "600",
    }
    stranger = await preflight(gateway, "/orders", "https://evil.example", "PUT")
    assert (stranger.status, cors_of(stranger)) == (403, {})
    assert (stranger.get(b"Vary") or b"").startswith(b"Origin,")
    assert service[0].methods == []


async def test_preflights_go_by_the_announced_method(gateway: str) -> None:
    """Its route's rules count; without a route those for all; an empty list allows nobody."""
    www = "https://www.example"
    assert (await preflight(gateway, "/orders", www, "PUT")).status == 403
    unrouted = await preflight(gateway, "/orders", www, "DELETE")
    assert (unrouted.status, cors_of(unrouted)["Allow-Methods"]) == (204, "DELETE")
    assert (await preflight(gateway, "/no/such/path", www, "GET")).status == 204
    assert (await preflight(gateway, "/no/such/path", APP, "GET")).status == 403
    assert (await preflight(gateway, "/shut", www, "GET")).status == 403
    assert cors_of(await preflight(gateway, "/hello", "null", "GET"))["Allow-Origin"] == "*"


async def test_preflights_into_a_private_network(gateway: str) -> None:
    """Allowed where the rules say so, and only to who asks for it."""
    asked = "Access-Control-Request-Private-Network: true"
    www = "https://www.example"
    answer = await preflight(gateway, "/small", www, "GET", asked)
    assert cors_of(answer)["Allow-Private-Network"] == "true"
    assert "Allow-Private-Network" not in cors_of(await preflight(gateway, "/small", www, "GET"))
    answer = await preflight(gateway, "/orders", APP, "GET", asked)
    assert "Allow-Private-Network" not in cors_of(answer)


async def test_addresses_come_before_origins(gateway: str) -> None:
    """Who may not enter gets no preflight answered, and reads of the refusal in the page."""
    www = "https://www.example"
    assert (await preflight(gateway, "/inner", www, "GET")).status == 403
    refused = await ask(gateway, "GET /inner", f"Origin: {www}")
    assert (refused.status, cors_of(refused)) == (403, {"Allow-Origin": www})


async def test_pages_can_read_problems(gateway: str) -> None:
    """Whatever the gateway answers has the fields: 401, 404, 405, 413, 504."""
    orders = await ask(gateway, "GET /orders", f"Origin: {APP}")
    assert orders.problem["status"] == 401
    assert cors_of(orders) == {"Allow-Origin": APP, "Allow-Credentials": "true"}
    www = "Origin: https://www.example"
    answers = [
        await ask(gateway, "GET /no/such/path", www),
        await ask(gateway, "DELETE /orders", www),
        await ask(gateway, "POST /small", www, body=b"12345"),
        await ask(gateway, "GET /slow", www),
        await ask(gateway, "GET /a/../../b", www),
        await ask(gateway, "GET /problems/no-route", www),
    ]
    assert [answer.status for answer in answers] == [404, 405, 413, 504, 400, 200]
    for answer in answers:
        assert cors_of(answer) == {"Allow-Origin": "https://www.example"}
        assert answer.values(b"Vary") == [b"Origin"]


async def test_answers_of_the_service(gateway: str) -> None:
    """Its own rules are replaced, its Vary is kept; strangers get the answer without the fields."""
    known = await ask(gateway, "GET /small", "Origin: https://www.example")
    assert (known.status, cors_of(known)) == (200, {"Allow-Origin": "https://www.example"})
    assert known.values(b"Vary") == [b"Accept", b"Origin"]
    for fields in (["Origin: https://evil.example"], []):
        answer = await ask(gateway, "GET /small", *fields)
        assert (answer.status, cors_of(answer)) == (200, {})
        assert answer.values(b"Vary") == [b"Accept", b"Origin"]
    anybody = await ask(gateway, "GET /hello", "Origin: https://evil.example")
    assert (cors_of(anybody), anybody.values(b"Vary")) == ({"Allow-Origin": "*"}, [b"Accept"])


async def test_without_rules_the_service_answers(
    tmp_path: Path, service: tuple[Service, str]
) -> None:
    """Where no rules are set, OPTIONS is a request like any other and the service's rules pass."""
    config = guarded(tmp_path, service[1], [OPEN, {**OPEN, "path": "/get", "method": "GET"}])
    async with started(tmp_path, "up", "--config", config) as running:
        gateway = running.public
        answer = await preflight(gateway, "/hello", APP, "PUT")
        closed = await preflight(gateway, "/get", APP, "GET")
    assert cors_of(answer) == {"Allow-Origin": "https://own.example"}
    assert (closed.status, cors_of(closed)) == (405, {})
    assert service[0].methods == ["OPTIONS"]
