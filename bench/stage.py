"""What the scenarios share: options, a folder, RabbitMQ and the upstream, started when needed."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bench.nginx import start_upstream
from bench.processes import Process, Processes
from bench.rabbitmq import start_rabbitmq
from bench.redis import start_redis


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    seconds: int
    connections: tuple[int, ...]
    rounds: int


class Stage:
    """The lasting part of a run."""

    def __init__(self, folder: Path, processes: Processes, options: Options) -> None:
        self.folder = folder
        self.options = options
        self._processes = processes

    @cached_property
    def rabbitmq(self) -> tuple[str, Process]:
        """URL and process of the one RabbitMQ node. Raises NotInstallableError."""
        return start_rabbitmq(self._processes, self.folder / "rabbitmq")

    @cached_property
    def redis(self) -> tuple[str, Process]:
        """URL and process of the one Redis. Raises NotInstallableError."""
        return start_redis(self._processes, self.folder / "redis")

    @cached_property
    def upstream(self) -> str:
        """URL of the upstream that every peer calls."""
        return start_upstream(self._processes, self.folder)[0]

    def turn(self) -> Processes:
        """A context for the processes of one peer's turn."""
        return Processes(self.folder)
