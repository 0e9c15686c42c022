"""A private Redis on a free port of the loopback address."""

import time
from pathlib import Path

from bench.install import command
from bench.processes import Process, Processes, ProcessFailedError
from tests.processes import exchange, free_port

_START_TIMEOUT = 10.0


def start_redis(processes: Processes, folder: Path) -> tuple[str, Process]:
    """Start a Redis that keeps nothing on disk; its URL and process. Raises NotInstallableError."""
    program = command("redis-server", "redis-server")
    folder.mkdir()
    port = free_port()
    options = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--save", ""]
    server = processes.start("redis", [program, *options, "--appendonly", "no"])
    _wait(port, processes)
    return f"redis://127.0.0.1:{port}", server


def _wait(port: int, processes: Processes) -> None:
    give_up = time.monotonic() + _START_TIMEOUT
    while exchange(port, b"PING\r\n", 1) != b"+":
        processes.check()
        if time.monotonic() > give_up:
            raise ProcessFailedError(f"Redis did not answer within {_START_TIMEOUT:.0f} s")
        time.sleep(0.05)
