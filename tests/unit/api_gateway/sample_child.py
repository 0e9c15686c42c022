"""A stand-in for a role in a child process: serves its admin socket until its standard input ends.

Each line on it is counted. With ``--refuse`` it ends with 2 at once; with ``--hang`` it ignores the
end of its standard input.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from api_gateway.admin import AdminServer, Health
from api_gateway.listening import listen_unix


class Subject:
    """Shows process id and lines as gauges, and repeats what it is asked to do."""

    lines = 0

    @property
    def routes(self) -> list[web.RouteDef]:
        return [web.post("/services/{service}/instances", self._repeat)]

    async def _repeat(self, request: web.Request) -> web.Response:
        said = [await request.text(), str(request.rel_url), request.headers["Authorization"]]
        return web.json_response(said, status=201, headers={"Location": "/x", "X-Own": "y"})

    async def health(self) -> Health:
        return Health(True)

    async def metrics(self) -> bytes:
        registry = CollectorRegistry()
        Gauge("pid", "Process id.", registry=registry).set(os.getpid())
        Gauge("lines", "Lines that came.", registry=registry).set(self.lines)
        return generate_latest(registry)

    async def breakers(self) -> list[dict[str, Any]]:
        return []

    def listen(self) -> None:
        """Until standard input ends."""
        for _ in sys.stdin:
            self.lines += 1


async def main(admin_socket: Path) -> None:
    subject = Subject()
    async with AdminServer(subject, listen_unix(admin_socket)):
        print("ready", flush=True)
        await asyncio.to_thread(subject.listen)
        if "--hang" in sys.argv:
            await asyncio.Event().wait()


if __name__ == "__main__":
    if "--refuse" in sys.argv:
        raise SystemExit(2)
    asyncio.run(main(Path(sys.argv[sys.argv.index("--admin-socket") + 1])))
