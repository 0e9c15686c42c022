"""The shape of every configuration file: one model for each kind of entry.

Times are seconds, sizes are bytes (``1MiB`` is read as 1048576). Unknown keys are errors. Models are
immutable, so that one snapshot can serve requests while the next one is being made.
"""

import ipaddress
import re
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    HttpUrl,
    PlainSerializer,
    field_validator,
    model_validator,
)

_SIZE = re.compile(r"(\d+)\s*(B|KiB|MiB|GiB)?")
_SIZE_UNITS = {None: 1, "B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


def parse_size(value: object) -> object:
    """Bytes from ``1048576``, ``"1MiB"``, ``"64 KiB"``; other values pass on to pydantic's own check."""
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value.strip())
    if match is None:
        raise ValueError("a size is a number of bytes, or one with B, KiB, MiB or GiB behind it")
    return int(match[1]) * _SIZE_UNITS[match[2]]


def _parse_network(value: object) -> object:
    return ipaddress.ip_network(value) if isinstance(value, str) else value


Network = Annotated[
    ipaddress.IPv4Network | ipaddress.IPv6Network,
    BeforeValidator(_parse_network),
    PlainSerializer(str),
]
Size = Annotated[int, BeforeValidator(parse_size), Field(ge=0)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)]
Method = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9-]*$", max_length=32)]


class Model(BaseModel):
    """Base of all configuration models: immutable, and strict about unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


# --- shared pieces ------------------------------------------------------------------------------


class RateLimit(Model):
    """An allowance: a steady rate, and how many may come at once on top of it."""

    requests_per_minute: Annotated[int, Field(gt=0)]
    burst: Annotated[int, Field(ge=0)] = 0


class AnyOrAll(Model):
    """A demand on a set of names: at least one of ``any``, or every one of ``all``."""

    any: tuple[str, ...] | None = None
    all: tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.any is None) == (self.all is None):
            raise ValueError("give either 'any' or 'all'")
        return self


class IpFilter(Model):
    """Addresses that may enter (empty: all) and addresses that may not (wins over ``allow``)."""

    allow: tuple[Network, ...] = ()
    deny: tuple[Network, ...] = ()


class Cors(Model):
    """Cross-origin rules (Fetch standard); ``max_age`` in seconds."""

    allow_origins: tuple[str, ...]
    allow_methods: tuple[Method, ...] = ()
    allow_headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    allow_credentials: bool = False
    max_age: Annotated[int, Field(ge=0)] = 600

    @model_validator(mode="after")
    def _no_wildcard_with_credentials(self) -> Self:
        if self.allow_credentials and "*" in self.allow_origins:
            raise ValueError("allow_origins '*' can't go together with allow_credentials")
        return self


# --- routes.yaml --------------------------------------------------------------------------------


class Delivery(StrEnum):
    """What a crash may do to a request: repeat it, or leave its outcome unknown."""

    AUTO = "auto"  # by method: idempotent ones at least once, others at most once
    AT_LEAST_ONCE = "at_least_once"
    AT_MOST_ONCE = "at_most_once"


class RequestValidation(Model):
    """JSON Schemas (2020-12) for the parts of a request."""

    query: dict[str, Any] | None = None
    headers: dict[str, Any] | None = None
    body: dict[str, Any] | bool | None = None
    mode: Literal["enforce", "log"] = "enforce"


def _as_rate_limit(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        return {"requests_per_minute": value}
    return value


class Route(Model):
    """Which requests go to which service, and under which rules."""

    path: Annotated[str, Field(pattern=r"^/", max_length=2048)]
    # `method` and `methods` are two spellings of one thing; None means every method.
    methods: Annotated[
        tuple[Method, ...] | None, Field(validation_alias=AliasChoices("methods", "method"))
    ] = None
    service: Name
    auth_required: bool = True
    rate_limit: Annotated[RateLimit | None, BeforeValidator(_as_rate_limit)] = None
    timeout: Seconds = 30.0
    retry_count: Annotated[int | None, Field(ge=0, le=20)] = None
    name: Annotated[str, Field(max_length=200)] = ""
    upstream_path: Annotated[str | None, Field(pattern=r"^/")] = None
    roles: AnyOrAll | None = None
    scopes: AnyOrAll | None = None
    priority: str = "inherit"
    delivery: Delivery = Delivery.AUTO
    async_mode: Annotated[Literal["never", "allowed", "always"], Field(alias="async")] = "never"
    max_body: Size | None = None
    validation: Annotated[RequestValidation | None, Field(alias="validate")] = None
    ip_filter: IpFilter | None = None
    cors: Cors | None = None
    when_open: Literal["hold", "fallback", "fail"] = "fallback"

    @field_validator("methods", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @property
    def label(self) -> str:
        """The route's name, or ``METHOD path`` where it has none."""
        return self.name or f"{','.join(self.methods) if self.methods else 'ANY'} {self.path}"


# --- services.yaml ------------------------------------------------------------------------------


class Instance(Model):
    """One address of a service; ``weight`` is its share in weighted strategies."""

    url: HttpUrl
    weight: Annotated[int, Field(ge=1, le=1000)] = 1
    zone: str | None = None


class Concurrency(Model):
    """How many calls one dispatcher has under way to one service."""

    mode: Literal["fixed", "adaptive"] = "fixed"
    limit: Annotated[int, Field(ge=1, le=10_000)] = 64


class HealthCheck(Model):
    """An active probe; ``interval`` and ``timeout`` in seconds."""

    path: Annotated[str, Field(pattern=r"^/")] = "/health"
    interval: Seconds = 30.0
    timeout: Seconds = 2.0
    healthy_threshold: Annotated[int, Field(ge=1)] = 2
    unhealthy_threshold: Annotated[int, Field(ge=1)] = 3


class CircuitBreakerOptions(Model):
    """When a service counts as failing, and what is answered meanwhile."""

    failure_threshold: Annotated[int, Field(ge=1)] = 5
    reset_timeout: Seconds = 60.0
    half_open_max_calls: Annotated[int, Field(ge=1)] = 1
    fallback_response: dict[str, Any] | None = None
    fallback_status: Annotated[int, Field(ge=200, le=599)] = 503


class Discovery(Model):
    """Where the instances of a service come from."""

    type: Literal["static", "dns", "registry"] = "static"


class Service(Model):
    """An upstream: where it is and how it wants to be called."""

    name: Name
    version: str = ""
    base_url: HttpUrl | None = None
    instances: tuple[Instance, ...] = ()
    timeout: Seconds = 30.0
    retry_count: Annotated[int, Field(ge=0, le=20)] = 0
    metadata: dict[str, str] = {}
    strategy: Literal["round_robin", "least_connections", "weighted_round_robin", "adaptive"] = (
        "round_robin"
    )
    concurrency: Concurrency = Concurrency()
    health_check: HealthCheck | None = None
    circuit_breaker: CircuitBreakerOptions | None = None
    discovery: Discovery = Discovery()

    @model_validator(mode="after")
    def _has_an_address(self) -> Self:
        if self.base_url is not None and self.instances:
            raise ValueError("give either 'base_url' or 'instances', not both")
        if self.base_url is None and not self.instances and self.discovery.type != "registry":
            raise ValueError("give 'base_url' or 'instances'")
        return self

    @property
    def addresses(self) -> tuple[Instance, ...]:
        """The configured instances; ``base_url`` counts as one."""
        return self.instances or ((Instance(url=self.base_url),) if self.base_url else ())


# --- transforms.yaml ----------------------------------------------------------------------------


class Condition(Model):
    """Which exchanges a transform applies to; an absent key matches all."""

    path: Annotated[str | None, Field(pattern=r"^/")] = None
    methods: Annotated[
        tuple[Method, ...] | None, Field(validation_alias=AliasChoices("methods", "method"))
    ] = None
    status: tuple[Annotated[int, Field(ge=100, le=599)], ...] | None = None

    @field_validator("methods", mode="before")
    @classmethod
    def _one_or_many(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value


class HeaderChanges(Model):
    """Headers to set, remove and rename."""

    set: dict[str, str] = {}
    remove: tuple[str, ...] = ()
    rename: dict[str, str] = {}


class BodyTransform(Model):
    """Fields by JSONPath and by Jinja2 template, and changes of headers."""

    jsonpath: dict[str, str] = {}
    template: dict[str, str] = {}
    mode: Literal["replace", "merge"] = "replace"
    headers: HeaderChanges = HeaderChanges()


class Transform(Model):
    """A named change of requests or responses that match its condition."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    condition: Condition = Condition()
    request_transform: BodyTransform | None = None
    response_transform: BodyTransform | None = None


# --- tiers.yaml ---------------------------------------------------------------------------------


class Customer(Model):
    """What one customer of a tier was promised."""

    requests_per_minute: Annotated[int | None, Field(gt=0)]
    burst: Annotated[int, Field(ge=0)] = 0


class Tier(Model):
    """A class of callers: its allowance, its share of the dispatchers, the length of its queues.

    ``weight`` is the share against other tiers that have work; ``floor`` the least part of all
    turns (0 to 1); ``queue_limit`` counts messages per service.
    """

    requests_per_minute: Annotated[int | None, Field(gt=0)] = None
    burst: Annotated[int, Field(ge=0)] = 0
    weight: Annotated[int, Field(ge=1, le=1000)] = 1
    floor: Annotated[float, Field(ge=0, le=1)] = 0.0
    queue_limit: Annotated[int, Field(ge=1)] = 1000
    customers: dict[str, Customer] = {}


DEFAULT_TIERS: dict[str, Tier] = {
    "FREE": Tier(requests_per_minute=60, burst=10, weight=1, floor=0.05, queue_limit=1000),
    "BASIC": Tier(requests_per_minute=300, burst=50, weight=3, queue_limit=2000),
    "PRO": Tier(requests_per_minute=1000, burst=100, weight=8, queue_limit=4000),
    "ENTERPRISE": Tier(requests_per_minute=None, weight=32, queue_limit=8000),
}


# --- gateway.yaml -------------------------------------------------------------------------------


class Client(Model):
    """A machine that may fetch tokens by client credentials."""

    id: Name
    secret_hash: str
    tier: str = "FREE"
    roles: tuple[str, ...] = ()


class Auth(Model):
    """How tokens are checked; ``leeway`` and the lifetimes are seconds."""

    algorithms: Annotated[tuple[str, ...], Field(min_length=1)] = ("HS256",)
    issuer: str | None = None
    audience: str | None = None
    leeway: Annotated[float, Field(ge=0, le=300)] = 30
    jwks_url: HttpUrl | None = None
    tier_claim: str = "tier"
    roles_claim: str = "roles"
    customer_claim: str = "org"
    access_ttl: Annotated[int, Field(gt=0)] = 900
    refresh_ttl: Annotated[int, Field(gt=0)] = 1_209_600
    clients: tuple[Client, ...] = ()


class Limits(Model):
    """Bounds on what one client may send or hold."""

    max_body: Size = 1024**2
    max_header_bytes: Size = 16_384
    max_header_count: Annotated[int, Field(ge=1)] = 100
    header_timeout: Seconds = 10.0
    body_timeout: Seconds = 30.0
    keepalive_timeout: Seconds = 75.0
    max_connections: Annotated[int, Field(ge=1)] = 10_000


class RuleMatch(Model):
    """Which requests a custom rate limit counts; an absent key matches all."""

    path: str | None = None
    roles: tuple[str, ...] = ()


class RateLimitRule(Model):
    """A custom rate limit."""

    name: Name
    match: RuleMatch = RuleMatch()
    key: Annotated[str, Field(pattern=r"^(ip|subject|customer|header:[A-Za-z0-9-]+)$")]
    requests_per_minute: Annotated[int, Field(gt=0)]
    burst: Annotated[int, Field(ge=0)] = 0


class Admission(Model):
    """The longest wait in a queue that a request is admitted for: seconds, or ``auto``."""

    max_wait: Seconds | Literal["auto"] = "auto"


class Drain(Model):
    """Seconds between "not ready" and closing the listener, and for what is in flight after that."""

    delay: Annotated[float, Field(ge=0)] = 5.0
    timeout: Annotated[float, Field(ge=0)] = 30.0


class Audit(Model):
    """Where the audit trail goes, and which headers it must not show."""

    index: str = "gateway-audit"
    redact: tuple[str, ...] = ("authorization", "cookie")


class GatewayOptions(Model):
    """All of gateway.yaml."""

    auth: Auth = Auth()
    trusted_proxies: tuple[Network, ...] | Annotated[int, Field(ge=0)] = ()
    ip_filter: IpFilter = IpFilter()
    cors: Cors | None = None
    limits: Limits = Limits()
    rate_limits: tuple[RateLimitRule, ...] = ()
    admission: Admission = Admission()
    drain: Drain = Drain()
    audit: Audit = Audit()
