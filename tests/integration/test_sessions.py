"""Tokens and sessions of real processes: two ingresses over one Redis, and what becomes of it."""

import asyncio
import json
import re
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web

from ingress.redis_link import RedisLink
from ingress.redis_wire import pack
from tests.integration.commands import (
    SECRET,
    WITHIN,
    Running,
    environment,
    run,
    started,
    two_ingresses,
    upstream,
)
from tests.integration.door import guarded
from tests.servers import RedisServer
from tests.unit.ingress.identity.signing import token as made_token

README = Path(__file__).parents[2] / "README.md"
PASSWORD = "a-secret-of-billing-that-is-random"
CLIENT = {
    "id": "billing",
    "secret_hash": sha256(PASSWORD.encode()).hexdigest(),
    "tier": "PRO",
    "roles": ["machine"],
    "scopes": ["invoices:read", "invoices:write"],
    "customer": "acme",
}
LIMITED = {"path": "/limited", "service": "users", "rate_limit": 1000}


async def mirror(request: web.BaseRequest) -> web.Response:
    """The names and values of the fields that reached the service."""
    return web.json_response({name.lower(): value for name, value in request.headers.items()})


@dataclass
class Client:
    """A client of the token endpoints, with the tokens that it got last."""

    session: aiohttp.ClientSession
    access: str = ""
    refresh: str = ""

    async def login(self, at: Running, **form: str) -> int:
        """Fetch tokens."""
        fields = {"grant_type": "client_credentials", **form}
        status, page = await self.form(at, "/auth/token", **fields)
        if status == 200:
            self.access, self.refresh = page["access_token"], page["refresh_token"]
        return status

    async def form(self, at: Running, path: str, **form: str) -> tuple[int, dict[str, Any]]:
        """Post one."""
        headers = {"Authorization": aiohttp.encode_basic_auth("billing", PASSWORD)}
        async with self.session.post(at.public + path, data=form, headers=headers) as response:
            return response.status, await response.json(content_type=None)

    async def ask(self, at: Running, path: str = "/closed", method: str = "GET") -> int:
        """The status of a request with the access token."""
        return (await self.read(at, path, method))[0]

    async def read(
        self, at: Running, path: str = "/closed", method: str = "GET"
    ) -> tuple[int, bytes]:
        headers = {"Authorization": f"Bearer {self.access}"}
        async with self.session.request(method, at.public + path, headers=headers) as response:
            if response.status == 503:
                assert int(response.headers["Retry-After"]) >= 1
            return response.status, await response.read()

    async def until(self, status: int, at: Running) -> Counter[int]:
        """Ask until the answer is as wanted; the others before it."""
        before: Counter[int] = Counter()
        async with asyncio.timeout(WITHIN):
            while (found := await self.ask(at)) != status:
                before[found] += 1
                await asyncio.sleep(0.02)
        return before


@asynccontextmanager
async def door(
    folder: Path, amqp_url: str, redis_url: str
) -> AsyncIterator[tuple[Running, Running, Client]]:
    """Two ingresses, and a client."""
    async with upstream(mirror) as url:
        directory = guarded(folder, url, [LIMITED], auth={"clients": [CLIENT]})
        async with (
            two_ingresses(folder, directory, amqp_url, redis_url) as (one, other),
            aiohttp.ClientSession() as session,
        ):
            yield one, other, Client(session)


async def test_what_is_ended_at_one_is_ended_at_the_other(
    tmp_path: Path, amqp_url: str, redis_url: str
) -> None:
    """A token that an ingress has let pass many times is refused with the very next request."""
    async with door(tmp_path, amqp_url, redis_url) as (one, other, client):
        assert await client.login(one) == 200
        stolen = Client(client.session, client.access)
        for path in ("/closed", "/limited"):
            for at in (one, other):
                assert [await stolen.ask(at, path) for _ in range(3)] == [200] * 3
        assert await client.login(other) == 200
        listed = await client.session.get(
            other.public + "/auth/sessions", headers={"Authorization": f"Bearer {client.access}"}
        )
        sessions = (await listed.json())["sessions"]
        [name] = [each["id"] for each in sessions if not each["current"]]
        assert await client.ask(other, f"/auth/sessions/{name}", "DELETE") == 204
        for path in ("/closed", "/limited", "/open/x"):
            for at in (one, other):
                assert await stolen.ask(at, path) == 401
                assert await client.ask(at, path) == 200
        assert await client.ask(one, "/auth/logout", "POST") == 204
        assert await client.ask(other) == 401
        status, page = await client.form(other, "/auth/refresh", refresh_token=client.refresh)
        assert (status, page["error"]) == (400, "invalid_grant")


async def test_fifty_parallel_refreshes(tmp_path: Path, amqp_url: str, redis_url: str) -> None:
    """Over both at once at most one succeeds; then the whole session is over, at both."""
    async with door(tmp_path, amqp_url, redis_url) as pair:
        *ingresses, client = pair
        for _ in range(5):
            assert await client.login(ingresses[0]) == 200
            found = await asyncio.gather(
                *(
                    client.form(ingresses[n % 2], "/auth/refresh", refresh_token=client.refresh)
                    for n in range(50)
                )
            )
            given = [page for status, page in found if status == 200]
            refused = [page["error"] for status, page in found if status == 400]
            assert len(given) <= 1
            assert refused == ["invalid_grant"] * (50 - len(given))
            for page in given:
                client.access = page["access_token"]
                form = {"refresh_token": page["refresh_token"]}
                for at in ingresses:
                    assert await client.ask(at) == 401
                    assert (await client.form(at, "/auth/refresh", **form))[0] == 400
        said = "".join(each.stderr for each in ingresses)
        assert said.count("a refresh token was used twice") == 5
        assert client.refresh.partition(".")[2] not in said
        assert PASSWORD not in said


async def test_redis_dies_and_comes_back_empty(
    tmp_path: Path, amqp_url: str, private_redis: Callable[[], RedisServer]
) -> None:
    """Without it no session is good, and nobody is told that his is over; tokens of others are."""
    redis = private_redis()
    async with door(tmp_path, amqp_url, redis.url) as (one, other, client):
        assert await client.login(one) == 200
        foreign = Client(client.session, made_token(SECRET, "HS256", exp=time.time() + 600))
        assert [await client.ask(at) for at in (one, other)] == [200, 200]
        redis.kill()
        for _ in range(20):
            assert [await client.ask(at) for at in (one, other)] == [503, 503]
            assert [await foreign.ask(at) for at in (one, other)] == [200, 200]
        for path in ("/auth/token", "/auth/refresh"):
            form = {"grant_type": "refresh_token", "refresh_token": client.refresh}
            status, page = await client.form(one, path, **form)
            assert (status, page["error"]) == (503, "temporarily_unavailable")
        assert await client.ask(one, "/auth/logout", "POST") == 503
        redis.start()
        assert set(await client.until(401, one)) <= {503}
        assert set(await client.until(401, other)) <= {503}
        assert await client.login(other) == 200
        assert [await client.ask(at) for at in (one, other)] == [200, 200]


async def test_redis_stands_still_and_is_flushed(
    tmp_path: Path, amqp_url: str, private_redis: Callable[[], RedisServer]
) -> None:
    """While it does not answer: 503, then as before. Flushed: 401, and a new login helps."""
    redis = private_redis()
    async with door(tmp_path, amqp_url, redis.url) as (one, other, client):
        assert await client.login(one) == 200
        async with RedisLink(redis.url) as link:
            await link.call(pack(b"CLIENT", b"PAUSE", b"1500", b"ALL"))
            assert [await client.ask(at) for at in (one, other)] == [503, 503]
            assert set(await client.until(200, one)) <= {503}
            assert set(await client.until(200, other)) <= {503}
        async with RedisLink(redis.url) as link:
            await link.call(pack(b"FLUSHALL"))
            await link.call(pack(b"SCRIPT", b"FLUSH"))
        assert [await client.ask(at) for at in (one, other)] == [401, 401]
        assert await client.login(other) == 200
        assert [await client.ask(at) for at in (one, other)] == [200, 200]


async def test_an_ingress_that_starts_again_knows_all_sessions(
    tmp_path: Path, redis_url: str
) -> None:
    """They are in Redis; in a process without one they end with it."""
    async with upstream(mirror) as url, aiohttp.ClientSession() as session:
        config = guarded(tmp_path, url, [], auth={"clients": [CLIENT]})
        for shared, status in ((True, 200), (False, 401)):
            more = {"redis_url": redis_url} if shared else {}
            client = Client(session)
            async with started(tmp_path, "up", "--config", config, **more) as up:
                assert await client.login(up, scope="invoices:read") == 200
                seen = await client.read(up)
                assert seen[0] == 200
                assert b'"x-user-id": "billing"' in seen[1]
                assert b'"x-user-tier": "PRO"' in seen[1]
            async with started(tmp_path, "up", "--config", config, **more) as up:
                assert await client.ask(up) == status


# --- bad configuration ----------------------------------------------------------------------------


async def test_what_clients_need(tmp_path: Path, amqp_url: str) -> None:
    """A secret to sign with; and, where ingress is a process of its own, a Redis: else exit 2."""
    config = ("--config", guarded(tmp_path, "http://127.0.0.1:1", [], auth={"clients": [CLIENT]}))
    unsigned = await run("up", *config)
    alone = await run("ingress", *config, amqp_url=amqp_url, jwt_secret=SECRET)
    checked = await run("check", config[1])
    assert (unsigned.status, alone.status, checked.status) == (2, 2, 0)
    assert "GATEWAY_JWT_SECRET" in unsigned.stderr
    assert "GATEWAY_REDIS_URL" in alone.stderr
    assert "nothing acts on it" not in checked.stdout


# --- the example of the README --------------------------------------------------------------------


def documented() -> tuple[dict[str, Any], list[str]]:
    """What the section on tokens shows: gateway.yaml, and commands with their placeholders."""
    section = README.read_text().partition("### Tokens\n")[2].partition("\n### ")[0]
    example = re.search(r"```yaml\n# gateway.yaml\n(.*?)```", section, re.DOTALL)
    assert example is not None
    return yaml.safe_load(example[1]), re.findall(r"^    (curl .*)$", section, re.MULTILINE)


async def test_the_readme(tmp_path: Path) -> None:
    """The commands, as they stand there, fetch tokens, use, renew, list and end them."""
    options, commands = documented()
    made = dict(line.split(": ") for line in (await run("client-secret")).stdout.splitlines())
    told = []
    async with upstream(mirror) as url:
        options["auth"]["clients"][0]["secret_hash"] = made["secret_hash"]
        routes = [{"path": "/api/v1/users", "service": "users"}]
        directory = guarded(tmp_path, url, routes, **options)
        async with started(tmp_path, "up", "--config", directory) as up:
            values = {"SECRET": made["secret"]}
            for command in commands:
                line = command.replace("http://127.0.0.1:8000", up.public)
                shell = await asyncio.create_subprocess_exec(
                    *("sh", "-c", line), env=environment() | values, stdout=PIPE, stderr=DEVNULL
                )
                output, _ = await asyncio.wait_for(shell.communicate(), WITHIN)
                page = json.loads(output or b"{}")
                if "access_token" in page:
                    values |= {"ACCESS": page["access_token"], "REFRESH": page["refresh_token"]}
                told.append(page)
            async with aiohttp.ClientSession() as session:
                assert await Client(session, values["ACCESS"]).ask(up, "/api/v1/users") == 401
    tokens, answer, renewed, sessions, logout = told
    assert tokens["refresh_token"] != renewed["refresh_token"]
    assert (answer["x-user-id"], answer["x-user-tier"]) == ("billing", "PRO")
    assert [each["current"] for each in sessions["sessions"]] == [True]
    assert logout == {}
