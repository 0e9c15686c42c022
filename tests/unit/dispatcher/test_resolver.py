"""Names to addresses."""

import asyncio
import socket
from collections.abc import Sequence
from typing import Any

import pytest

from dispatcher.resolver import AddressInfo, SystemResolver

FOUND: Sequence[AddressInfo] = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 80))]


class NameServer:
    """Answers when the test lets it."""

    def __init__(self, found: Sequence[AddressInfo] | OSError) -> None:
        self.asked: list[str] = []
        self.may_answer = asyncio.Event()
        self._found = found

    async def __call__(self, host: str, port: int) -> Sequence[AddressInfo]:
        self.asked.append(host)
        await self.may_answer.wait()
        if isinstance(self._found, OSError):
            raise self._found
        return self._found


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("192.0.2.7", (socket.AF_INET, ("192.0.2.7", 80))),
        ("2001:db8::7", (socket.AF_INET6, ("2001:db8::7", 80, 0, 0))),
    ],
)
async def test_addresses_need_no_look_up(host: str, expected: tuple[Any, ...]) -> None:
    """What is an address already is its own answer."""
    [(family, kind, _, _, at)] = await SystemResolver().resolve(host, 80)
    assert ((family, at), kind) == (expected, socket.SOCK_STREAM)


async def test_names_of_the_system() -> None:
    """localhost is known everywhere."""
    found = await SystemResolver().resolve("localhost", 80)
    assert {at[0] for *_, at in found} <= {"127.0.0.1", "::1"}


async def test_one_look_up_serves_all_who_wait() -> None:
    """A name is asked for once at a time, another name beside it, and anew later."""
    server = NameServer(FOUND)
    resolver = SystemResolver(server)
    waiting = [asyncio.create_task(resolver.resolve(name, 80)) for name in ("a", "a", "b", "a")]
    await asyncio.sleep(0)
    server.may_answer.set()
    assert await asyncio.gather(*waiting) == [FOUND] * 4
    assert server.asked == ["a", "b"]
    await resolver.resolve("a", 80)
    assert server.asked == ["a", "b", "a"]


async def test_who_gives_up_takes_the_answer_from_nobody() -> None:
    """Of two who wait for a name, the one who stays gets it, though the other began it."""
    server = NameServer(FOUND)
    resolver = SystemResolver(server)
    first = asyncio.create_task(resolver.resolve("a", 80))
    second = asyncio.create_task(resolver.resolve("a", 80))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    server.may_answer.set()
    assert await second == FOUND
    assert first.cancelled()


@pytest.mark.parametrize("answer", [[], socket.gaierror(socket.EAI_AGAIN, "try again")])
async def test_no_address(answer: Sequence[AddressInfo] | OSError) -> None:
    """A failed look-up, and one that gives nothing, are the same error; the next one asks anew."""
    server = NameServer(answer)
    server.may_answer.set()
    resolver = SystemResolver(server)
    for _ in range(2):
        with pytest.raises(socket.gaierror):
            await resolver.resolve("a", 80)
    assert server.asked == ["a", "a"]
