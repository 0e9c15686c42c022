"""The commands: what they print, when they serve, how they end."""

import shlex
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from api_gateway.listening import listen
from config.loader import load
from tests.integration.commands import (
    SECRET,
    configuration,
    run,
    started,
    upstream,
)
from tests.processes import free_port

SHIPPED = Path(__file__).parents[2] / "config"


async def hello(request: web.BaseRequest) -> web.Response:
    return web.json_response({"path": request.path})


async def get(url: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(url, headers=headers) as response,
    ):
        return response.status, await response.text()


def demo_configuration(folder: Path) -> str:
    """The configuration that ships, with the demo upstream on a free port."""
    directory = folder / "config"
    directory.mkdir()
    port = free_port()
    for file in SHIPPED.glob("*.yaml"):
        text = file.read_text().replace("127.0.0.1:9000", f"127.0.0.1:{port}")
        (directory / file.name).write_text(text)
    return str(directory)


# --- up -----------------------------------------------------------------------------------------


async def test_the_printed_request_is_answered(tmp_path: Path) -> None:
    """`up --demo` on what ships prints a curl command whose answer comes from the demo upstream."""
    async with started(tmp_path, "up", "--demo", "--config", demo_configuration(tmp_path)) as up:
        curl = shlex.split((await up.line()).removeprefix("try: "))
        assert curl[:3] == ["curl", "-i", "-H"]
        name, _, value = curl[3].partition(": ")
        status, body = await get(curl[4], {name: value})
        without_token, _ = await get(curl[4])

    assert status == 200
    assert '"path": "/api/v1/users"' in body
    assert without_token == 401


async def test_demo_makes_a_secret_of_its_own(tmp_path: Path) -> None:
    """Without a secret in the environment the printed token is good, for this run."""
    config = demo_configuration(tmp_path)
    async with started(tmp_path, "up", "--demo", "--config", config, jwt_secret="") as up:
        curl = shlex.split((await up.line()).removeprefix("try: "))
        name, _, value = curl[3].partition(": ")
        status, _ = await get(curl[4], {name: value})

    assert status == 200


async def test_a_token_of_the_token_command_is_accepted(tmp_path: Path) -> None:
    """A token signed with the same secret opens a route, one of another secret doesn't."""
    async with upstream(hello) as url:
        config = configuration(tmp_path, url)
        options = ("token", "--config", config, "--subject", "u1", "--tier", "PRO")
        good = await run(*options, jwt_secret=SECRET)
        bad = await run(*options, jwt_secret=SECRET[::-1])
        async with started(tmp_path, "up", "--config", config) as up:
            closed = up.public + "/closed"
            opened, _ = await get(closed, {"Authorization": f"Bearer {good.stdout.strip()}"})
            refused, _ = await get(closed, {"Authorization": f"Bearer {bad.stdout.strip()}"})

    assert (good.status, good.stderr) == (0, "")
    assert (opened, refused) == (200, 401)


async def test_health_and_metrics_are_on_the_admin_listener_only(tmp_path: Path) -> None:
    """Operators see readiness and counts there; on the public port the same paths are no routes."""
    async with (
        upstream(hello) as url,
        started(tmp_path, "up", "--config", configuration(tmp_path, url)) as up,
    ):
        assert (await get(up.public + "/open/a"))[0] == 200
        status, health = await up.health()
        metrics = await up.metrics()
        public = [(await get(up.public + path))[0] for path in ("/metrics", "/health/ready")]

    assert status == 200
    assert health["status"] == "ready"
    assert health["checks"]["broker"] == "connected"
    labels = 'method="GET",route="ANY /open/*",service="users",status="200",tier="FREE"'
    assert metrics[f"ingress_requests_total{{{labels}}}"] == 1
    assert public == [404, 404]


# --- bad usage and configuration ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["up", "--port", "70000"], "--port"),
        (["up", "--no-such-option"], "--no-such-option"),
        (["no-such-command"], "no-such-command"),
        (["ingress", "--processes", "0"], "--processes"),
        (["token"], "--subject"),
    ],
)
async def test_bad_usage_ends_with_2(arguments: list[str], reason: str) -> None:
    """The reason is on standard error."""
    finished = await run(*arguments)

    assert finished.status == 2
    assert reason in finished.stderr
    assert finished.stdout == ""


def faulty_configuration(folder: Path) -> str:
    """A directory with a fault in each of its files."""
    config = configuration(folder, "http://127.0.0.1:1")
    (folder / "config" / "routes.yaml").write_text("- {path: nowhere, service: users, colour: red}")
    (folder / "config" / "services.yaml").write_text("- {name: users, base_url: ftp://users}")
    return config


FAULTS = ["routes.yaml:1", "nowhere", "colour", "services.yaml:1", "ftp://users"]


@pytest.mark.parametrize("role", ["up", "ingress", "dispatcher", "workers"])
async def test_bad_configuration_ends_with_2_and_every_fault(tmp_path: Path, role: str) -> None:
    """Each fault is named with its file, and there is no traceback."""
    config = faulty_configuration(tmp_path)

    finished = await run(role, "--config", config, jwt_secret=SECRET, amqp_url="amqp://127.0.0.1:1")

    assert finished.status == 2
    assert [fault for fault in FAULTS if fault not in finished.stderr] == []
    assert "Traceback" not in finished.stderr


async def test_check_tells_every_fault(tmp_path: Path) -> None:
    """It ends with 1 and all faults, for a directory that is missing too, and with 0 if none."""
    config = faulty_configuration(tmp_path)

    faulty, missing, sound = (
        await run("check", config),
        await run("check", str(tmp_path / "missing")),
        await run("check", str(SHIPPED)),
    )

    assert (faulty.status, missing.status, sound.status) == (1, 1, 0)
    assert [fault for fault in FAULTS if fault not in faulty.stderr] == []
    assert "missing" in missing.stderr
    assert sound.stderr == ""


async def test_what_has_no_effect_is_said(tmp_path: Path) -> None:
    """A key on which nothing acts yet is named by `check`, and in the log of what serves."""
    limited = {"path": "/limited", "service": "users", "name": "a", "async": "always"}
    config = configuration(tmp_path, "http://127.0.0.1:1", routes=[limited])

    checked = await run("check", config)
    async with started(tmp_path, "up", "--config", config) as up:
        log = up.stderr

    assert checked.status == 0
    assert "routes.yaml: async (a)" in checked.stdout
    assert "routes.yaml: async (a)" in log


async def test_what_is_doubtful_is_told(tmp_path: Path) -> None:
    """A proxy that is everybody, and a way around roles, by `check` and in the log."""
    config = configuration(tmp_path, "http://127.0.0.1:1")
    service = next(iter(load(Path(config)).services))
    routes = (
        f"- {{path: /*, service: {service}, auth_required: false}}\n"
        f"- {{path: /admin/*, service: {service}, roles: {{any: [admin]}}}}\n"
    )
    (Path(config) / "gateway.yaml").write_text("trusted_proxies: [0.0.0.0/0]", encoding="utf-8")
    (Path(config) / "routes.yaml").write_text(routes, encoding="utf-8")
    checked = await run("check", config)
    async with started(tmp_path, "up", "--config", config, jwt_secret=SECRET) as up:
        log = up.stderr

    assert checked.status == 0
    for told in (checked.stdout, log):
        assert "trusted_proxies: all of 0.0.0.0/0 is trusted" in told
        assert "ANY /* takes what may be read as a path of ANY /admin/*" in told


async def test_a_bad_environment_ends_with_2(tmp_path: Path) -> None:
    """Every variable that can't be used is named, and no secret is shown."""
    settings = {
        "amqp_url": "http://u:hidden@127.0.0.1",
        "redis_url": "redis://:hidden@127.0.0.1/?foo=1",
        "log_format": "loud",
    }
    finished = await run("up", "--config", str(SHIPPED), jwt_secret=SECRET, **settings)

    assert finished.status == 2
    assert "GATEWAY_AMQP_URL" in finished.stderr
    assert "GATEWAY_REDIS_URL" in finished.stderr
    assert "GATEWAY_LOG_FORMAT" in finished.stderr
    assert "hidden" not in finished.stderr


@pytest.mark.parametrize("command", [["up"], ["token", "--subject", "u1"]])
async def test_a_short_secret_ends_with_2(command: list[str]) -> None:
    """What could be guessed signs nothing, and lets nobody in."""
    finished = await run(*command, "--config", str(SHIPPED), jwt_secret="short")

    assert finished.status == 2
    assert "a shared secret of 32 bytes or more" in finished.stderr


async def test_a_secret_shorter_than_a_hash_is_warned_of(tmp_path: Path) -> None:
    """32 random bytes are enough for HS512, too, if not to the letter: the log says so, once."""
    config = configuration(tmp_path, "http://127.0.0.1:1")
    (Path(config) / "gateway.yaml").write_text("auth: {algorithms: [HS512]}")
    token = await run("token", "--config", config, "--subject", "u1", jwt_secret=SECRET)
    async with started(tmp_path, "up", "--config", config, jwt_secret=SECRET) as up:
        log = up.stderr

    assert (token.status, token.stderr) == (0, "")
    assert log.count("shorter than the hash of HS512") == 1


@pytest.mark.parametrize("role", ["ingress", "dispatcher", "workers"])
async def test_a_single_role_wants_a_broker(role: str) -> None:
    """Without GATEWAY_AMQP_URL it ends with 2 and says so."""
    finished = await run(role, "--config", str(SHIPPED), jwt_secret=SECRET)

    assert finished.status == 2
    assert "GATEWAY_AMQP_URL" in finished.stderr


async def test_closed_routes_want_a_key() -> None:
    """Routes that want a token are not served without a key to check it: 2, and what to set."""
    finished = await run("up", "--config", str(SHIPPED))

    assert finished.status == 2
    assert "GATEWAY_JWT_SECRET" in finished.stderr


async def test_a_token_wants_a_secret() -> None:
    """Without a secret there is no token: 2, and what to set."""
    finished = await run("token", "--subject", "u1")

    assert finished.status == 2
    assert "GATEWAY_JWT_SECRET" in finished.stderr


async def test_a_token_of_an_unknown_tier_is_refused() -> None:
    """A tier that no configuration knows would only be refused later."""
    finished = await run("token", "--subject", "u1", "--tier", "GOLD", jwt_secret=SECRET)

    assert finished.status == 2
    assert "GOLD" in finished.stderr


@pytest.mark.parametrize("option", ["--port", "--admin-port"])
async def test_a_taken_port_ends_with_2(tmp_path: Path, option: str) -> None:
    """The message names the address."""
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        ports = {"--port": "0", "--admin-port": "0", option: str(port)}
        arguments = [word for pair in ports.items() for word in pair]
        finished = await run("up", "--config", str(SHIPPED), *arguments, jwt_secret=SECRET)

    assert finished.status == 2
    assert f"can't listen on 127.0.0.1:{port}: Address already in use" in finished.stderr
    assert "Traceback" not in finished.stderr


async def test_a_taken_demo_port_ends_with_2(tmp_path: Path) -> None:
    """The demo upstream says which port it would have needed."""
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        config = configuration(tmp_path, f"http://127.0.0.1:{port}")
        arguments = ("--port", "0", "--admin-port", "0")
        finished = await run("up", "--demo", "--config", config, *arguments)

    assert finished.status == 2
    assert f"127.0.0.1:{port}" in finished.stderr
    assert finished.stdout == ""
