"""A gateway with rules at its door, and clients at other addresses of this machine."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from tests.integration.commands import configuration
from tests.unit.ingress.raw_http import Answer, RawClient


def guarded(folder: Path, url: str, routes: Sequence[Mapping[str, Any]], **options: Any) -> str:
    """Write a configuration with these routes beside the usual ones, and these of gateway.yaml."""
    directory = configuration(folder, url, routes)
    text = yaml.safe_dump({"drain": {"delay": 0}, **options})
    Path(directory, "gateway.yaml").write_text(text)
    return directory


@asynccontextmanager
async def connected(url: str, source: str = "127.0.0.1") -> AsyncIterator[RawClient]:
    """A connection to a gateway, from one of the addresses of the loopback interface."""
    port = urlsplit(url).port
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
    try:
        yield RawClient(reader, writer)
    finally:
        writer.close()


async def ask(
    url: str, line: str, *fields: str | bytes, source: str = "127.0.0.1", body: bytes = b""
) -> Answer:
    """The answer to a request of that ``METHOD target`` and those header lines, as they are."""
    lines = [f"{line} HTTP/1.1", "Host: gateway.example", *fields]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    raw = [line if isinstance(line, bytes) else line.encode() for line in lines]
    async with connected(url, source) as client:
        return await client.ask(b"\r\n".join(raw) + b"\r\n\r\n" + body)
