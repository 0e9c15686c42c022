"""The gateway itself: its configuration, its processes, and a token that lets the load in."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import yaml

from bench.processes import Process, Processes, ProcessFailedError
from bench.stage import Stage
from bench.target import Target
from tests.processes import free_port

PATH = "/api/users/42"
ROUTES = ({"path": "/api/users/{id}", "service": "users"},)
_GATEWAY = [sys.executable, "-m", "api_gateway"]
TIER = "ENTERPRISE"  # without a rate limit
# Longer than any run, and more than any scenario holds at once.
_TIMEOUT = 300.0
_ROOM = 20_000
_TIERS = {
    "FREE": {"requests_per_minute": 60, "weight": 1, "floor": 0.05},
    "BASIC": {"requests_per_minute": 300, "weight": 3},
    "PRO": {"requests_per_minute": 1000, "weight": 8},
    TIER: {"requests_per_minute": None, "weight": 32, "queue_limit": _ROOM},
}


class Product:
    """One configuration directory, and the commands that serve it.

    ``upstreams`` is the URL of every service, or the URLs of its instances.
    """

    def __init__(
        self,
        stage: Stage,
        processes: Processes,
        upstreams: str | Sequence[str],
        routes: Sequence[Mapping[str, Any]] = ROUTES,
        max_calls: int = 256,
        gateway: Mapping[str, Any] | None = None,
        tiers: Mapping[str, Any] | None = None,
        service: Mapping[str, Any] | None = None,
        transforms: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self._stage = stage
        self._processes = processes
        self._config = Path(mkdtemp(prefix="config-", dir=stage.folder))
        self._secret = os.urandom(32).hex()
        self._write(
            routes=[{"timeout": _TIMEOUT, **route} for route in routes],
            services=[
                {"name": name, **_service(upstreams, max_calls), **(service or {})}
                for name in _services(routes)
            ],
            transforms=list(transforms),
            tiers={**_TIERS, **(tiers or {})},
            gateway={
                "limits": {"max_connections": _ROOM, "body_timeout": _TIMEOUT},
                "admission": {"max_wait": _TIMEOUT},
                "drain": {"delay": 0, "timeout": 5},
                **(gateway or {}),
            },
        )

    def separate(
        self, *, lane: bool = True, path: str = PATH, redis: tuple[str, Process] | None = None
    ) -> Target:
        """Ingress and dispatcher as two processes over RabbitMQ; with a Redis, if one is given."""
        url, broker = self._stage.rabbitmq
        env = {"GATEWAY_AMQP_URL": url, "GATEWAY_AMQP_LANE": "on" if lane else "off"}
        parts = {"broker": broker}
        if redis is not None:
            env["GATEWAY_REDIS_URL"], parts["redis"] = redis
        parts["back"] = self._start("dispatcher", [], env)
        public = free_port()
        address = ["--host", "127.0.0.1", "--port", str(public)]
        parts["front"] = self._start("ingress", address, env)
        return Target(f"http://127.0.0.1:{public}{path}", parts, self._headers)

    def embedded(self, path: str = PATH) -> Target:
        """All in one process, on the embedded broker."""
        public = free_port()
        process = self._start("up", ["--host", "127.0.0.1", "--port", str(public)], {})
        return Target(f"http://127.0.0.1:{public}{path}", {"front": process}, self._headers)

    def _start(self, command: str, arguments: Sequence[str], env: Mapping[str, str]) -> Process:
        return self._processes.start(
            f"gateway-{command}",
            [
                *_GATEWAY,
                command,
                "--config",
                self._config,
                "--admin-port",
                str(free_port()),
                *arguments,
            ],
            {"GATEWAY_JWT_SECRET": self._secret, **env},
        )

    @cached_property
    def _headers(self) -> dict[str, str]:
        made = subprocess.run(
            [
                *_GATEWAY,
                *["token", "--subject", "bench", "--role", "user", "--ttl", "86400", "--tier"],
                TIER,
            ],
            env={**os.environ, "GATEWAY_JWT_SECRET": self._secret},
            capture_output=True,
            text=True,
        )
        if made.returncode:
            raise ProcessFailedError(f"no token: {made.stderr.strip()}")
        return {"Authorization": f"Bearer {made.stdout.strip()}"}

    def _write(self, **files: Any) -> None:
        for name, content in files.items():
            (self._config / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


def _services(routes: Sequence[Mapping[str, Any]]) -> list[str]:
    return sorted({route["service"] for route in routes})


def _service(upstreams: str | Sequence[str], max_calls: int) -> dict[str, Any]:
    urls = [upstreams] if isinstance(upstreams, str) else upstreams
    return {
        "instances": [{"url": url} for url in urls],
        "strategy": "round_robin",
        "timeout": _TIMEOUT,
        "concurrency": {"mode": "fixed", "limit": max_calls},
        "connections": {"limit": max_calls},
    }
