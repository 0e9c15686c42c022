"""Guessing at real processes: two ingresses over one Redis count as one, and tell what they see."""

from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path

from aiohttp import web

from tests.integration.commands import SECRET as JWT_SECRET
from tests.integration.commands import Running, run, two_ingresses, upstream
from tests.integration.door import ask, guarded
from tests.servers import RedisServer

PASSWORD = "a-secret-of-billing-that-is-random"
CLIENT = {"id": "billing", "secret_hash": sha256(PASSWORD.encode()).hexdigest()}
RULE = {"name": "logins", "key": "ip", "match": {"path": "/auth/*"}, "requests_per_minute": 40}
FORM = "Content-Type: application/x-www-form-urlencoded"
FETCH = b"grant_type=client_credentials"


async def hello(request: web.BaseRequest) -> web.Response:
    return web.Response(text="hello")


@asynccontextmanager
async def door(folder: Path, amqp_url: str, redis_url: str) -> AsyncIterator[list[Running]]:
    """Two ingresses with a dispatcher behind them, and a proxy that is trusted: 127.0.0.4."""
    async with upstream(hello) as url:
        options = {"rate_limits": [RULE], "trusted_proxies": ["127.0.0.4"]}
        directory = guarded(folder, url, [], auth={"clients": [CLIENT]}, **options)
        async with two_ingresses(folder, directory, amqp_url, redis_url) as pair:
            yield list(pair)


def basic(password: str) -> str:
    return "Authorization: Basic " + b64encode(f"billing:{password}".encode()).decode()


async def test_forged_tokens(
    tmp_path: Path, amqp_url: str, private_redis: Callable[[], RedisServer]
) -> None:
    """30 at both together, then 429; a good token from the same address is not harmed."""
    async with door(tmp_path, amqp_url, private_redis().url) as pair:
        config = ("--config", str(tmp_path / "config"))
        made = await run("token", *config, "--subject", "ann", jwt_secret=JWT_SECRET)
        good = f"Authorization: Bearer {made.stdout.strip()}"
        forged = good + "x"
        for number in range(30):
            answer = await ask(pair[number % 2].public, "GET /closed", forged)
            assert answer.status == 401
        told = [at.stderr.count("of a caller from 127.0.0.1: failed") for at in pair]
        assert told == [1, 1]
        for at in pair:
            refused = await ask(at.public, "GET /closed", forged)
            assert refused.status == 429
            assert 0 < int(refused.get(b"Retry-After") or b"") <= 6
            assert (await ask(at.public, "GET /closed", good)).status == 200
            assert (await ask(at.public, "GET /closed")).status == 401
            elsewhere = await ask(at.public, "GET /closed", forged, source="127.0.0.2")
            assert elsewhere.status == 401
        pages = [await at.metrics() for at in pair]
    name = 'ingress_authentication_failures_total{credential="caller",result="%s"}'
    counted = [sum(page[name % result] for page in pages) for result in ("refused", "limited")]
    assert counted == [32, 2]


async def test_secrets_behind_a_proxy(
    tmp_path: Path, amqp_url: str, private_redis: Callable[[], RedisServer]
) -> None:
    """Neither another ingress nor a Forwarded of its own gives a client further guesses.

    The rule of the operator holds on top, for logins that succeed, too.
    """
    client, other = "X-Forwarded-For: 203.0.113.9", "X-Forwarded-For: 203.0.113.8"
    lie = "Forwarded: for=9.9.9.9"

    async def login(at: Running, password: str, *fields: str) -> int:
        given = (FORM, basic(password), *fields)
        line = "POST /auth/token"
        return (await ask(at.public, line, *given, source="127.0.0.4", body=FETCH)).status

    async with door(tmp_path, amqp_url, private_redis().url) as pair:
        found = [await login(pair[n % 2], f"guess-{n}", client) for n in range(31)]
        assert found == [401] * 30 + [429]
        assert [await login(at, PASSWORD, client, lie) for at in pair] == [429, 429]
        found = [await login(pair[n % 2], PASSWORD, other) for n in range(60)]
        assert found[:40] == [200] * 40
        assert 429 in found
        said = "".join(each.stderr for each in pair)
    assert "authentication of client billing from 203.0.113.9: failed" in said
    assert "guess-" not in said
