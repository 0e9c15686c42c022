"""The gateway as a library: the whole way of a request in one process, without a socket."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import SecretStr

from api_gateway.node import Node
from api_gateway.plain import read_request, write_response
from config.doubts import doubts
from config.loader import load, replace
from config.models.auth import Auth
from config.settings import Settings, load_settings
from config.snapshot import Snapshot
from config.without_effect import without_effect
from ingress.identity.keys import SYMMETRIC
from ingress.identity.tokens import signing_algorithm

log = logging.getLogger(__name__)


class APIGateway:
    """Ingress and dispatcher inside an application; an async context manager.

    What is left out is taken from the environment (``GATEWAY_AMQP_URL`` and so on). Without a
    broker requests pass through an embedded one. Raises ConfigError, with every fault, for a
    configuration that can't be used; entering raises UnsuitableRedis.
    """

    def __init__(
        self,
        config_dir: str | Path | None = None,
        elasticsearch_url: str | None = None,
        redis_url: str | None = None,
        amqp_url: str | None = None,
        jwt_secret: str | None = None,
    ) -> None:
        settings = load_settings(
            config_dir=config_dir,
            elasticsearch_url=elasticsearch_url,
            redis_url=redis_url,
            amqp_url=amqp_url,
            jwt_secret=jwt_secret,
        )
        snapshot = load(settings.config_dir)
        warn_of(settings, snapshot)
        self._node = Node(settings, snapshot)

    async def __aenter__(self) -> Self:
        await self._node.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._node.stop()
        await self._node.run()
        await self._node.__aexit__(*exc_info)

    async def ready(self) -> None:
        """Wait for the broker, and for Redis if it is needed. Requests before that get 503."""
        await self._node.ready()

    async def handle_request(
        self, request: Mapping[str, Any], context: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Answer one request, as if it had come over HTTP.

        ``request`` is ``{"method", "path", "query", "headers", "body"}``, all but path optional;
        ``context`` is ``{"ip_address", "user_id", "tier", "roles", "scopes"}``, all optional:
        where it comes from, and the caller for whom the application vouches, if the request has no
        Authorization. The answer is ``{"status", "headers", "body"}``, with a JSON body decoded.
        See api_gateway.plain for the details. Raises ValueError for header fields that can't be
        sent, and for a tier that the configuration doesn't have.
        """
        asked = read_request(request, context or {})
        if asked.principal is not None and asked.principal.tier not in self._node.snapshot.tiers:
            raise ValueError(f"there is no tier {asked.principal.tier!r}")
        return write_response(await self._node.handle(asked))

    async def update_config(self, config_type: str, config_data: object) -> None:
        """Replace one kind (``routes``, ``services``, ...) by plain data, as in its YAML file.

        Requests under way end under the configuration that they began with. Raises ConfigError,
        with every fault, and changes nothing then.
        """
        await self._node.change(lambda snapshot: replace(snapshot, config_type, config_data))


def can_sign(settings: Settings, snapshot: Snapshot) -> bool:
    """Whether there is a secret, and an algorithm for it."""
    algorithm = signing_algorithm(snapshot.options.auth)
    return settings.jwt_secret is not None and algorithm is not None


def warn_of(settings: Settings, snapshot: Snapshot) -> None:
    """Log what can be used, but does not do what its owner may think."""
    if settings.elasticsearch_url is not None:
        log.warning("GATEWAY_ELASTICSEARCH_URL is set, but nothing here uses it yet")
    for name in _too_long_for(settings.jwt_secret, snapshot.options.auth):
        log.warning("GATEWAY_JWT_SECRET is shorter than the hash of %s (RFC 7518, 3.2)", name)
    if snapshot.options.auth.clients and not can_sign(settings, snapshot):
        log.warning("auth.clients is set, but there is nothing to sign tokens with: no endpoints")
    for doubt in doubts(snapshot):
        log.warning("%s", doubt)
    for key in without_effect(snapshot):
        log.warning("set, but nothing acts on it yet: %s", key)


def _too_long_for(secret: SecretStr | None, auth: Auth) -> list[str]:
    """The allowed algorithms that want a longer key than the secret is, if there is one."""
    if secret is None:
        return []
    bits = 8 * len(secret.get_secret_value().encode())
    return [each for each in SYMMETRIC if each in auth.algorithms and bits < int(each[2:])]
