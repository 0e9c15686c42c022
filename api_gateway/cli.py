"""The ``api-gateway`` command: its options, and what they lead to."""

import secrets
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import click
from jwt import InsecureKeyLengthWarning

from api_gateway.launch import Place, run_child, run_demo, run_node, run_processes
from api_gateway.node import Role
from api_gateway.reloading import HandedSnapshot
from api_gateway.setup import Refusal, Setup, described, read_setup
from broker.messages import Principal
from config.doubts import doubts
from config.faults import ConfigError
from config.loader import load
from config.models.auth import Auth
from config.models.tiers import DEFAULT_TIERS
from config.settings import load_settings
from config.without_effect import without_effect
from ingress.identity.clients import hashed_secret
from ingress.identity.tokens import issue, signing_algorithm

_Command = Callable[..., None]
_Decorator = Callable[[_Command], _Command]

_LOOPBACK = "127.0.0.1"
_ANYWHERE = "0.0.0.0"  # noqa: S104 - an ingress is there to be reached
_DIRECTORY = click.Path(path_type=Path)
_PORT = click.IntRange(0, 65535)


def _options(*options: _Decorator) -> _Decorator:
    """Several options as one decorator, in the order of the help text."""

    def decorate(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


_config = click.option(
    "--config",
    type=_DIRECTORY,
    help="The configuration directory.  [default: GATEWAY_CONFIG_DIR, or config]",
)


def _public(host: str) -> _Decorator:
    return _options(
        click.option("--host", default=host, show_default=True, help="For clients."),
        click.option("--port", type=_PORT, default=8000, show_default=True, help="0: a free one."),
    )


def _admin(port: int) -> _Decorator:
    return _options(
        click.option("--admin-host", default=_LOOPBACK, show_default=True, help="For operators."),
        click.option("--admin-port", type=_PORT, default=port, show_default=True),
    )


_processes = _options(
    click.option(
        "--processes",
        type=click.IntRange(1, 256),
        default=1,
        show_default=True,
        help="How many share the work; a core for each is right.",
    ),
    # What a parent tells its children.
    click.option("--handed", type=_DIRECTORY, hidden=True),
    click.option("--admin-socket", type=_DIRECTORY, hidden=True),
    click.option("--public-fd", type=int, hidden=True),
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="api-gateway")
def main() -> None:
    """An API gateway with a message queue in the middle."""
    # Of tokens that it makes with HS384 or HS512; what is to be said of that is in the log.
    warnings.filterwarnings("ignore", category=InsecureKeyLengthWarning)


@main.command()
@_config
@_public(_LOOPBACK)
@_admin(8001)
@click.option("--demo", is_flag=True, help="With an upstream, and a request to try.")
def up(
    config: Path | None, host: str, port: int, admin_host: str, admin_port: int, demo: bool
) -> None:
    """Run all roles in one process, with a broker inside unless GATEWAY_AMQP_URL is set."""
    setup = read_setup(config)
    setup.warn()
    if demo:
        setup = setup.for_demo()
    setup = setup.requiring(Setup.require_key)
    place = Place.open((admin_host, admin_port), (host, port))
    if demo:
        run_demo(setup, place)
    run_node(setup, tuple(Role), place)


@main.command()
@_config
@_public(_ANYWHERE)
@_admin(8001)
@_processes
def ingress(
    config: Path | None,
    host: str,
    port: int,
    admin_host: str,
    admin_port: int,
    processes: int,
    handed: Path | None,
    admin_socket: Path | None,
    public_fd: int | None,
) -> None:
    """Take requests, publish them, answer with their replies."""
    snapshot = HandedSnapshot(handed) if handed is not None else None
    setup = read_setup(config, snapshot.read if snapshot else None).requiring(
        Setup.require_broker,
        Setup.require_registry,
        Setup.require_key,
        Setup.require_shared_sessions,
    )
    if snapshot is not None and admin_socket is not None:
        run_child(setup, Role.INGRESS, snapshot, admin_socket, public_fd)
    setup.warn()
    place = Place.open((admin_host, admin_port), (host, port), processes)
    if processes > 1:
        run_processes(setup, Role.INGRESS, processes, place)
    run_node(setup, [Role.INGRESS], place)


@main.command()
@_config
@_admin(8002)
@_processes
def dispatcher(
    config: Path | None,
    admin_host: str,
    admin_port: int,
    processes: int,
    handed: Path | None,
    admin_socket: Path | None,
    public_fd: int | None,
) -> None:
    """Take requests from their queues and call the upstreams."""
    snapshot = HandedSnapshot(handed) if handed is not None else None
    setup = read_setup(config, snapshot.read if snapshot else None).requiring(
        Setup.require_broker, Setup.require_registry
    )
    if snapshot is not None and admin_socket is not None:
        run_child(setup, Role.DISPATCHER, snapshot, admin_socket, public_fd)
    setup.warn()
    place = Place.open((admin_host, admin_port))
    if processes > 1:
        run_processes(setup, Role.DISPATCHER, processes, place)
    run_node(setup, [Role.DISPATCHER], place)


@main.command()
@_config
@_admin(8003)
def workers(config: Path | None, admin_host: str, admin_port: int) -> None:
    """Probe the health of instances, once for the whole fleet; further processes stand by."""
    setup = read_setup(config).requiring(Setup.require_broker, Setup.require_registry)
    setup.warn()
    run_node(setup, [Role.WORKERS], Place.open((admin_host, admin_port)))


@main.command()
@click.argument("directory", type=_DIRECTORY)
def check(directory: Path) -> None:
    """Tell every fault of a configuration directory."""
    try:
        snapshot = load(directory)
    except ConfigError as error:
        click.echo(described(error), err=True)
        sys.exit(1)
    counts = f"{len(snapshot.routes)} routes, {len(snapshot.services)} services"
    click.echo(f"{directory}: {counts}, no fault")
    for doubt in doubts(snapshot):
        click.echo(f"warning: {doubt}")
    for key in without_effect(snapshot):
        click.echo(f"set, but nothing acts on it yet: {key}")


@main.command()
@_config
@click.option("--subject", required=True, help="Whom it speaks for.")
@click.option("--tier", default="FREE", show_default=True)
@click.option("--role", "roles", multiple=True, help="May be given again.")
@click.option("--scope", "scopes", multiple=True, help="May be given again.")
@click.option("--org", help="The customer.")
@click.option("--ttl", type=click.IntRange(1), default=3600, show_default=True, help="Seconds.")
def token(
    config: Path | None,
    subject: str,
    tier: str,
    roles: tuple[str, ...],
    scopes: tuple[str, ...],
    org: str | None,
    ttl: int,
) -> None:
    """Print an access token, signed with GATEWAY_JWT_SECRET. For development."""
    try:
        settings = load_settings(config_dir=config)
        known = load(settings.config_dir) if settings.config_dir.is_dir() else None
    except ConfigError as error:
        raise Refusal(described(error)) from error
    if settings.jwt_secret is None:
        raise Refusal("there is no secret to sign with: set GATEWAY_JWT_SECRET")
    tiers = known.tiers if known else DEFAULT_TIERS
    if tier not in tiers:
        raise Refusal(f"--tier {tier}: there is no such tier, but {', '.join(tiers)}")
    principal = Principal(subject, tier, roles, scopes, org)
    auth = known.options.auth if known else Auth()
    if signing_algorithm(auth) is None:
        raise Refusal("it would be signed with HS256, and no HS is among auth.algorithms")
    secret = settings.jwt_secret.get_secret_value()
    click.echo(issue(principal, secret, auth, ttl=ttl, now=time.time()))


@main.command()
def client_secret() -> None:
    """Print a new secret for one of auth.clients, and its hash for gateway.yaml."""
    secret = secrets.token_urlsafe(32)
    click.echo(f"secret: {secret}")
    click.echo(f"secret_hash: {hashed_secret(secret).hex()}")
