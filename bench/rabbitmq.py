"""A private RabbitMQ node on free ports of the loopback address, with all its files in a folder."""

import shutil
import time
from pathlib import Path

from bench.install import NotInstallableError, debian_package
from bench.processes import Process, Processes, ProcessFailedError
from tests.processes import exchange, free_port

# Debian's command in /usr/sbin insists on the system's own folders and user.
_SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
_START_TIMEOUT = 60.0


def start_rabbitmq(processes: Processes, folder: Path) -> tuple[str, Process]:
    """Start a node and wait for it; its AMQP URL and its process. Raises NotInstallableError."""
    if not _SERVER.exists():
        debian_package("rabbitmq-server", "no RabbitMQ here")
    epmd = shutil.which("epmd")
    if epmd is None:
        raise NotInstallableError("no epmd beside RabbitMQ")
    folder.mkdir()
    (folder / "plugins").write_text("[].\n")
    port, epmd_port = free_port(), free_port()
    # Started here, so that the node does not leave one behind.
    processes.start("epmd", [epmd, "-address", "127.0.0.1", "-port", str(epmd_port)])
    env = {
        "HOME": str(folder),
        "ERL_EPMD_PORT": str(epmd_port),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"bench{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        # The system's own files, if there are any, are not for this node.
        "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
        "RABBITMQ_CONFIG_FILE": str(folder / "none"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "none"),
    }
    node = processes.start("rabbitmq", [_SERVER], env)
    _wait(port, processes)
    return f"amqp://guest:guest@127.0.0.1:{port}/", node


def _wait(port: int, processes: Processes) -> None:
    """Wait for connection.start, the answer to a protocol header (AMQP 0-9-1, section 2.2.4)."""
    give_up = time.monotonic() + _START_TIMEOUT
    while exchange(port, b"AMQP\x00\x00\x09\x01", 1) != b"\x01":
        processes.check()
        if time.monotonic() > give_up:
            raise ProcessFailedError(f"RabbitMQ did not answer within {_START_TIMEOUT:.0f} s")
        time.sleep(0.2)
