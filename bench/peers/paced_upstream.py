"""An upstream that answers every request after so many seconds.

Usage: python -m bench.peers.paced_upstream PORT SECONDS
"""

import asyncio
import sys

import uvloop
from aiohttp import web

from bench.nginx import BODY


async def serve(port: str, seconds: str) -> None:
    delay = float(seconds)

    async def handle(request: web.BaseRequest) -> web.Response:
        await asyncio.sleep(delay)
        return web.Response(body=BODY, content_type="application/json")

    runner = web.ServerRunner(web.Server(handle, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(port), backlog=4096).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(*sys.argv[1:]))
