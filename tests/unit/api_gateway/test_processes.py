"""Children of one parent: kept running, drained, spoken for as one."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from api_gateway.admin import AdminServer, Health
from api_gateway.listening import http_url, listen
from api_gateway.processes import ChildRefusedError, Processes, restart_delay

COMMAND = (sys.executable, "-m", "tests.unit.api_gateway.sample_child")


def processes(
    folder: Path, *arguments: str, count: int = 2, drain_timeout: float = 30.0
) -> Processes:
    command = (*COMMAND, *arguments)
    return Processes(command, count, folder, drain_timeout=drain_timeout, delay=lambda crashes: 0.0)


async def until(
    condition: Callable[[Health], bool], health: Callable[[], Awaitable[Health]]
) -> Health:
    """Ask again and again until the answer is as wanted."""
    while not condition(found := await health()):  # noqa: ASYNC110 - it is another process
        await asyncio.sleep(0.02)
    return found


def pids(health: Health) -> dict[str, int]:
    return {name: answer["pid"] for name, answer in health.checks.items()}


async def test_ready_when_every_child_is(tmp_path: Path) -> None:
    """All children run, as processes of their own, when ``ready`` returns."""
    async with processes(tmp_path) as children:
        await children.ready()
        health = await children.health()

    assert health.ready
    assert len(set(pids(health).values())) == 2


async def test_a_killed_child_is_started_again(tmp_path: Path) -> None:
    """After SIGKILL another process takes the child's place, and readiness returns."""
    async with processes(tmp_path) as children:
        await children.ready()
        before = pids(await children.health())
        os.kill(before["0"], signal.SIGKILL)
        await until(lambda health: not health.ready, children.health)
        after = pids(await until(lambda health: health.ready, children.health))

    assert after["0"] != before["0"]
    assert after["1"] == before["1"]


async def test_a_child_is_asked_for_all(tmp_path: Path) -> None:
    """What the parent is asked to do goes to a child, and its answer comes back."""
    path = "/services/users/instances?id=http%3A%2F%2Fa"
    async with processes(tmp_path) as children, aiohttp.ClientSession() as session:
        listening = listen("127.0.0.1", 0)
        url = URL(http_url(listening) + path, encoded=True)
        headers = {"Authorization": "Bearer sesame"}
        async with AdminServer(children, listening):
            async with session.post(url, data=b"x", headers=headers) as response:
                early = response.status
            await children.ready()
            async with session.post(url, data=b"body", headers=headers) as response:
                said = await response.json()

    assert early == 503
    assert said == ["body", path, "Bearer sesame"]
    assert (response.status, response.headers["Location"]) == (201, "/x")
    assert "X-Own" not in response.headers


async def test_children_are_told_of_another_configuration(tmp_path: Path) -> None:
    """Each hears of it, also one that was only just starting."""
    async with processes(tmp_path) as children:
        while not all(child.pid for child in children._children):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        children.reload()
        await children.ready()
        children.reload()
        while (await children.metrics()).decode().count("} 2.0") < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_drained_children_end_well(tmp_path: Path) -> None:
    """Children that end with 0 after being told to drain are not started again."""
    async with processes(tmp_path) as children:
        await children.ready()
        children.stop()
        assert not (await children.health()).ready
        assert await children.run()


async def test_children_that_do_not_end_are_killed(tmp_path: Path) -> None:
    """A child that is late makes the drain a failed one, and leaving ends it."""
    async with processes(tmp_path, "--hang", count=1, drain_timeout=0.05) as children:
        await children.ready()
        pid = pids(await children.health())["0"]
        children.stop()
        assert not await children.run()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_force_ends_children_at_once(tmp_path: Path) -> None:
    """Children that are killed have not ended well."""
    async with processes(tmp_path, "--hang") as children:
        await children.ready()
        children.stop()
        children.force()
        assert not await children.run()


async def test_stop_before_the_children_have_started(tmp_path: Path) -> None:
    """Being told to stop at once is obeyed by children that are only just starting."""
    async with processes(tmp_path) as children:
        children.stop()
        assert not await children.ready()
        assert await children.run()


async def test_a_refusal_is_not_tried_again(tmp_path: Path) -> None:
    """A child that can't run as configured ends the parent's wait for readiness."""
    async with processes(tmp_path, "--refuse") as children:
        with pytest.raises(ChildRefusedError):
            await children.ready()


async def test_metrics_of_all_children_are_one_page(tmp_path: Path) -> None:
    """The page holds the gauges of both children."""
    async with processes(tmp_path) as children:
        await children.ready()
        expected = pids(await children.health())
        page = (await children.metrics()).decode()

    found = re.findall(r'^pid\{process="(\d)"\} (\S+)$', page, re.MULTILINE)
    assert {name: int(float(value)) for name, value in found} == expected


def test_restarts_wait_longer_and_longer() -> None:
    """A crash loop doesn't spin, and a single crash is mended at once."""
    delays = [restart_delay(crashes) for crashes in range(1, 40)]

    assert delays[0] <= 0.1
    assert delays == sorted(delays)
    assert delays[-1] == 5.0
