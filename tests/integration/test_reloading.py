"""SIGHUP: processes go over to a changed configuration, or say why not, and serve on."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import aiohttp
import trustme
import yaml
from aiohttp import web

from tests.integration.commands import WITHIN, Running, configuration, started, upstream
from tests.integration.upstreams.authority import server_context, write_authority
from tests.integration.upstreams.scripted import ScriptedUpstream, once

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def hello(request: web.BaseRequest) -> web.Response:
    return web.Response(text="hello")


def write(config: str, kind: str, content: Any) -> None:
    """Replace one of the files."""
    Path(config, f"{kind}.yaml").write_text(yaml.safe_dump(content))


def routed(config: str, *paths: str) -> None:
    """Have these routes and no others."""
    routes = [{"path": path, "service": "users", "auth_required": False} for path in paths]
    write(config, "routes", routes)


def spoil(config: str) -> None:
    """Write two faults."""
    Path(config, "routes.yaml").write_text("- {path: no-slash, service: nobody}\n")


async def status(gateway: Running, path: str) -> int:
    async with aiohttp.ClientSession() as session, session.get(gateway.public + path) as response:
        return response.status


async def said(process: Running, text: str) -> None:
    """Wait until its log has this."""
    async with asyncio.timeout(WITHIN):
        while text not in process.stderr:  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.02)


def versions(page: dict[str, Any]) -> list[str]:
    """Of all children, by their parent's readiness page."""
    return [child["checks"]["configuration"] for child in page["checks"].values()]


async def test_good_is_applied_and_bad_refused(tmp_path: Path) -> None:
    """Faults are in the log, every one, and change nothing; what is good holds at once."""
    async with upstream(hello) as url:
        config = configuration(tmp_path, url)
        routed(config, "/open/*")
        async with started(tmp_path, "up", "--config", config, jwt_secret="") as gateway:
            assert await status(gateway, "/new") == 404
            spoil(config)
            gateway.signal(signal.SIGHUP)
            await said(gateway, "configuration version 1 stays: the configuration has 2 faults")
            assert "routes.yaml:1" in gateway.stderr
            assert await status(gateway, "/open/a") == 200

            routed(config, "/new")
            gateway.signal(signal.SIGHUP)
            await said(gateway, "configuration version 2 is in use")
            assert await status(gateway, "/new") == 200
            assert await status(gateway, "/open/a") == 404
            assert (await gateway.health())[1]["checks"]["configuration"] == "version 2"

            write(config, "routes", [{"path": "/new", "service": "users"}])
            gateway.signal(signal.SIGHUP)
            await said(gateway, "configuration version 2 stays: 1 routes want a token")
            assert await status(gateway, "/new") == 200
            gateway.signal()
            assert await gateway.ended() == 0


async def test_renewed_files_are_applied(tmp_path: Path) -> None:
    """An authority that was replaced on disk is trusted after SIGHUP, by calls and by probes."""
    old, new = trustme.CA(), trustme.CA()
    ca = write_authority(old, tmp_path / "ca.pem")
    tls = server_context(new.issue_cert("localhost"))
    async with ScriptedUpstream(once(OK), tls=tls) as users:
        config = configuration(tmp_path, "http://unused.test")
        check = {"interval": 0.1, "timeout": 5, "healthy_threshold": 1}
        service = {"name": "users", "base_url": str(users.address), "tls": {"ca": str(ca)}}
        write(config, "services", [{**service, "health_check": check}])
        async with started(tmp_path, "up", "--config", config) as gateway:
            await said(gateway, "is unhealthy: tls: can't connect to ")
            assert await status(gateway, "/open/a") == 502
            write_authority(new, ca)
            gateway.signal(signal.SIGHUP)
            await said(gateway, "is healthy again")
            assert await status(gateway, "/open/a") == 200


async def test_the_next_stop_is_as_configured_now(tmp_path: Path) -> None:
    """A process that would have waited for an hour before it stops does not any more."""
    async with upstream(hello) as url:
        config = configuration(tmp_path, url, drain={"delay": 3600})
        async with started(tmp_path, "up", "--config", config) as gateway:
            write(config, "gateway", {"drain": {"delay": 0}})
            gateway.signal(signal.SIGHUP)
            await said(gateway, "configuration version 2 is in use")
            gateway.signal()
            assert await gateway.ended() == 0


async def test_all_processes_have_the_same(tmp_path: Path, amqp_url: str) -> None:
    """The parent passes it on; a child that starts again has what it had, whatever lies there."""
    async with upstream(hello) as url:
        config = configuration(tmp_path, url)
        options = ("--config", config)
        async with (
            started(tmp_path, "dispatcher", *options, amqp_url=amqp_url) as dispatcher,
            started(
                tmp_path, "ingress", *options, "--processes", "2", amqp_url=amqp_url
            ) as ingress,
        ):
            routed(config, "/new")
            for process in (dispatcher, ingress):
                process.signal(signal.SIGHUP)
            page = await ingress.healthy(lambda _, page: versions(page) == ["version 2"] * 2)
            await said(dispatcher, "configuration version 2 is in use")
            assert {await status(ingress, "/new") for _ in range(20)} == {200}

            spoil(config)
            ingress.signal(signal.SIGHUP)
            await said(ingress, "configuration version 2 stays: the configuration has 2 faults")
            assert ingress.stderr.count("the configuration has 2 faults") == 1
            killed = page["checks"]["0"]["pid"]
            os.kill(killed, signal.SIGKILL)
            page = await ingress.healthy(
                lambda status, page: status == 200 and page["checks"]["0"]["pid"] != killed
            )
            assert versions(page) == ["version 2"] * 2
            assert {await status(ingress, "/new") for _ in range(20)} == {200}
            ingress.signal()
            assert await ingress.ended() == 0
