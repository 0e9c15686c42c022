"""The upstream of all fault tests: it echoes what it was asked, and writes down every nonce."""

import asyncio
from collections import Counter

from aiohttp import web

from tests.integration.faults.waiting import eventually


class Ledger:
    """Counts requests by nonce as they arrive; answers while ``gate`` is set.

    ``delay`` is the seconds that each answer takes.
    """

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.gate = asyncio.Event()
        self.gate.set()
        self.delay = 0.0

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """Echo path, header and body, each of which has the nonce."""
        nonce = request.path.rpartition("/")[2]
        self.seen[nonce] += 1
        body = await request.text()
        await asyncio.sleep(self.delay)
        await self.gate.wait()
        header = request.headers.get("X-Nonce")
        return web.json_response({"path": request.path, "header": header, "body": body})

    async def arrived(self, count: int) -> None:
        """Return when it was asked so many times."""
        await eventually(lambda: self.seen.total() >= count, f"{count} requests at the upstream")
