"""An upstream that answers a GET at once, and a POST only after this process got SIGUSR1.

Usage: python -m bench.peers.slow_upstream PORT
"""

import asyncio
import signal
import sys

import uvloop
from aiohttp import web

from bench.nginx import BODY


async def serve(port: str) -> None:
    released = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, released.set)

    async def handle(request: web.Request) -> web.Response:
        await request.read()
        if request.method == "POST":
            await released.wait()
        return web.Response(body=BODY, content_type="application/json")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(port), backlog=4096).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))
