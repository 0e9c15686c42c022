"""gateway.yaml: what holds for all routes."""

from typing import Annotated, Literal

from pydantic import Field

from config.models.auth import Auth
from config.models.base import Model
from config.models.origins import Cors, IpFilter
from config.models.rates import Burst, OnStoreFailure, Rate
from config.values import (
    Count,
    Flag,
    HeaderName,
    MessageSize,
    Name,
    Network,
    PathPattern,
    PositiveCount,
    PositiveSize,
    Role,
    Seconds,
    SecondsFromZero,
    Size,
)


class Limits(Model):
    """Bounds on what one client may send or hold.

    ``max_message`` is the broker's: of a request or an answer as a message, head and body.
    """

    max_body: Size = 1024**2
    max_message: MessageSize = 16 * 1024**2
    max_header_bytes: PositiveSize = 16_384
    max_header_count: PositiveCount = 100
    header_timeout: Seconds = 10.0
    body_timeout: Seconds = 30.0
    keepalive_timeout: Seconds = 75.0
    max_connections: PositiveCount = 10_000


class RuleMatch(Model):
    """Which requests a custom rate limit counts; an absent key matches all."""

    path: PathPattern | None = None
    roles: Annotated[tuple[Role, ...], Field(min_length=1)] | None = None


class RateLimitRule(Model):
    """A custom rate limit."""

    name: Name
    match: RuleMatch = RuleMatch()
    key: Annotated[
        str,
        Field(
            pattern=r"^(ip|subject|customer|header:[A-Za-z0-9-]+)$",
            description="ip, subject, customer or header:NAME",
        ),
    ]
    requests_per_minute: Rate
    burst: Burst = 0
    on_store_failure: OnStoreFailure = "local"


class Admission(Model):
    """The longest wait in a queue that a request is admitted for: seconds, or ``auto``."""

    max_wait: Seconds | Literal["auto"] = "auto"


class Drain(Model):
    """Seconds from "not ready" to closing the listener, and for what is in flight after that."""

    delay: SecondsFromZero = 5.0
    timeout: SecondsFromZero = 30.0


class Audit(Model):
    """Where the audit trail goes, and which headers it must not show."""

    index: str = "gateway-audit"
    redact: tuple[HeaderName, ...] = ("authorization", "cookie")


class GatewayOptions(Model):
    """All of gateway.yaml."""

    auth: Auth = Auth()
    trusted_proxies: Annotated[
        tuple[Network, ...] | Count,
        Field(description="a list of networks, or the number of proxies in front of the gateway"),
    ] = ()
    ip_filter: IpFilter = IpFilter()
    cors: Cors | None = None
    limits: Limits = Limits()
    rate_limits: tuple[RateLimitRule, ...] = ()
    x_ratelimit_fields: Flag = False
    admission: Admission = Admission()
    drain: Drain = Drain()
    audit: Audit = Audit()
