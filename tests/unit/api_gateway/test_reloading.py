"""Reading the configuration again: whole or not at all, and one after the other."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from api_gateway.reloading import HandedSnapshot, Reloading
from api_gateway.setup import Refusal, Setup
from config.faults import ConfigError, Fault
from config.loader import load
from config.settings import Settings
from config.snapshot import Snapshot

LOGGER = "api_gateway.reloading"


def first(version: int = 1) -> Setup:
    return Setup(Settings(), Snapshot(routes=(), services={}, version=version))


def following(setup: Setup) -> Setup:
    snapshot = replace(setup.snapshot, version=setup.snapshot.version + 1)
    return replace(setup, snapshot=snapshot)


class Applied:
    """Takes what is applied."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.versions: asyncio.Queue[int] = asyncio.Queue()

    async def apply(self, snapshot: Snapshot) -> None:
        error, self.error = self.error, None
        if error is not None:
            raise error
        self.versions.put_nowait(snapshot.version)


@asynccontextmanager
async def running(reloading: Reloading) -> AsyncIterator[None]:
    task = asyncio.create_task(reloading.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConfigError([Fault("routes.yaml", "a fault", "none")]), "has 1 fault:"),
        (Refusal("set GATEWAY_JWT_SECRET"), "stays: set GATEWAY_JWT_SECRET"),
        (RuntimeError("a bug"), "could not be replaced"),
    ],
)
async def test_a_failure_changes_nothing(
    error: Exception, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, the version stays, and the next reload takes place."""
    caplog.set_level(logging.INFO, LOGGER)
    applied = Applied()
    applied.error = error
    reloading = Reloading(first(), following, applied.apply)
    async with running(reloading):
        reloading.ask()
        while said not in caplog.text:  # noqa: ASYNC110 - a log has no event
            await asyncio.sleep(0)
        assert applied.versions.empty()
        reloading.ask()
        assert await applied.versions.get() == 2
        reloading.ask()
        assert await applied.versions.get() == 3
    assert "configuration version 2 is in use" in caplog.text


async def test_who_asks_while_one_is_under_way_gets_another() -> None:
    """Several who ask meanwhile get one together: its reading begins after all of them asked."""
    applied, may_read, reads = Applied(), threading.Event(), asyncio.Semaphore(0)
    loop = asyncio.get_running_loop()

    def again(setup: Setup) -> Setup:
        loop.call_soon_threadsafe(reads.release)
        may_read.wait()
        return following(setup)

    reloading = Reloading(first(), again, applied.apply)
    async with running(reloading):
        reloading.ask()
        await reads.acquire()
        for _ in range(5):
            reloading.ask()
        may_read.set()
        assert [await applied.versions.get() for _ in range(2)] == [2, 3]
        await asyncio.sleep(0)
        assert applied.versions.empty()


def written(folder: Path) -> Path:
    """A directory with one service and one closed route."""
    service = {"name": "users", "base_url": "http://127.0.0.1:1"}
    (folder / "services.yaml").write_text(yaml.safe_dump([service]))
    route = {"path": "/users", "service": "users", "auth_required": False}
    (folder / "routes.yaml").write_text(yaml.safe_dump([route]))
    return folder


def test_what_is_handed_on_is_what_was_read(tmp_path: Path) -> None:
    """Equal in all, the version included; the last one counts."""
    snapshot = load(written(tmp_path))
    handed = HandedSnapshot(tmp_path / "configuration")
    handed.write(snapshot)
    handed.write(replace(snapshot, version=7))
    assert handed.read() == replace(snapshot, version=7)


def test_what_a_command_requires_it_requires_again(tmp_path: Path) -> None:
    """A configuration that would be refused at the start is refused later, too."""
    settings = Settings(config_dir=written(tmp_path))
    setup = Setup(settings, load(tmp_path)).requiring(Setup.require_key)
    assert setup.again().snapshot.version == 2
    closed = {"path": "/users", "service": "users"}
    (tmp_path / "routes.yaml").write_text(yaml.safe_dump([closed]))
    with pytest.raises(Refusal, match="want a token"):
        setup.again()


def test_a_demo_stays_one(tmp_path: Path) -> None:
    """It waits for no balancer, and its secret stays."""
    demo = Setup(Settings(config_dir=written(tmp_path)), load(tmp_path)).for_demo()
    again = demo.again()
    assert again.snapshot.options.drain.delay == 0
    assert again.settings.jwt_secret == demo.settings.jwt_secret
