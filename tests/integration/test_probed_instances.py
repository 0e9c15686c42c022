"""Which instances are probed, and how: those that dispatchers call, in the way that they do."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.dns_server import DnsServer
from tests.integration.commands import WITHIN, Running, configuration, run, started
from tests.integration.test_discovery import REGISTRY, TOKEN, instances, operate, until_known
from tests.integration.test_health_checks import (
    QUICK,
    Instance,
    answered_by,
    answers,
    healthy,
    leader_of,
)
from tests.integration.upstreams.authority import demanding, write_authority, write_certificate
from tests.processes import free_port
from tests.servers import RedisServer


@asynccontextmanager
async def serving(
    instance: Instance, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Instance]:
    """The instance, at an address of its own."""
    application = web.Application()
    application.router.add_route("*", "/{rest:.*}", instance.answer)
    scheme = "https" if tls else "http"
    server = TestServer(application, host=host, port=port, scheme=scheme)
    await server.start_server(ssl=tls)
    instance.url = f"{scheme}://{host}:{server.port}"
    try:
        yield instance
    finally:
        await server.close()


def config(folder: Path, **service: Any) -> str:
    """A directory whose one service is like this."""
    directory = configuration(folder, "http://unused.test")
    services = [{"name": "users", "health_check": QUICK, **service}]
    Path(directory, "services.yaml").write_text(yaml.safe_dump(services))
    return directory


@pytest.fixture
def authority() -> trustme.CA:
    """Who signs for all."""
    return trustme.CA()


def files(authority: trustme.CA, folder: Path) -> dict[str, str]:
    """What a service's ``tls`` says: a private authority, and a certificate of the gateway's."""
    ca = write_authority(authority, folder / "ca.pem")
    own, key = write_certificate(authority.issue_cert("gateway.test"), folder, "gateway")
    return {"ca": str(ca), "certificate": str(own), "key": str(key)}


async def known_to(workers: Running, *urls: str) -> None:
    """Wait until the workers know exactly these instances."""
    async with asyncio.timeout(WITHIN):
        while True:
            page = await workers.metrics()
            found = {name for name in page if name.startswith("workers_instance_healthy{")}
            if found == {
                f'workers_instance_healthy{{instance="{url}",service="users"}}' for url in urls
            }:
                return
            await asyncio.sleep(0.02)


async def test_found_by_dns_and_asked_by_mutual_tls(
    tmp_path: Path, amqp_url: str, authority: trustme.CA
) -> None:
    """Probes have address, name and TLS of calls; who stands by looks nothing up."""
    tls = demanding(authority.issue_cert("users.internal"), authority)
    port, one, other = free_port(), Instance(), Instance()
    service = {
        "base_url": f"https://users.test:{port}",
        "discovery": {"type": "dns"},
        "tls": {**files(authority, tmp_path), "server_name": "users.internal"},
    }
    options = ("--config", config(tmp_path, **service))
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        await enter(serving(one, "127.0.0.2", port, tls))
        await enter(serving(other, "127.0.0.3", port, tls))
        dns = await enter(DnsServer(ttl=1))
        dns.zone["users.test.", "A"] = ["127.0.0.2"]
        settings = {"amqp_url": amqp_url, "dns_nameservers": f"127.0.0.1:{dns.port}"}
        workers = await enter(started(tmp_path, "workers", *options, **settings))
        await known_to(workers, one.url)
        assert (await workers.health())[1]["checks"]["dns"] == "answering"
        standby = await enter(started(tmp_path, "workers", *options, **settings))
        assert await leader_of([workers, standby]) is workers
        assert "dns" not in (await standby.health())[1]["checks"]

        await enter(started(tmp_path, "dispatcher", *options, **settings))
        gateway = await enter(started(tmp_path, "ingress", *options, **settings))
        dns.zone["users.test.", "A"] = ["127.0.0.2", "127.0.0.3"]
        await known_to(workers, one.url, other.url)
        await answered_by(gateway, one, other)
        one.sick = True
        await answered_by(gateway, other)
        assert (await workers.metrics())[healthy(one)] == 0
        one.sick = False
        await answered_by(gateway, one, other)

        dns.zone["users.test.", "A"] = ["127.0.0.3"]
        await known_to(workers, other.url)
        assert "unreachable" not in workers.stderr


async def test_registered_instances_that_fail_keep_their_lease(
    tmp_path: Path, amqp_url: str, private_redis: Callable[[], RedisServer]
) -> None:
    """They get no calls while they fail, are registered all the same, and leave by themselves."""
    settings = {"amqp_url": amqp_url, "redis_url": private_redis().url, "admin_token": TOKEN}
    options = ("--config", config(tmp_path, discovery=REGISTRY))
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        one, other = await enter(serving(Instance())), await enter(serving(Instance()))
        workers = await enter(started(tmp_path, "workers", *options, **settings))
        dispatcher = await enter(started(tmp_path, "dispatcher", *options, **settings))
        gateway = await enter(started(tmp_path, "ingress", *options, **settings))
        for instance in (one, other):
            assert await operate(workers, "POST", instance.url) == 201
        await known_to(workers, one.url, other.url)
        await until_known([dispatcher], one.url, other.url)
        await answered_by(gateway, one, other)

        one.sick = True
        await answered_by(gateway, other)
        assert await answers(gateway, 20) == {other.url: 20}
        assert sorted(await instances(dispatcher)) == sorted([one.url, other.url])

        assert await operate(workers, "DELETE", one.url) == 204
        await known_to(workers, other.url)


async def test_up_probes_what_its_dispatcher_has_found(tmp_path: Path) -> None:
    """In one process names are looked up once for both."""
    port, one = free_port(), Instance()
    service = {"base_url": f"http://users.test:{port}", "discovery": {"type": "dns"}}
    options = ("--config", config(tmp_path, **service))
    async with serving(one, "127.0.0.2", port), DnsServer(ttl=300) as dns:
        dns.zone["users.test.", "A"] = ["127.0.0.2"]
        nameservers = f"127.0.0.1:{dns.port}"
        async with started(tmp_path, "up", *options, dns_nameservers=nameservers) as up:
            await known_to(up, one.url)
            await one.probed(3)
            assert (await up.metrics())[healthy(one)] == 1
        assert dns.asked == ["udp A users.test."]


async def test_a_role_alone_needs_a_registry_that_is_shared(tmp_path: Path) -> None:
    """Workers do not start with one of their own, as nobody would report there."""
    options = ("--config", config(tmp_path, discovery=REGISTRY))
    ended = await run("workers", *options, amqp_url="amqp://127.0.0.1:1")
    assert ended.status == 2
    assert "set GATEWAY_REDIS_URL" in ended.stderr
