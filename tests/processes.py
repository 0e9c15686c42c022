"""Real programs as children of the test run: on free ports, ready by protocol, ended by pid."""

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

READY_WITHIN = 60.0  # seconds; a broker's first start on a busy machine takes many
DEAD_WITHIN = 10.0
_POLL = 0.05
_RUNS = 4  # side by side, at most


class NotReadyError(RuntimeError):
    """A program did not come up, with the end of what it printed."""


def free_port(*beside: int) -> int:
    """A TCP port nobody listens on, nor on those that are so far above it.

    Below the ephemeral range, so that no client's own port takes it while its server is away, and
    a client that tries again and again can't connect to itself. Test runs side by side share no
    port: one that was found is free until its server listens.
    """
    run = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    ports = range(15_000 + run % _RUNS, 32_000 - max(beside, default=0), _RUNS)
    for port in random.sample(ports, 200):
        if all(_is_free(port + distance) for distance in (0, *beside)):
            return port
    raise NotReadyError("no free port below the ephemeral range")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def exchange(port: int, question: bytes, enough: int) -> bytes:
    """The first bytes that a server answers to a question; empty if it does not answer."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(question)
            return connection.recv(enough)
    except OSError:
        return b""


def wait_until(condition: Callable[[], bool], within: float, what: str) -> None:
    """Ask again until it holds. Raises NotReadyError after ``within`` seconds."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            raise NotReadyError(f"{what}: not within {within:g} s")
        time.sleep(_POLL)


class Process:
    """A program with its own process group, whose output goes to a file."""

    def __init__(self, command: Sequence[str], log: Path, env: Mapping[str, str] | None = None):
        self._command = command
        self._log = log
        self._env = env
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._child is not None and self._child.poll() is None

    def start(self, ready: Callable[[], bool]) -> None:
        """Start it and return once ``ready()``. Raises NotReadyError."""
        with self._log.open("ab") as log:
            self._child = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._env,
                start_new_session=True,
            )
        try:
            wait_until(lambda: self._ready_or_ended(ready), READY_WITHIN, self._command[0])
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """SIGKILL for it and its children; returns when it is gone."""
        if self._child is None:
            return
        # The group outlives a leader that has ended, and is gone with its last member.
        with suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait(DEAD_WITHIN)
        self._child = None

    def _ready_or_ended(self, ready: Callable[[], bool]) -> bool:
        if not self.running:
            end = self._log.read_bytes()[-2000:].decode(errors="replace")
            raise NotReadyError(f"{self._command[0]} ended at once:\n{end}")
        return ready()
