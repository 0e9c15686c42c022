"""RabbitMQ and Redis for tests: real ones, started here unless the environment names some.

Looked for in this order: the URLs in the environment; containers, where a Docker engine answers;
programs on this machine. Where there is none of them a test fails, and says what is missing.
"""

import json
import os
import shutil
import subprocess
import tempfile
import uuid
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import redis

from tests.containers import Container, can_run
from tests.processes import DEAD_WITHIN, READY_WITHIN, Process, exchange, free_port, wait_until

RABBITMQ_IMAGE = "rabbitmq:4-alpine"
REDIS_IMAGE = "redis:7-alpine"
_REMEDY = "start a Docker engine, or install {} (make test does it as root)"
_CTL_WITHIN = 60.0  # seconds
_VIRTUAL_HOSTS_AT_ONCE = 16  # one call of rabbitmqctl makes so many
_ERLANG_ON_LOOPBACK = "-kernel inet_dist_use_interface {127,0,0,1}"
_AMQP_GREETING = b"AMQP\x00\x00\x09\x01"
_AMQP_METHOD_FRAME = b"\x01"
_SLOTS = 16384  # of a Redis Cluster


class MissingServerError(RuntimeError):
    """No way to a server of this kind on this machine."""


class RabbitMQNode(ABC):
    """A broker of our own, with one port for life; a killed one starts again with its files."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}/"
        self._spare_virtual_hosts: list[str] = []

    @abstractmethod
    def start(self) -> None:
        """Start it, and return when it speaks AMQP."""

    @abstractmethod
    def kill(self) -> None:
        """SIGKILL the whole node."""

    @abstractmethod
    def stop(self) -> None:
        """End it for good, and remove its files."""

    @abstractmethod
    def ctl(self, *arguments: str, stdin: str = "") -> str:
        """What ``rabbitmqctl`` prints. Raises RuntimeError when it fails."""

    def restart(self) -> None:
        """Kill it and start it again."""
        self.kill()
        self.start()

    def virtual_host(self) -> str:
        """The URL of a virtual host that nobody has used."""
        if not self._spare_virtual_hosts:
            self._spare_virtual_hosts = [
                f"t{uuid.uuid4().hex}" for _ in range(_VIRTUAL_HOSTS_AT_ONCE)
            ]
            self._define(self._spare_virtual_hosts)
        return self.url + self._spare_virtual_hosts.pop()

    def _define(self, virtual_hosts: list[str]) -> None:
        everything = {"user": "guest", "configure": ".*", "write": ".*", "read": ".*"}
        definitions = {
            "vhosts": [{"name": name} for name in virtual_hosts],
            "permissions": [{"vhost": name, **everything} for name in virtual_hosts],
        }
        self.ctl("import_definitions", stdin=json.dumps(definitions))

    @property
    def alive(self) -> bool:
        """Whether it speaks AMQP."""
        return exchange(self.port, _AMQP_GREETING, 1) == _AMQP_METHOD_FRAME


class LocalRabbitMQ(RabbitMQNode):
    """A node from this machine's programs, with a port mapper (epmd) and a folder of its own.

    ``programs`` holds the real ``rabbitmq-server`` and ``rabbitmqctl``: the ones that Debian puts
    on the PATH are wrappers that insist on the system's user and folders.
    """

    def __init__(self, programs: Path) -> None:
        super().__init__()
        self._programs = programs
        self._home = Path(tempfile.mkdtemp(prefix="gateway-rabbitmq-"))
        self._env = self._environment()
        server = [str(programs / "rabbitmq-server")]
        self._server = Process(server, self._home / "output", self._env)
        epmd_port = self._env["ERL_EPMD_PORT"]
        self._epmd = Process(["epmd", "-port", epmd_port], self._home / "epmd", self._env)

    def start(self) -> None:
        """Start it, and return when it speaks AMQP."""
        if not self._epmd.running:
            epmd_port = int(self._env["ERL_EPMD_PORT"])
            self._epmd.start(ready=lambda: exchange(epmd_port, b"\x00\x01n", 4) != b"")
        self._server.start(ready=lambda: self.alive)

    def kill(self) -> None:
        """SIGKILL the whole node; its port mapper stays."""
        self._server.kill()
        wait_until(lambda: not self.alive, DEAD_WITHIN, "the node's death")

    def stop(self) -> None:
        """End node and port mapper, and remove their files."""
        self._server.kill()
        self._epmd.kill()
        shutil.rmtree(self._home, ignore_errors=True)

    def ctl(self, *arguments: str, stdin: str = "") -> str:
        """What ``rabbitmqctl`` prints. Raises RuntimeError when it fails."""
        command = [str(self._programs / "rabbitmqctl"), *arguments]
        done = subprocess.run(
            command, input=stdin, env=self._env, capture_output=True, text=True, timeout=_CTL_WITHIN
        )
        if done.returncode != 0:
            raise RuntimeError(f"rabbitmqctl {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def _environment(self) -> dict[str, str]:
        home = self._home
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("RABBITMQ_", "ERL_"))}
        (home / "plugins").write_text("[].\n")
        return (
            inherited
            | {
                "HOME": str(home),  # where Erlang keeps the cookie
                "ERL_EPMD_ADDRESS": "127.0.0.1",
                "ERL_EPMD_PORT": str(free_port()),
                "ERL_CRASH_DUMP": str(home / "crash"),
                "RABBITMQ_NODENAME": f"gw-{uuid.uuid4().hex[:8]}@localhost",
                "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
                "RABBITMQ_NODE_PORT": str(self.port),
                "RABBITMQ_DIST_PORT": str(free_port()),
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": _ERLANG_ON_LOOPBACK,
                "RABBITMQ_MNESIA_BASE": str(home / "data"),
                "RABBITMQ_LOG_BASE": str(home / "log"),
                "RABBITMQ_PID_FILE": str(home / "pid"),
                "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "plugins"),
                # The system's own files, if there are any, are not for this node.
                "RABBITMQ_CONF_ENV_FILE": str(home / "none"),
                "RABBITMQ_CONFIG_FILE": str(home / "none"),
                "RABBITMQ_ADVANCED_CONFIG_FILE": str(home / "none"),
            }
        )


class ContainerRabbitMQ(RabbitMQNode):
    """A node in a container."""

    def __init__(self) -> None:
        super().__init__()
        self._container = Container(RABBITMQ_IMAGE, inside=5672, port=self.port)

    def start(self) -> None:
        """Start it, and return when it speaks AMQP."""
        self._container.start(ready=lambda: self.alive)

    def kill(self) -> None:
        """SIGKILL the whole node."""
        self._container.kill()

    def stop(self) -> None:
        """Remove the container."""
        self._container.remove()

    def ctl(self, *arguments: str, stdin: str = "") -> str:
        """What ``rabbitmqctl`` prints. Raises RuntimeError when it fails."""
        script = 'printf %s "$0" | rabbitmqctl "$@"'
        return self._container.run("sh", "-c", script, stdin, *arguments)


class RedisServer:
    """A Redis of our own, with one port for life; it keeps nothing."""

    _also_listens: tuple[int, ...] = ()  # so far above its port

    def __init__(self) -> None:
        self.port = free_port(*self._also_listens)
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._home = Path(tempfile.mkdtemp(prefix="gateway-redis-"))
        self._server = self._find()

    def start(self) -> None:
        """Start it, and return when it answers PING."""
        self._server.start(ready=lambda: exchange(self.port, b"PING\r\n", 7) == b"+PONG\r\n")

    def kill(self) -> None:
        """SIGKILL."""
        self._server.kill()

    def restart(self) -> None:
        """Kill it and start it again, empty."""
        self.kill()
        self.start()

    def stop(self) -> None:
        """End it for good."""
        if isinstance(self._server, Container):
            self._server.remove()
        else:
            self._server.kill()
        shutil.rmtree(self._home, ignore_errors=True)

    def _find(self) -> Process | Container:
        if can_run(REDIS_IMAGE):
            return Container(REDIS_IMAGE, inside=6379, port=self.port)
        return self._of_this_machine()

    def _of_this_machine(self, *options: str) -> Process:
        program = _redis_program()
        if program is None:
            raise MissingServerError("no Redis for the tests: " + _REMEDY.format("redis-server"))
        place = f"--bind 127.0.0.1 --port {self.port} --dir {self._home}".split()
        nothing_kept = ("--appendonly", "no", "--save", "")
        return Process([program, *place, *nothing_kept, *options], self._home / "output")


class RedisClusterNode(RedisServer):
    """One of a Redis Cluster; a program of this machine, as nodes have to reach each other."""

    _also_listens = (10_000,)  # for the other nodes

    def _find(self) -> Process:
        return self._of_this_machine("--cluster-enabled", "yes")


def join(nodes: Sequence[RedisClusterNode]) -> None:
    """Make a cluster of nodes that run, each with an equal share of the slots."""
    clients = [redis.Redis(port=node.port, decode_responses=True) for node in nodes]
    for number, client in enumerate(clients):
        first, end = (n * _SLOTS // len(nodes) for n in (number, number + 1))
        client.cluster("ADDSLOTS", *range(first, end))
        client.cluster("MEET", "127.0.0.1", nodes[0].port)

    def agree() -> bool:
        states = [client.cluster("INFO") for client in clients]
        known = [client.cluster("SLOTS") for client in clients]
        agreed = all(state["cluster_state"] == "ok" for state in states)
        return agreed and all(len(ranges) == len(nodes) for ranges in known)

    wait_until(agree, READY_WITHIN, "the cluster")
    for client in clients:
        client.close()


def environment_url(kind: str) -> str | None:
    """The server that the environment names; ``kind`` is ``AMQP`` or ``REDIS``."""
    return os.environ.get(f"GATEWAY_TEST_{kind}_URL") or os.environ.get(f"GATEWAY_{kind}_URL")


def find_rabbitmq() -> RabbitMQNode:
    """A node of our own, not yet started. Raises MissingServerError."""
    if can_run(RABBITMQ_IMAGE):
        return ContainerRabbitMQ()
    programs = _rabbitmq_programs()
    if programs is None:
        raise MissingServerError("no RabbitMQ for the tests: " + _REMEDY.format("rabbitmq-server"))
    return LocalRabbitMQ(programs)


def missing_programs() -> list[str]:
    """Debian's names of what has to be installed before the tests can run."""
    missing = []
    # Some tests kill their broker or Redis, which an address in the environment does not allow.
    if not can_run(RABBITMQ_IMAGE) and _rabbitmq_programs() is None:
        missing.append("rabbitmq-server")
    if _redis_program() is None:  # nodes of a cluster are no containers
        missing.append("redis-server")
    return missing


def _rabbitmq_programs() -> Path | None:
    debian = Path("/usr/lib/rabbitmq/bin")
    if (debian / "rabbitmq-server").exists():
        return debian
    on_path = shutil.which("rabbitmq-server")
    return Path(on_path).parent if on_path else None


def _redis_program() -> str | None:
    return shutil.which("redis-server")


if __name__ == "__main__":
    print(*missing_programs())
