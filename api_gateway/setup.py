"""What a command runs with: environment and configuration, read and found fit, or refused."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click
from pydantic import SecretStr

from api_gateway.gateway import can_sign, warn_of
from api_gateway.telemetry import configure_logging
from config.faults import ConfigError
from config.loader import load
from config.models.gateway import Drain
from config.settings import Settings, load_settings
from config.snapshot import Snapshot


class Refusal(click.ClickException):
    """The command can't do what it was told to; the message says why."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Setup:
    """Environment and configuration.

    ``requirements`` are what the command wants of them, now and when they are read again.
    """

    settings: Settings
    snapshot: Snapshot
    requirements: tuple["Requirement", ...] = ()
    demo: bool = False

    def requiring(self, *requirements: "Requirement") -> "Setup":
        """The same, found fit. Raises Refusal."""
        for requirement in requirements:
            requirement(self)
        return replace(self, requirements=(*self.requirements, *requirements))

    def again(self) -> "Setup":
        """The next version of the configuration, as it is in its files now.

        Raises ConfigError with every fault, or Refusal.
        """
        snapshot = load(self.settings.config_dir)
        snapshot = replace(snapshot, version=self.snapshot.version + 1)
        setup = Setup(self.settings, snapshot)
        if self.demo:
            setup = setup.for_demo()
        setup = setup.requiring(*self.requirements)
        setup.warn()
        return setup

    def require_broker(self) -> None:
        """A role that runs alone needs a broker that it shares with the others."""
        if self.settings.amqp_url is None:
            raise Refusal(
                "a single role needs a RabbitMQ that it shares with the other roles: set "
                "GATEWAY_AMQP_URL. `api-gateway up` runs all roles in one process without it."
            )

    def require_registry(self) -> None:
        """A role that runs alone needs a registry that it shares with the others."""
        services = self.snapshot.services.values()
        found = [each.name for each in services if each.discovery.type == "registry"]
        if found and self.settings.redis_url is None:
            raise Refusal(
                f"the instances of {_some(found)} register (discovery: registry), and a single "
                "role knows of them only by a Redis that all roles share: set GATEWAY_REDIS_URL."
            )

    def require_key(self) -> None:
        """Tokens can't be checked without a key, nor made for clients without the secret."""
        if self.snapshot.options.auth.clients and not can_sign(self.settings, self.snapshot):
            raise Refusal(
                "auth.clients in gateway.yaml are to get tokens, but there is nothing to sign them "
                "with: set GATEWAY_JWT_SECRET."
            )
        if self._has_key():
            return
        closed = [route.label for route in self.snapshot.routes if route.auth_required]
        if closed:
            raise Refusal(
                f"{len(closed)} routes want a token ({_some(closed)}), but there is no key to "
                "check one with: set GATEWAY_JWT_SECRET, 32 bytes or more, or "
                "GATEWAY_JWT_SECRET_FILE, for auth.algorithms like HS256; or auth.public_keys or "
                "auth.jwks_url in gateway.yaml. A route for everybody says `auth_required: false`."
            )

    def require_shared_sessions(self) -> None:
        """What one ingress process is asked about sessions, another must have been told."""
        if self.snapshot.options.auth.clients and self.settings.redis_url is None:
            raise Refusal(
                "auth.clients in gateway.yaml needs a Redis by which ingress processes share "
                "sessions: set GATEWAY_REDIS_URL. `api-gateway up` keeps them in its one process."
            )

    def _has_key(self) -> bool:
        auth = self.snapshot.options.auth
        with_secret = can_sign(self.settings, self.snapshot)
        return bool(with_secret or auth.public_keys or auth.jwks_url or auth.api_keys)

    def warn(self) -> None:
        """Log what is set, but does not do what its owner may think."""
        warn_of(self.settings, self.snapshot)

    def for_demo(self) -> "Setup":
        """The same with a secret for this run, if there is none, and no wait for a balancer."""
        options = self.snapshot.options
        drain = Drain(delay=0, timeout=options.drain.timeout)
        snapshot = replace(self.snapshot, options=options.model_copy(update={"drain": drain}))
        settings = self.settings
        if settings.jwt_secret is None:
            secret = SecretStr(secrets.token_urlsafe(32))
            settings = settings.model_copy(update={"jwt_secret": secret})
        return replace(self, settings=settings, snapshot=snapshot, demo=True)


Requirement = Callable[[Setup], None]  # raises Refusal


def read_setup(config_dir: Path | None, handed: Callable[[], Snapshot] | None = None) -> Setup:
    """Read the environment, then the directory it or ``config_dir`` names. Raises Refusal.

    ``handed`` gives what a parent has read already.
    """
    try:
        settings = load_settings(config_dir=config_dir)
        configure_logging(settings.log_format, settings.log_level)
        snapshot = handed() if handed is not None else load(settings.config_dir)
    except ConfigError as error:
        raise Refusal(described(error)) from error
    return Setup(settings, snapshot)


def described(error: ConfigError) -> str:
    """How many faults there are, and each on a line of its own."""
    count = len(error.faults)
    return f"the configuration has {count} fault{'s'[: count > 1]}:\n{error}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
