"""When a link is given up: the broker is silent, not merely slow or in need."""

import asyncio
from typing import cast

import pytest

from broker.contract import ConnectionState
from broker.link import Link
from broker.supervisor import Supervisor


class LinkWithOverdueConfirms:
    """Always owes a confirm; notes how often it was looked at."""

    def __init__(self, *, silent: bool, blocked: bool) -> None:
        self.closed = asyncio.get_running_loop().create_future()
        self.silent = silent
        self.blocked = blocked
        self.abandoned = 0
        self.looked_twice = asyncio.Event()
        self._looks = 0

    def expire(self) -> bool:
        self._looks += 1
        if self._looks == 2:
            self.looked_twice.set()
        return True

    def abandon(self) -> None:
        self.abandoned += 1

    def give_up(self) -> None:
        self.closed.set_result(None)

    async def close(self) -> None:
        """Nothing is open."""


async def kept(link: LinkWithOverdueConfirms) -> tuple[bool, ConnectionState]:
    """Whether a supervisor still keeps it after two looks, and the state meanwhile."""
    links = [link]
    never = asyncio.Event()

    async def open_link() -> Link:
        if not links:
            await never.wait()
        return cast(Link, links.pop())

    async def check(_: Link) -> None:
        await never.wait()

    supervisor = Supervisor(open_link, check, lambda: None, lambda: 0.0)
    running = asyncio.create_task(supervisor.run())
    looked = asyncio.create_task(link.looked_twice.wait())
    await asyncio.wait([looked, link.closed], timeout=30, return_when=asyncio.FIRST_COMPLETED)
    state, still_there = supervisor.state, not link.closed.done()
    looked.cancel()
    running.cancel()
    await asyncio.wait([running])
    return still_there, state


@pytest.mark.parametrize(("silent", "stays"), [(True, False), (False, True)])
async def test_only_silence_ends_a_link_with_overdue_confirms(silent: bool, stays: bool) -> None:
    """A slow broker must not cost every request in flight its answer."""
    still_there, _ = await kept(LinkWithOverdueConfirms(silent=silent, blocked=False))
    assert still_there is stays


async def test_a_blocked_link_is_kept_and_owes_nothing() -> None:
    """An alarm ends what has no word yet at once, and not the connection."""
    link = LinkWithOverdueConfirms(silent=True, blocked=True)
    still_there, state = await kept(link)
    assert still_there
    assert state is ConnectionState.BLOCKED
    assert link.abandoned == 1


async def test_a_watcher_that_fails_keeps_nobody_from_connecting_anew() -> None:
    """Nor the other watchers from hearing of it: a gateway without its broker serves nobody."""
    links = [LinkWithOverdueConfirms(silent=False, blocked=False) for _ in range(2)]
    opened = iter(links)
    heard: list[ConnectionState] = []
    back = asyncio.Event()
    never = asyncio.Event()

    def bad(_: ConnectionState) -> None:
        raise KeyError("m1")

    def good(state: ConnectionState) -> None:
        heard.append(state)
        if len(heard) == 3:
            back.set()

    async def open_link() -> Link:
        return cast(Link, next(opened))

    async def check(_: Link) -> None:
        await never.wait()

    supervisor = Supervisor(open_link, check, lambda: None, lambda: 0.0)
    supervisor.watchers += [bad, good]
    running = asyncio.create_task(supervisor.run())
    await supervisor.connected.wait()
    links[0].give_up()
    await asyncio.wait_for(back.wait(), 30)
    running.cancel()
    await asyncio.wait([running])

    connected, disconnected = ConnectionState.CONNECTED, ConnectionState.DISCONNECTED
    assert heard[:3] == [connected, disconnected, connected]


class LinkThatCanNotBeClosed(LinkWithOverdueConfirms):
    """Fails in a way that nobody has foreseen."""

    async def close(self) -> None:
        raise RuntimeError("closed twice")


async def test_an_unforeseen_failure_does_not_end_the_supervisor() -> None:
    """The next link is opened all the same."""
    first = LinkThatCanNotBeClosed(silent=False, blocked=False)
    second = LinkWithOverdueConfirms(silent=False, blocked=False)
    links, again, never = iter([first, second]), asyncio.Event(), asyncio.Event()

    async def open_link() -> Link:
        return cast(Link, next(links))

    async def check(_: Link) -> None:
        await never.wait()

    supervisor = Supervisor(open_link, check, again.set, lambda: 0.0)
    running = asyncio.create_task(supervisor.run())
    await supervisor.connected.wait()
    first.give_up()
    await asyncio.wait_for(again.wait(), 30)
    running.cancel()
    await asyncio.wait([running])
