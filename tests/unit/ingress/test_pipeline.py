"""A request goes through the policies in their order, and always comes out as one response."""

import asyncio
import itertools
import json
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

import jwt
import pytest

from broker.contract import Delivery
from broker.embedded import EmbeddedBroker
from broker.messages import Envelope, Principal, Problem, Reply
from broker.problems import ProblemType
from broker.topology import RequestQueue
from config.models.auth import Auth
from config.models.gateway import GatewayOptions
from config.models.origins import Cors
from config.models.routes import Route
from config.models.services import Service
from config.models.tiers import DEFAULT_TIERS
from config.snapshot import Snapshot
from ingress.exchange import Exchange
from ingress.identity.identity import Identity
from ingress.identity.session_store import SessionsUnavailable
from ingress.metrics import IngressListener, RequestFinished
from ingress.pipeline import Pipeline
from ingress.problems import Refused
from ingress.request import Request, Response
from ingress.request_ids import RequestIds
from tests.unit.ingress.requests import make_request

SECRET = "a-secret-of-at-least-thirty-two-bytes"
HOST = (b"Host", b"gateway.example")
CLOSE = (b"Connection", b"close")

ROUTES: list[dict[str, Any]] = [
    {"path": "/users/{id}", "method": "GET", "name": "get-user", "upstream_path": "/u/{id}"},
    {"path": "/users", "methods": ["GET", "POST"], "timeout": 5, "retry_count": 2},
    {"path": "/open/*", "auth_required": False, "max_body": 4},
    {"path": "/admin", "roles": {"any": ["admin"]}},
    {"path": "/vip", "auth_required": False, "priority": "PRO"},
]


def snapshot(*routes: dict[str, Any], version: int = 1, **options: Any) -> Snapshot:
    made = tuple(Route.model_validate({"service": "s", **each}) for each in routes or ROUTES)
    service = Service.model_validate({"name": "s", "base_url": "http://upstream"})
    auth = Auth.model_validate(options)
    return Snapshot(made, {"s": service}, options=GatewayOptions(auth=auth), version=version)


def bearer(**claims: Any) -> tuple[bytes, bytes]:
    claims = {"sub": "alice", "exp": time.time() + 86_400, **claims}
    return (b"Authorization", b"Bearer " + jwt.encode(claims, SECRET, "HS256").encode())


def upstream_reply(asked: Envelope) -> Reply:
    return Reply(id=asked.id, status=200, headers=((b"X-Up", b"1"),), body=asked.body)


@dataclass
class Gateway(IngressListener):
    """A pipeline over the embedded broker, with a dispatcher that answers by ``answer``."""

    broker: EmbeddedBroker
    pipeline: Pipeline = field(init=False)
    answer: Callable[[Envelope], Reply | None] = upstream_reply
    asked: list[Envelope] = field(default_factory=list)
    finished: list[RequestFinished] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)

    def take(self, delivery: Delivery) -> None:
        asked = delivery.envelope
        self.asked.append(asked)
        reply = self.answer(asked)
        if reply is not None:
            self.broker.reply(asked.reply_to, reply, asked.deadline)
        delivery.ack()

    def request_finished(self, event: RequestFinished) -> None:
        self.finished.append(event)

    def forbidden(self, route: str, policy: str) -> None:
        self.refused.append((route, policy))

    async def get(self, target: str, *headers: tuple[bytes, bytes], **more: Any) -> Response:
        return await self.pipeline.handle(make_request("GET", target, (HOST, *headers), **more))

    async def handle(self, request: Request) -> Response:
        return await self.pipeline.handle(request)


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    """One with the routes above."""
    async with EmbeddedBroker() as broker, Exchange(broker, "n1") as exchange:
        made = Gateway(broker)
        made.pipeline = Pipeline(
            snapshot(), exchange, identity=Identity(SECRET), request_ids=RequestIds(), listener=made
        )
        for tier in DEFAULT_TIERS:
            await broker.consume(RequestQueue("s", tier, 100), 10, made.take)
        yield made
        assert exchange.pending == 0


def header(response: Response, name: bytes) -> bytes | None:
    return next((value for key, value in response.headers if key.lower() == name.lower()), None)


def problem(response: Response) -> str:
    body = json.loads(response.body)
    assert body["status"] == response.status
    assert body["request_id"].encode() == header(response, b"X-Request-ID")
    assert isinstance(body["type"], str)
    return body["type"].removeprefix("/problems/")


async def test_there_and_back(gateway: Gateway) -> None:
    """What the route, the token and the client say is in the message; its reply is the response."""
    token = bearer(tier="PRO", roles=["admin"])
    response = await gateway.get("//users/./%37?a=%2e&a", token, (b"Accept", b"x/y"))
    assert (response.status, header(response, b"X-Up")) == (200, b"1")
    asked = gateway.asked[0]
    assert (asked.route, asked.service, asked.tier) == ("get-user", "s", "PRO")
    assert (asked.path, asked.target) == ("/users/7", "/u/7?a=%2e&a")
    assert asked.principal == Principal("alice", "PRO", ("admin",))
    assert {(b"Accept", b"x/y"), token, (b"X-User-Id", b"alice")} <= set(asked.headers)
    assert asked.idempotent
    assert 29 < asked.deadline - asked.published_at <= 30
    assert uuid.UUID(asked.id).version == 7
    assert header(response, b"X-Request-ID") == asked.id.encode()


async def test_body_and_delivery(gateway: Gateway) -> None:
    """The body passes byte for byte; a POST may not be repeated, a keyed one may."""
    body = bytes(range(256))
    for headers in ((HOST, bearer()), (HOST, bearer(), (b"Idempotency-Key", b"k"))):
        response = await gateway.handle(make_request("POST", "/users", headers, body=body))
        assert response.body == body
    assert [each.idempotent for each in gateway.asked] == [False, True]
    assert (gateway.asked[0].retry_count, gateway.asked[0].method) == (2, "POST")


async def test_equal_request_ids_do_not_mix(gateway: Gateway) -> None:
    """Two clients with one X-Request-ID each get their own answer, and their id back."""
    mine = (b"X-Request-ID", b"same")
    one, two = await asyncio.gather(gateway.get("/open/1", mine), gateway.get("/open/2", mine))
    assert header(one, b"X-Request-ID") == header(two, b"X-Request-ID") == b"same"
    assert len({asked.id for asked in gateway.asked} - {"same"}) == 2
    assert all((b"X-Request-ID", b"same") in asked.headers for asked in gateway.asked)


@pytest.mark.parametrize(
    ("method", "target", "headers", "expected"),
    [
        ("GET", "/nowhere", (), (404, "no-route")),
        ("DELETE", "/users", (bearer(),), (405, "method-not-allowed")),
        ("GET", "/users", (), (401, "unauthorized")),
        ("GET", "/open/x", ((b"Authorization", b"Bearer x"),), (401, "unauthorized")),
        ("GET", "/admin", (bearer(roles=["user"]),), (403, "forbidden")),
        ("GET", "/open/../../x", (), (400, "bad-request")),
        ("GET", "*", (), (400, "bad-request")),
        ("GET", "/open/x", ((b"X-Request-Timeout", b"soon"),), (400, "bad-request")),
        ("GET", "/open/x", ((b"Prefer", b"wait=0"),), (504, "deadline-exceeded")),
        ("GET", "/problems/nothing", (), (404, "no-route")),
        ("POST", "/problems/no-route", (), (405, "method-not-allowed")),
    ],
)
async def test_refused_before_the_queue(
    gateway: Gateway,
    method: str,
    target: str,
    headers: tuple[tuple[bytes, bytes], ...],
    expected: tuple[int, str],
) -> None:
    """Each policy has its own answer, and nothing is published then."""
    response = await gateway.handle(make_request(method, target, (HOST, *headers)))
    assert (response.status, problem(response)) == expected
    assert not gateway.asked
    assert (gateway.finished[0].status, gateway.finished[0].problem) == expected


async def test_policies_come_before_the_body(gateway: Gateway) -> None:
    """Who may not ask is told so without their body being read."""

    async def read_body(limit: int) -> bytes:
        raise AssertionError

    request = make_request("POST", "/users")
    request.read_body = read_body
    assert (await gateway.handle(request)).status == 401


async def test_limits_are_told_on_every_answer(gateway: Gateway) -> None:
    """Of the service, of the gateway, and of the limit itself, which is a 429 before the queue."""
    limited = {"path": "/few", "rate_limit": 2, "name": "few", "auth_required": False}
    gateway.pipeline.use(snapshot(limited, version=2))
    answers = [await gateway.get("/few"), await gateway.get("/few", (b"Prefer", b"wait=0"))]
    answers.append(await gateway.get("/few"))
    assert [answer.status for answer in answers] == [200, 504, 429]
    policy = b'"free";q=60;w=60, "few";q=2;w=60'
    assert {header(answer, b"RateLimit-Policy") for answer in answers} == {policy}
    told = [header(answer, b"RateLimit") for answer in answers]
    assert told[1:] == [b'"free";r=68;t=1, "few";r=0;t=30', b'"few";r=0;t=30']
    assert (problem(answers[2]), header(answers[2], b"Retry-After")) == ("rate-limited", b"30")
    assert len(gateway.asked) == 1


async def test_limits_see_through_trusted_proxies(gateway: Gateway) -> None:
    """Anonymous clients behind a proxy are counted each by its own address; nobody can pretend."""
    route = Route.model_validate(
        {"service": "s", "path": "/one", "rate_limit": 1, "auth_required": False}
    )
    options = GatewayOptions.model_validate({"trusted_proxies": ["192.0.2.0/24"]})
    gateway.pipeline.use(replace(snapshot(), routes=(route,), options=options, version=2))

    async def ask(client: bytes, peer: str) -> int:
        return (await gateway.get("/one", (b"X-Forwarded-For", client), peer=peer)).status

    proxied = [await ask(b"198.51.100.%d" % n, "192.0.2.1") for n in (1, 2, 1)]
    pretending = [await ask(b"198.51.100.%d" % n, "203.0.113.1") for n in (3, 4)]
    assert (proxied, pretending) == ([200, 200, 429], [200, 429])


async def test_limits_outlive_a_change_of_the_configuration(gateway: Gateway) -> None:
    """What was used under one snapshot is used under the next, of an equally named route."""
    for version, path in enumerate(("/old", "/new"), 2):
        route = {"path": path, "rate_limit": 1, "name": "r", "auth_required": False}
        gateway.pipeline.use(snapshot(route, version=version))
        status = (await gateway.get(path)).status
    assert status == 429


async def test_body_limit_is_the_routes(gateway: Gateway) -> None:
    """The reader of the body is told the limit, and its refusal is the answer."""
    limits = []

    async def read_body(limit: int) -> bytes:
        limits.append(limit)
        raise Refused(ProblemType.BODY_TOO_LARGE, "Too large.")

    for target in ("/open/x", "/vip"):
        request = make_request("POST", target)
        request.read_body = read_body
        assert problem(await gateway.handle(request)) == "body-too-large"
    assert limits == [4, 1024**2]


async def test_tiers(gateway: Gateway) -> None:
    """The queue is that of the caller's tier, FREE without one, or the route's."""
    await gateway.get("/users", bearer(tier="ENTERPRISE"))
    await gateway.get("/open/x")
    await gateway.get("/vip")
    assert [asked.tier for asked in gateway.asked] == ["ENTERPRISE", "FREE", "PRO"]


async def test_principal_of_the_process(gateway: Gateway) -> None:
    """A caller in the same process may vouch for somebody; no token is needed then."""
    request = make_request("GET", "/users")
    request.principal = Principal("bob", "BASIC")
    assert (await gateway.handle(request)).status == 200
    assert (gateway.asked[0].tier, gateway.asked[0].principal) == ("BASIC", request.principal)


async def test_problem_of_the_dispatcher(gateway: Gateway) -> None:
    """A problem from the other side is rendered like one of this side, with all it says."""
    gateway.answer = lambda asked: Reply(
        id=asked.id,
        status=502,
        problem=Problem("upstream-connection", "It broke.", "unknown"),
        queue_ms=1.5,
        attempts=2,
    )
    response = await gateway.get("/open/x?y")
    assert problem(response) == "upstream-connection"
    body = json.loads(response.body)
    assert (body["executed"], body["attempts"], body["queue_ms"]) == ("unknown", 2, 1.5)
    assert (body["service"], body["instance"]) == ("s", "/open/x")
    assert gateway.finished[0].problem == "upstream-connection"


async def test_deadline(gateway: Gateway) -> None:
    """A client that will not wait long gets its 504 on time."""
    gateway.answer = lambda asked: None
    response = await gateway.get("/open/x", (b"X-Request-Timeout", b"0.02"))
    assert (response.status, problem(response)) == (504, "deadline-exceeded")


async def test_fault_of_our_own(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    """An error that nobody foresaw is a 500 that tells nothing, and a log line that tells all."""

    async def read_body(limit: int) -> bytes:
        raise ZeroDivisionError("secret detail")

    request = make_request("GET", "/open/x")
    request.read_body = read_body
    response = await gateway.handle(request)
    assert (response.status, problem(response)) == (500, "internal")
    assert b"secret" not in response.body
    record = caplog.records[-1]
    assert record.__dict__["request_id"].encode() == header(response, b"X-Request-ID")
    assert "secret detail" in caplog.text


async def test_no_token_in_any_log(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    """Tokens, good or bad, never show, not even in a failure."""
    caplog.set_level(0)

    def fail(asked: Envelope) -> Reply:
        raise ZeroDivisionError

    gateway.answer = fail
    good = bearer()
    bad = (b"Authorization", good[1] + b"x")
    await gateway.get("/users", good, (b"X-Request-Timeout", b"0.02"))
    response = await gateway.get("/users", bad)
    signature = good[1].rpartition(b".")[2].decode()
    assert signature not in caplog.text
    assert signature.encode() not in response.body + repr(response.headers).encode()


async def test_client_that_left(gateway: Gateway) -> None:
    """A cancelled request is counted as 499 and leaves nothing behind."""
    taken = asyncio.Event()

    def hold(asked: Envelope) -> None:
        taken.set()

    gateway.answer = hold
    task = asyncio.create_task(gateway.get("/open/x"))
    await taken.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [event.status for event in gateway.finished] == [499]


async def test_problem_pages(gateway: Gateway) -> None:
    """The type of every problem can be looked up."""
    for kind in ProblemType:
        response = await gateway.get(f"/problems/{kind.slug}")
        assert response.status == 200
        assert kind.title.encode() in response.body


async def test_swap_of_the_configuration(gateway: Gateway) -> None:
    """A request lives under the snapshot that it came with, the next one under the next."""
    reading, go_on = asyncio.Event(), asyncio.Event()

    async def read_body(limit: int) -> bytes:
        reading.set()
        await go_on.wait()
        return b""

    old = make_request("GET", "/open/x")
    old.read_body = read_body
    task = asyncio.create_task(gateway.handle(old))
    await reading.wait()
    gateway.pipeline.use(snapshot({"path": "/new", "auth_required": False}, version=2))
    assert (await gateway.get("/open/x")).status == 404
    assert (await gateway.get("/new")).status == 200
    go_on.set()
    assert (await task).status == 200
    assert [asked.config_version for asked in gateway.asked] == [2, 1]


async def test_finished_is_told(gateway: Gateway) -> None:
    """Each request is told of once, with where it went and how long it took."""
    steps = itertools.count()
    gateway.pipeline._monotonic = lambda: float(next(steps))
    await gateway.get("/users/1", bearer(tier="PRO"), (b"X-Request-ID", b"mine"))
    assert gateway.finished == [
        RequestFinished(
            request_id="mine",
            route="get-user",
            service="s",
            tier="PRO",
            method="GET",
            status=200,
            seconds=1.0,
            problem="",
        )
    ]


CORS = {"allow_origins": ["https://app.example"]}
ORIGIN = (b"Origin", b"https://app.example")


def at_the_door(version: int = 1, **options: Any) -> Snapshot:
    """The routes above, and these of gateway.yaml."""
    return replace(snapshot(version=version), options=GatewayOptions.model_validate(options))


async def test_the_address_comes_first(gateway: Gateway) -> None:
    """Who may not enter learns nothing of routes; a route's own filter is asked on top."""
    gateway.pipeline.use(at_the_door(ip_filter={"deny": ["192.0.2.1"]}))
    for target in ("/users", "/nowhere", "/problems/no-route", "/open/../.."):
        assert problem(await gateway.get(target)) == "forbidden"
        assert (await gateway.get(target, peer="192.0.2.2")).status != 403
    filtered = {"path": "/inner", "ip_filter": {"allow": ["192.0.2.1", "192.0.2.3"]}}
    options = GatewayOptions.model_validate({"ip_filter": {"deny": ["192.0.2.1"]}})
    gateway.pipeline.use(replace(snapshot(filtered), options=options))
    statuses = [(await gateway.get("/inner", peer=f"192.0.2.{n}")).status for n in (1, 2, 3)]
    assert statuses == [403, 403, 401]


async def test_who_refused_is_told_apart(gateway: Gateway) -> None:
    """One answer, 403, has several reasons; listeners hear which, and on which route."""
    inner = {"path": "/inner", "roles": {"any": ["a"]}, "scopes": {"all": ["s"]}, "name": "inner"}
    rules = {**inner, "ip_filter": {"deny": ["192.0.2.1"]}}
    options = GatewayOptions.model_validate({"ip_filter": {"deny": ["192.0.2.2"]}, "cors": CORS})
    gateway.pipeline.use(replace(snapshot(rules), options=options))
    for number, token in ((2, bearer()), (1, bearer()), (3, bearer()), (3, bearer(roles=["a"]))):
        assert (await gateway.get("/inner", token, peer=f"192.0.2.{number}")).status == 403
    asked = (HOST, (b"Origin", b"null"), (b"Access-Control-Request-Method", b"GET"))
    preflight = make_request("OPTIONS", "/inner", asked, peer="192.0.2.3")
    assert (await gateway.handle(preflight)).status == 403
    assert gateway.refused == [
        ("", "ip_filter"),
        *[("inner", policy) for policy in ("ip_filter", "roles", "scopes", "cors")],
    ]


async def test_preflights_end_at_the_door(gateway: Gateway) -> None:
    """They are told as requests of the announced route, and nothing is published."""
    gateway.pipeline.use(at_the_door(cors=CORS))
    asked = (HOST, ORIGIN, (b"Access-Control-Request-Method", b"GET"))
    response = await gateway.handle(make_request("OPTIONS", "/users/7", asked))
    assert (response.status, header(response, b"Access-Control-Allow-Methods")) == (204, b"GET")
    assert (gateway.finished[0].route, gateway.finished[0].method) == ("get-user", "OPTIONS")
    assert not gateway.asked


async def test_rules_for_origins_do_not_change_on_the_way(gateway: Gateway) -> None:
    """An answer follows the rules under which its request came, a 500 too."""
    reading, go_on = asyncio.Event(), asyncio.Event()

    async def read_body(limit: int) -> bytes:
        reading.set()
        await go_on.wait()
        raise ZeroDivisionError

    gateway.pipeline.use(at_the_door(cors=CORS))
    request = make_request("GET", "/open/x", (HOST, ORIGIN))
    request.read_body = read_body
    task = asyncio.create_task(gateway.handle(request))
    await reading.wait()
    gateway.pipeline.use(at_the_door(version=2))
    assert header(await gateway.get("/open/x", ORIGIN), b"Access-Control-Allow-Origin") is None
    go_on.set()
    response = await task
    assert response.status == 500
    assert header(response, b"Access-Control-Allow-Origin") == b"https://app.example"


async def test_a_catch_all_does_not_get_reserved_paths() -> None:
    """What belongs to the gateway is never sent to an upstream, with the secrets in it."""
    everything = (Route(path="/*", service="s", auth_required=False),)
    services = {"s": Service.model_validate({"name": "s", "base_url": "http://s"})}
    async with EmbeddedBroker() as broker, Exchange(broker, "n1") as exchange:
        rules = Snapshot(routes=everything, services=services)
        made = Pipeline(rules, exchange, identity=Identity(None), request_ids=RequestIds())
        for target in ("/auth/token", "/requests/1", "/auth//x"):
            response = await made.handle(make_request("POST", target, (HOST,)))
            assert problem(response) == "no-route"


async def token(gateway: Gateway) -> tuple[bytes, bytes]:
    """One that the gateway gives to a client."""
    form = (b"Content-Type", b"application/x-www-form-urlencoded")
    body = b"grant_type=client_credentials&client_id=alice&client_secret=x"
    response = await gateway.handle(make_request("POST", "/auth/token", (HOST, form), body=body))
    return (b"Authorization", b"Bearer " + json.loads(response.body)["access_token"].encode())


async def test_a_session_that_was_ended_is_ended_at_once(gateway: Gateway) -> None:
    """Its token is refused though it was verified before; a session of others is unaffected."""
    clients = [{"id": "alice", "secret_hash": sha256(b"x").hexdigest(), "tier": "PRO"}]
    gateway.pipeline.use(snapshot(clients=clients))
    ended, other = await token(gateway), await token(gateway)
    assert (await gateway.get("/users/7", ended)).status == 200
    assert gateway.asked[0].tier == "PRO"
    logout = await gateway.handle(make_request("POST", "/auth/logout", (HOST, ended)))
    assert (logout.status, gateway.finished[-1].route) == (204, "")
    refused = await gateway.get("/users/7", ended)
    assert (refused.status, problem(refused)) == (401, "unauthorized")
    assert b'error="invalid_token"' in (header(refused, b"WWW-Authenticate") or b"")
    assert (await gateway.get("/open/x", ended)).status == 401
    for headers in (other, bearer(sub="alice"), bearer(sub="alice", sid="s1")):
        assert (await gateway.get("/users/7", headers)).status == 200


async def test_a_client_that_was_taken_out_is_out_at_once(gateway: Gateway) -> None:
    """With the configuration that has it no more, or another secret; back again, it is back."""
    alice = {"id": "alice", "secret_hash": sha256(b"x").hexdigest()}
    gateway.pipeline.use(snapshot(clients=[alice]))
    headers = await token(gateway)
    assert (await gateway.get("/users/7", headers)).status == 200
    for change in ({"id": "bob"}, {"secret_hash": sha256(b"new").hexdigest()}):
        gateway.pipeline.use(snapshot(clients=[{**alice, **change}]))
        assert (await gateway.get("/users/7", headers)).status == 401
    gateway.pipeline.use(snapshot(clients=[alice]))
    assert (await gateway.get("/users/7", headers)).status == 200


async def test_token_endpoints_follow_the_rules_for_all_origins(gateway: Gateway) -> None:
    """Pages that may ask read answers and errors, and get their preflights answered."""
    rules = snapshot(clients=[{"id": "alice", "secret_hash": "0" * 64}])
    cors = Cors(allow_origins=("https://app.example",))
    options = rules.options.model_copy(update={"cors": cors})
    gateway.pipeline.use(replace(rules, options=options))
    origin = (b"Origin", b"https://app.example")
    asked = (b"Access-Control-Request-Method", b"POST")
    preflight = await gateway.handle(make_request("OPTIONS", "/auth/token", (HOST, origin, asked)))
    refused = await gateway.handle(make_request("POST", "/auth/token", (HOST, origin)))
    assert (preflight.status, refused.status) == (204, 415)
    for response in (preflight, refused):
        assert header(response, b"Access-Control-Allow-Origin") == b"https://app.example"
    assert header(refused, b"Cache-Control") == b"no-store"


async def test_without_a_secret_there_are_no_token_endpoints(gateway: Gateway) -> None:
    """Nor without clients."""
    alice = {"id": "alice", "secret_hash": "0" * 64}
    without_secret = Gateway(gateway.broker)
    for identity, rules in (
        (Identity(None), snapshot(clients=[alice])),
        (Identity(SECRET), snapshot()),
    ):
        without_secret.pipeline = Pipeline(
            rules,
            gateway.pipeline._exchange,
            identity=identity,
            request_ids=RequestIds(),
        )
        response = await without_secret.handle(make_request("POST", "/auth/token", (HOST,)))
        assert problem(response) == "no-route"


async def test_a_failure_leaves_a_line_with_its_id(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever has the id from a 504 finds what it was; what went well leaves nothing."""
    caplog.set_level(logging.INFO)
    await gateway.get("/open/well")
    assert caplog.records == []
    response = await gateway.get("/open/late", (b"Prefer", b"wait=0"))
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "504 deadline-exceeded" in record.getMessage()
    assert record.__dict__["request_id"].encode() == header(response, b"X-Request-ID")


FORM = (b"Content-Type", b"application/x-www-form-urlencoded")
ALICE = {"id": "alice", "secret_hash": sha256(b"x").hexdigest()}
CLIENTS: dict[str, Any] = {"auth": {"clients": [ALICE]}}
LOGIN = b"grant_type=client_credentials&client_id=alice&client_secret="


async def login(gateway: Gateway, secret: bytes = b"x", *headers: tuple[bytes, bytes]) -> Response:
    given = (HOST, FORM, *headers)
    return await gateway.handle(make_request("POST", "/auth/token", given, body=LOGIN + secret))


@pytest.mark.parametrize("match", [{"path": "/auth/*"}, {"path": "/auth/token"}, {}])
async def test_rules_hold_at_the_token_endpoints(gateway: Gateway, match: Any) -> None:
    """By address, whatever the request is, and told in the fields of the answer."""
    rule = {"name": "logins", "key": "ip", "match": match, "requests_per_minute": 2}
    gateway.pipeline.use(at_the_door(**CLIENTS, rate_limits=[rule]))
    first = await login(gateway)
    assert (first.status, header(first, b"RateLimit-Policy")) == (200, b'"logins";q=2;w=60')
    broken = await gateway.handle(make_request("POST", "/auth/token", (HOST,)))
    assert (broken.status, header(broken, b"RateLimit")) == (415, b'"logins";r=0;t=30')
    refused = await login(gateway)
    assert (refused.status, header(refused, b"Retry-After")) == (429, b"30")
    assert json.loads(refused.body)["error"] == "temporarily_unavailable"


async def test_rules_by_field_hold_at_the_token_endpoints(gateway: Gateway) -> None:
    """Each value by itself; a rule for other paths is for others."""
    rules = [
        {"name": "apps", "key": "header:X-App", "requests_per_minute": 1},
        {"name": "api", "key": "ip", "match": {"path": "/api/*"}, "requests_per_minute": 1},
    ]
    gateway.pipeline.use(at_the_door(**CLIENTS, rate_limits=rules))
    apps = [(b"X-App", value) for value in (b"1", b"2", b"1")]
    statuses = [(await login(gateway, b"x", app)).status for app in apps]
    assert statuses == [200, 200, 429]


async def test_guesses_on_routes_are_counted(gateway: Gateway) -> None:
    """30 at once from an address, forged tokens and unknown keys together; then 429.

    Whoever has a good one at that address is not harmed, nor who has none on an open route, and
    logins are counted apart.
    """
    key = {"id": "k", "key_hash": sha256(b"good").hexdigest()}
    tiers = {"FREE": DEFAULT_TIERS["FREE"].model_copy(update={"requests_per_minute": None})}
    auth = {**CLIENTS["auth"], "api_keys": [key]}
    gateway.pipeline.use(replace(at_the_door(auth=auth), tiers=tiers))
    bad = ((b"Authorization", b"Bearer x"), (b"X-API-Key", b"guess"))
    for number in range(30):
        assert (await gateway.get(("/users", "/open/x")[number % 2], bad[number % 2])).status == 401
    for headers in bad:
        refused = await gateway.get("/users", headers)
        assert (problem(refused), header(refused, b"Retry-After")) == ("rate-limited", b"6")
    assert (await gateway.get("/users", bad[0], peer="192.0.2.2")).status == 401
    for good in (bearer(), (b"X-API-Key", b"good")):
        assert (await gateway.get("/users", good)).status == 200
    assert (await gateway.get("/open/x")).status == 200
    assert (await gateway.get("/users")).status == 401
    assert (await login(gateway)).status == 200


async def test_tokens_that_expired_are_no_guesses(gateway: Gateway) -> None:
    """Clients behind one address that renew late are told so, however many they are."""
    late = [(await gateway.get("/users", bearer(exp=time.time() - 99))).status for _ in range(40)]
    assert late == [401] * 40


async def test_a_second_field_gives_no_further_guesses(gateway: Gateway) -> None:
    """Who adds a Forwarded of its own to what its proxy writes is still the one who guessed."""
    gateway.pipeline.use(at_the_door(**CLIENTS, trusted_proxies=["192.0.2.1"]))
    client, lie = (b"X-Forwarded-For", b"203.0.113.9"), (b"Forwarded", b"for=9.9.9.9")
    for status in [401] * 30 + [429]:
        assert (await login(gateway, b"wrong", client)).status == status
    assert (await login(gateway, b"wrong", client, lie)).status == 429
    assert (await login(gateway, b"x", (b"X-Forwarded-For", b"203.0.113.8"))).status == 200


async def test_a_filter_does_not_guess_who_it_is(gateway: Gateway) -> None:
    """Where the two fields differ a filter refuses, whichever of them the proxy writes."""
    gateway.pipeline.use(
        at_the_door(trusted_proxies=["192.0.2.1"], ip_filter={"deny": ["198.51.100.0/24"]})
    )
    client, lie = (b"X-Forwarded-For", b"203.0.113.9"), (b"Forwarded", b"for=9.9.9.9")
    assert (await gateway.get("/open/x", client)).status == 200
    assert (await gateway.get("/open/x", client, lie)).status == 403


async def test_an_ended_session_is_a_401_before_it_is_a_403(gateway: Gateway) -> None:
    """Who lacks a role is told of the role only while its session lasts."""
    gateway.pipeline.use(at_the_door(**CLIENTS))
    headers = await token(gateway)
    assert problem(await gateway.get("/admin", headers)) == "forbidden"
    await gateway.handle(make_request("POST", "/auth/logout", (HOST, headers)))
    over = await gateway.get("/admin", headers)
    assert problem(over) == "unauthorized"
    assert b"role" not in over.body


async def test_failures_of_the_token_endpoints_are_told(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    """Each with the name of its error; those that are not the client's leave a line with the id."""
    gateway.pipeline.use(at_the_door(**CLIENTS))
    assert (await login(gateway, b"wrong")).status == 401
    assert gateway.finished[-1].problem == "invalid_client"

    async def unavailable(*args: Any, **kwargs: Any) -> None:
        raise SessionsUnavailable

    sessions: Any = gateway.pipeline._limits.sessions
    sessions.open = unavailable
    response = await login(gateway)
    assert (response.status, gateway.finished[-1].problem) == (503, "temporarily_unavailable")
    record = caplog.records[-1]
    assert "/auth/token: 503 temporarily_unavailable" in record.getMessage()
    assert record.__dict__["request_id"].encode() == header(response, b"X-Request-ID")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ((), 200),
        ((CLOSE,), 200),
        (((b"Connection", b"X-Tenant, close"),), 400),
        (((b"connection", b"content-type"),), 415),
        (((b"Content_Type", b"text/xml"),), 415),
        (((b"Content_Encoding", b"gzip"),), 415),
    ],
)
async def test_what_is_validated_is_what_goes_on(
    gateway: Gateway, headers: tuple[tuple[bytes, bytes], ...], status: int
) -> None:
    """A field that Connection takes off was not there, and one that servers read alike was."""
    rules = {"headers": {"required": ["X-Tenant"]}, "body": {"type": "object"}}
    route = {"path": "/checked", "auth_required": False, "validate": rules}
    gateway.pipeline.use(snapshot(route, version=2))
    fields = (HOST, (b"X-Tenant", b"acme"), (b"Content-Type", b"application/json"), *headers)
    response = await gateway.handle(make_request("POST", "/checked", fields, body=b"{}"))
    assert response.status == status
    assert bool(gateway.asked) == (status == 200)


async def test_connection_takes_no_key_from_what_is_sent_twice(gateway: Gateway) -> None:
    """A POST that may be repeated, because of its key, goes on with that key."""
    key = (b"Idempotency-Key", b"k")
    headers = (HOST, bearer(), key, (b"Connection", b"idempotency-key"))
    await gateway.handle(make_request("POST", "/users", headers))
    assert gateway.asked[0].idempotent
    assert key in gateway.asked[0].headers
