"""Processes of a run: started, measured through /proc, and ended by their ids."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_STOP_TIMEOUT = 10.0


class ProcessFailedError(RuntimeError):
    """A process ended that was needed; the message shows the end of its log."""


def process_tree(pid: int) -> list[int]:
    """The process and all that descend from it; those that are gone are left out."""
    pids, queue = [], [pid]
    while queue:
        parent = queue.pop()
        try:
            for children in Path(f"/proc/{parent}/task").glob("*/children"):
                queue.extend(int(child) for child in children.read_text().split())
        except OSError:
            continue
        pids.append(parent)
    return pids


def cpu_seconds(pid: int) -> float:
    """CPU time, user and system, that the process and its living descendants have used."""
    ticks = 0
    for member in process_tree(pid):
        try:
            stat = Path(f"/proc/{member}/stat").read_text()
        except OSError:
            continue
        # The name in parentheses may hold anything; utime and stime are fields 14 and 15 (proc(5)).
        fields = stat.rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS_PER_SECOND


def resident_bytes(pid: int) -> int:
    """Resident memory of the process and its living descendants, in bytes."""
    page = os.sysconf("SC_PAGE_SIZE")
    total = 0
    for member in process_tree(pid):
        try:
            total += int(Path(f"/proc/{member}/statm").read_text().split()[1]) * page
        except OSError:
            continue
    return total


class Process:
    """A running program whose output goes into a log file."""

    def __init__(self, name: str, popen: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.pid = popen.pid
        self._popen = popen
        self._log = log

    def check(self) -> None:
        """Raise ProcessFailedError if it has ended."""
        if self._popen.poll() is not None:
            raise ProcessFailedError(
                f"{self.name} ended with {self._popen.returncode}:\n{self._end_of_log()}"
            )

    def wait(self, timeout: float) -> None:
        """Wait for its good end, at most ``timeout`` seconds. Raises ProcessFailedError."""
        try:
            code = self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise ProcessFailedError(f"{self.name} did not end:\n{self._end_of_log()}") from None
        if code:
            self.check()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._popen.send_signal(number)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL for its whole group where that was not enough."""
        if self._popen.poll() is None:
            self._popen.terminate()
            try:
                self._popen.wait(_STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                self._kill_group()
        self._kill_group()  # children that outlived their parent

    def _end_of_log(self) -> str:
        return self._log.read_text(errors="replace")[-2000:].strip()

    def _kill_group(self) -> None:
        try:
            os.killpg(self.pid, signal.SIGKILL)  # a session of its own: the group is all ours
        except ProcessLookupError:
            return
        self._popen.wait()


class Processes:
    """Starts processes; leaving the context stops them, last started first."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: list[Process] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        while self._running:
            self._running.pop().stop()

    def start(
        self, name: str, command: Sequence[str | Path], env: Mapping[str, str] | None = None
    ) -> Process:
        """Start a program; ``env`` is added to this process's environment."""
        log = self._folder / f"{name}-{time.monotonic_ns()}.log"
        with log.open("wb") as output:
            popen = subprocess.Popen(
                [str(part) for part in command],
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        process = Process(name, popen, log)
        self._running.append(process)
        return process

    def check(self) -> None:
        """Raise ProcessFailedError if any of them has ended."""
        for process in self._running:
            process.check()
