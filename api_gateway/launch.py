"""What each command starts, once its options are read; each ends the process with its status."""

import resource
import socket
import sys
import tempfile
import time
from collections.abc import Collection, Coroutine
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import click
import uvloop

from api_gateway.admin import READY
from api_gateway.demo import DemoUpstream, bearer_for, curl, local_addresses, route_to_try
from api_gateway.listening import CantListenError, http_url, listen, listen_shared, listen_unix
from api_gateway.node import Node, Role
from api_gateway.processes import REFUSED, ChildRefusedError, Processes
from api_gateway.reloading import HandedSnapshot, Reloading
from api_gateway.serving import serve
from api_gateway.setup import Refusal, Setup
from config.snapshot import Snapshot
from ingress.heads import MissingCParser
from ingress.identity.tokens import issue, signing_algorithm
from ingress.redis_errors import UnsuitableRedis

_DEMO_TOKEN_TTL = 24 * 3600.0  # seconds
_DRAIN_GRACE = 10.0  # seconds that children may take beyond what the configuration gives them
_STANDARD_INPUT = 0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a process listens: for its operator, and for clients if it has ingress."""

    admin: socket.socket
    admin_url: str
    public: tuple[socket.socket, ...] = ()  # of one address: one for each process
    public_url: str = ""

    @classmethod
    def open(
        cls, admin: tuple[str, int], public: tuple[str, int] | None = None, processes: int = 1
    ) -> "Place":
        """Listen on hosts and ports. Raises Refusal."""
        try:
            for_operators = listen(*admin)
            url = http_url(for_operators)
            if public is None:
                return cls(for_operators, url)
            shared = processes > 1
            sockets = listen_shared(*public, processes) if shared else (listen(*public),)
        except CantListenError as error:
            raise Refusal(str(error)) from error
        return cls(for_operators, url, sockets, http_url(sockets[0]))

    def announce(self) -> None:
        """Print that it can serve, and where."""
        public = f" public={self.public_url}" if self.public else ""
        click.echo(f"{READY}{public} admin={self.admin_url}")


def run_node(setup: Setup, roles: Collection[Role], place: Place) -> NoReturn:
    """All of it in this process."""

    async def run() -> int:
        node = Node(setup.settings, setup.snapshot, roles, *place.public)
        reloading = Reloading(setup, Setup.again, node.use)
        return await serve(node, place.admin, place.announce, reloading)

    _run(run())


def run_demo(setup: Setup, place: Place) -> NoReturn:
    """All roles, and an upstream for them."""
    addresses = local_addresses(setup.snapshot.services.values())
    if not addresses:
        raise Refusal(
            "--demo plays services on http://127.0.0.1, and there is none in services.yaml"
        )

    def announce() -> None:
        place.announce()
        _invite(setup, place)

    async def run() -> int:
        async with DemoUpstream(addresses):
            node = Node(setup.settings, setup.snapshot, tuple(Role), *place.public)
            reloading = Reloading(setup, Setup.again, node.use)
            return await serve(node, place.admin, announce, reloading)

    _run(run())


def _invite(setup: Setup, place: Place) -> None:
    """Print a request to try."""
    route = route_to_try(setup.snapshot)
    secret = setup.settings.jwt_secret
    if route is None:
        return
    token, auth = None, setup.snapshot.options.auth
    if route.auth_required and secret is not None and signing_algorithm(auth) is not None:
        bearer = bearer_for(route, setup.snapshot.tiers)
        key = secret.get_secret_value()
        token = issue(bearer, key, auth, ttl=_DEMO_TOKEN_TTL, now=time.time())
    click.echo(f"try: {curl(place.public_url, route, token)}")


def run_processes(setup: Setup, role: Role, count: int, place: Place) -> NoReturn:
    """Several processes with the role, and this one to keep them."""
    # -P: what lies in the current directory is not taken for a part of the program.
    program = (sys.executable, "-P", "-m", "api_gateway", role.value)
    command = (*program, "--config", str(setup.settings.config_dir))

    async def run() -> int:
        with tempfile.TemporaryDirectory(prefix="api-gateway-") as folder:
            handed = HandedSnapshot(Path(folder, "configuration"))
            handed.write(setup.snapshot)
            processes = Processes(
                (*command, "--handed", str(handed.path)),
                count,
                Path(folder),
                public=place.public,
                drain_timeout=_drain_timeout(setup.snapshot),
            )

            async def hand_on(snapshot: Snapshot) -> None:
                handed.write(snapshot)
                processes.drain_timeout = _drain_timeout(snapshot)
                processes.reload()

            reloading = Reloading(setup, Setup.again, hand_on)
            return await serve(processes, place.admin, place.announce, reloading)

    _run(run())


def _drain_timeout(snapshot: Snapshot) -> float:
    drain = snapshot.options.drain
    return drain.delay + drain.timeout + _DRAIN_GRACE


def run_child(
    setup: Setup, role: Role, handed: HandedSnapshot, admin_socket: Path, public_fd: int | None
) -> NoReturn:
    """One of several processes; its standard input is the pipe that its parent holds."""

    def again(setup: Setup) -> Setup:
        return replace(setup, snapshot=handed.read())

    async def run() -> int:
        public = socket.socket(fileno=public_fd) if public_fd is not None else None
        node = Node(setup.settings, setup.snapshot, [role], public)
        admin = listen_unix(admin_socket)
        reloading = Reloading(setup, again, node.use)
        ready = partial(click.echo, READY)
        return await serve(node, admin, ready, reloading, parent=_STANDARD_INPUT)

    _run(run())


def _use_all_descriptors() -> None:
    """Every connection is an open file; the usual soft limit is far below what is allowed."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _run(main: Coroutine[Any, Any, int]) -> NoReturn:
    _use_all_descriptors()
    try:
        status = uvloop.run(main)
    except (CantListenError, MissingCParser) as error:
        raise Refusal(str(error)) from error
    except UnsuitableRedis as error:
        raise Refusal(f"GATEWAY_REDIS_URL leads to a Redis that can't be used: {error}") from error
    except ChildRefusedError:
        status = REFUSED
    sys.exit(status)
