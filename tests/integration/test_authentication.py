"""Callers by tokens and keys: the commands as black boxes, and an issuer over real HTTP."""

import asyncio
import re
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web

from tests.integration.commands import (
    SECRET,
    WITHIN,
    Running,
    configuration,
    launched,
    run,
    started,
    upstream,
)
from tests.processes import free_port
from tests.unit.ingress.identity.issuer import Issuer, issuing
from tests.unit.ingress.identity.signing import KeyPair, key_pair
from tests.unit.ingress.identity.signing import token as made_token

POLICIES = Path(__file__).parents[2] / "docs" / "policies.md"
RSA, OTHER_RSA, EC = key_pair("RSA"), key_pair("RSA", 1), key_pair("P-256")


async def mirror(request: web.BaseRequest) -> web.Response:
    """The names and values of the fields that reached the service."""
    return web.json_response({name.lower(): value for name, value in request.headers.items()})


def settings(folder: Path, url: str, **auth: Any) -> str:
    """A configuration with these options of authentication."""
    config = configuration(folder, url)
    options = {"auth": auth, "drain": {"delay": 0, "timeout": 10}}
    (Path(config) / "gateway.yaml").write_text(yaml.safe_dump(options))
    return config


def by(pair: KeyPair, alg: str, kid: str | None = None, **claims: Any) -> dict[str, str]:
    token = pair.token(alg, kid, **{"exp": time.time() + 600, **claims})
    return {"Authorization": f"Bearer {token}"}


class Client:
    """Asks for the closed route."""

    def __init__(self, session: aiohttp.ClientSession, gateway: Running) -> None:
        self._session = session
        self._url = f"{gateway.public}/closed"

    async def ask(self, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
        async with self._session.get(self._url, headers=headers) as response:
            return response.status, await response.json()

    async def status(self, headers: dict[str, str]) -> int:
        return (await self.ask(headers))[0]

    async def until(self, status: int, headers: dict[str, str]) -> None:
        """Ask until the answer is as wanted."""
        async with asyncio.timeout(WITHIN):
            while await self.status(headers) != status:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.1)


@asynccontextmanager
async def client_of(gateway: Running) -> AsyncIterator[Client]:
    """One."""
    async with aiohttp.ClientSession() as session:
        yield Client(session, gateway)


# --- keys from a URL ------------------------------------------------------------------------------


async def test_an_issuer_that_rotates_and_dies(tmp_path: Path) -> None:
    """Not ready before the first keys; a new key is found; while it is away the last keys serve."""
    issuer = Issuer(RSA.jwk("first"))
    port = free_port()
    async with upstream(mirror) as url:
        config = settings(tmp_path, url, algorithms=["RS256"], jwks_url=issuer.url)
        arguments = ("--config", config, "--admin-port", str(port))
        async with launched(tmp_path, "up", *arguments, jwt_secret="") as up:
            up.addresses["admin"] = f"http://127.0.0.1:{port}"
            while "gave no keys" not in up.stderr:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.02)
            before = await up.health()
            await issuer.start()
            await up.ready()
            after = await up.health()
            async with client_of(up) as client:
                opened = await client.status(by(RSA, "RS256", "first"))
                forged = await client.status(by(OTHER_RSA, "RS256", "first"))
                issuer.jwks.append(OTHER_RSA.jwk("second"))
                await client.until(200, by(OTHER_RSA, "RS256", "second"))
                await issuer.stop()
                away = [
                    await client.status(by(pair, "RS256", kid, jti="new"))
                    for pair, kid in ((RSA, "first"), (OTHER_RSA, "second"), (RSA, "third"))
                ]
            still = await up.health()
            page = await up.metrics()

    assert before[0] == 503
    assert before[1]["checks"]["keys"] == "missing, failing: ClientConnectorError"
    assert (after[0], after[1]["checks"]["keys"]) == (200, "fetched")
    assert (opened, forged) == (200, 401)
    assert away[:2] == [200, 200]
    assert away[2] in (401, 429)  # as there were many such tokens before
    assert still[0] == 200
    assert page['ingress_key_fetches_total{result="good"}'] >= 2
    assert page['ingress_key_fetches_total{result="failed"}'] >= 1


async def test_reloads_fetch_and_keep(tmp_path: Path) -> None:
    """SIGHUP has a key that was taken out forgotten, and loses none while the issuer is away."""
    issuer = Issuer(RSA.jwk("first"), OTHER_RSA.jwk("second"))
    await issuer.start()
    async with upstream(mirror) as url:
        auth = {"algorithms": ["RS256"], "jwks_url": issuer.url}
        config = settings(tmp_path, url, **auth)
        async with started(tmp_path, "up", "--config", config) as up, client_of(up) as client:
            assert await client.status(by(RSA, "RS256", "first")) == 200
            issuer.jwks = [OTHER_RSA.jwk("second")]
            up.signal(signal.SIGHUP)
            await client.until(401, by(RSA, "RS256", "first"))

            await issuer.stop()
            options = {"auth": {**auth, "algorithms": ["ES256", "RS256"]}}
            (Path(config) / "gateway.yaml").write_text(yaml.safe_dump(options))
            up.signal(signal.SIGHUP)
            async with asyncio.timeout(WITHIN):
                for text in ("version 3 is in use", "the last good ones serve"):
                    while text not in up.stderr:  # noqa: ASYNC110 - another process
                        await asyncio.sleep(0.02)
            assert await client.status(by(OTHER_RSA, "RS256", "second")) == 200
            page = await up.health()

    assert page[0] == 200
    assert page[1]["checks"]["keys"] == "last good, failing: ClientConnectorError"


async def test_a_flood_of_unknown_names_reaches_the_issuer_once(tmp_path: Path) -> None:
    """A thousand tokens, each with a name of its own, cost the issuer one fetch a cooldown."""
    async with upstream(mirror) as url, issuing(RSA.jwk("first")) as issuer:
        config = settings(tmp_path, url, algorithms=["RS256"], jwks_url=issuer.url)
        began = time.monotonic()
        async with (
            started(tmp_path, "up", "--config", config) as up,
            client_of(up) as client,
        ):
            good = by(RSA, "RS256", "first")
            flood = [by(OTHER_RSA, "RS256", f"k{number}") for number in range(1000)]
            statuses = await asyncio.gather(*(client.status(headers) for headers in flood))
            opened = await client.status(good)
        cooldowns = 1 + int((time.monotonic() - began) / 10)

    assert set(statuses) == {401, 429}
    assert 30 <= statuses.count(401) <= 30 + (time.monotonic() - began) / 6
    assert opened == 200
    assert issuer.asked <= 1 + cooldowns


# --- the example of the documentation -------------------------------------------------------------


def documented() -> dict[str, Any]:
    """gateway.yaml as in the section on authentication."""
    section = POLICIES.read_text().partition("## Authentication\n")[2].partition("\n## ")[0]
    example = re.search(r"```yaml\n# gateway.yaml\n(.*?)```", section, re.DOTALL)
    assert example is not None
    found = yaml.safe_load(example[1])
    assert isinstance(found, dict)
    return found


async def test_the_documented_example(tmp_path: Path) -> None:
    """With the configuration in docs/policies.md each way of being known works, and is told on."""
    auth = documented()["auth"]
    expected = {"iss": auth["issuer"], "aud": auth["audience"]}
    shared = made_token(SECRET, "HS256", exp=time.time() + 600, tier="BASIC", **expected)
    ways = {
        "fetched": by(RSA, "RS256", "k", sub="u1", **expected),
        "file": by(EC, "ES256", sub="u2", **expected),
        "secret": {"Authorization": f"Bearer {shared}"},
        "key": {"X_API-key": "x", "X-API-Key": "example-key"},
        "audience": by(RSA, "RS256", "k", iss=auth["issuer"], aud="another"),
        "unknown key": {"X-API-Key": "another-key"},
        "nothing": {},
    }
    async with upstream(mirror) as url, issuing(RSA.jwk("k")) as issuer:
        config = settings(tmp_path, url, **{**auth, "jwks_url": issuer.url})
        (Path(config) / "keys").mkdir()
        (Path(config) / "keys" / "partner.pem").write_bytes(EC.pem)
        async with (
            started(tmp_path, "up", "--config", config) as up,
            client_of(up) as client,
        ):
            found = {way: await client.ask(headers) for way, headers in ways.items()}

    seen = {way: fields for way, (status, fields) in found.items() if status == 200}
    assert {way: (f["x-user-id"], f["x-user-tier"]) for way, f in seen.items()} == {
        "fetched": ("u1", "FREE"),
        "file": ("u2", "FREE"),
        "secret": ("alice", "BASIC"),
        "key": ("billing", "PRO"),
    }
    assert seen["key"]["x-user-roles"] == "machine"
    assert not [name for name in seen["key"] if "api" in name]
    assert {way: status for way, (status, _) in found.items() if status != 200} == {
        "audience": 401,
        "unknown key": 401,
        "nothing": 401,
    }


# --- bad configuration ----------------------------------------------------------------------------


async def test_a_bad_key_file_ends_with_2(tmp_path: Path) -> None:
    """The fault names file, line and what was found; `check` finds it too."""
    config = settings(
        tmp_path, "http://127.0.0.1:1", algorithms=["RS256"], public_keys=["missing.pem"]
    )
    served, checked = await run("up", "--config", config), await run("check", config)

    assert (served.status, checked.status) == (2, 1)
    for finished in (served, checked):
        assert 'gateway.yaml:5:5: auth.public_keys[0]: found "missing.pem"' in finished.stderr
        assert "Traceback" not in finished.stderr


async def test_a_secret_without_its_algorithm_is_no_key(tmp_path: Path) -> None:
    """Where no allowed algorithm can have a key, nothing starts, and check tells it beforehand."""
    config = settings(tmp_path, "http://127.0.0.1:1", algorithms=["RS256"])
    served = await run("up", "--config", config, jwt_secret=SECRET)
    checked = await run("check", config)

    assert (served.status, checked.status) == (2, 1)
    for finished in (served, checked):
        assert "allowed: public_keys or jwks_url beside them" in finished.stderr


async def test_the_secret_signs_nothing_without_its_algorithm(tmp_path: Path) -> None:
    """No token is made that none would take."""
    config = settings(tmp_path, "http://127.0.0.1:1", algorithms=["PS256"], public_keys=["a.pem"])
    (Path(config) / "a.pem").write_bytes(RSA.pem)
    token = await run("token", "--config", config, "--subject", "u1", jwt_secret=SECRET)

    assert token.status == 2
    assert "HS256" in token.stderr


async def test_a_public_key_in_the_place_of_the_secret_ends_with_2(tmp_path: Path) -> None:
    """What everybody may know signs nothing; and it is not shown."""
    config = settings(tmp_path, "http://127.0.0.1:1")
    finished = await run("up", "--config", config, jwt_secret=RSA.pem.decode())

    assert finished.status == 2
    assert "GATEWAY_JWT_SECRET: found ***" in finished.stderr
    assert "BEGIN" not in finished.stderr


async def test_a_public_key_alone_serves_closed_routes(tmp_path: Path) -> None:
    """No secret is needed then."""
    async with upstream(mirror) as url:
        config = settings(tmp_path, url, algorithms=["PS256"], public_keys=["a.pem"])
        (Path(config) / "a.pem").write_bytes(RSA.pem)
        async with (
            started(tmp_path, "up", "--config", config, jwt_secret="") as up,
            client_of(up) as client,
        ):
            statuses = [await client.status(by(RSA, alg)) for alg in ("PS256", "RS256")]

    assert statuses == [200, 401]
