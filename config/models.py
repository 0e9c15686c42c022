"""The shape of every configuration file: one model for each kind of entry.

Times are seconds, sizes are bytes (``1MiB`` is read as 1048576). Unknown keys are errors. Models
are immutable, so that one snapshot can serve requests while the next one is being made.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    HttpUrl,
    ValidationInfo,
    field_validator,
    model_validator,
)

from config.faults import quoted
from config.networks import all_within
from config.paths import REST, is_reserved, pattern_parameters
from config.schemas import Schema, object_problems, schema_problems, spelling_problems
from config.tls import check_authorities, check_certificate
from config.values import (
    Algorithm,
    ChangeableHeader,
    Count,
    DnsName,
    FilePath,
    Flag,
    HeaderName,
    HeaderValue,
    HostName,
    JsonPathText,
    JwksUrl,
    MessageSize,
    Method,
    Methods,
    Name,
    Network,
    Number,
    Origin,
    Part,
    PathPattern,
    PemFile,
    PlainUrl,
    PositiveCount,
    PositiveSize,
    ProbePath,
    Role,
    Scope,
    Seconds,
    SecondsFromZero,
    Sha256,
    Size,
    TemplateText,
    TierName,
    WholeNumber,
    is_address,
    refusal,
    refuse_places,
)


class Model(BaseModel):
    """Base of all configuration models: immutable, and strict about unknown keys."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, hide_input_in_errors=True
    )


def _allow_method_too(schema: dict[str, Any]) -> None:
    """``method: GET`` is another spelling of ``methods: [GET]``."""
    schema["properties"]["method"] = {
        "type": "string",
        "description": "an HTTP method in capitals like GET",
    }


# --- shared pieces ------------------------------------------------------------------------------


# While Redis can't be asked: each node admits its share; the limit does not hold; nothing passes.
OnStoreFailure = Literal["local", "open", "closed"]


# Redis's Lua has doubles: a larger allowance could not be counted exactly.
_MOST_ALLOWED = 150_000_000
_Rate = Annotated[PositiveCount, Field(le=_MOST_ALLOWED)]


def _exactly_countable(burst: int, info: ValidationInfo) -> int:
    most = _MOST_ALLOWED - (info.data.get("requests_per_minute") or 0)
    if burst > most:
        raise refusal(f"at most {_MOST_ALLOWED} together with requests_per_minute")
    return burst


_Burst = Annotated[Count, AfterValidator(_exactly_countable)]


class RateLimit(Model):
    """An allowance: a steady rate, and how many may come at once on top of it."""

    requests_per_minute: _Rate
    burst: _Burst = 0
    on_store_failure: OnStoreFailure = "local"


class AnyOrAll(Model):
    """A demand on a set of roles: at least one of ``any``, or every one of ``all``."""

    any: Annotated[tuple[Role, ...], Field(min_length=1)] | None = None
    all: Annotated[tuple[Role, ...], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.any is None) == (self.all is None):
            found = "both any and all" if self.any else "neither any nor all"
            raise refusal("one of the two", found)
        return self


class AnyOrAllScopes(AnyOrAll):
    """The same of scopes, which are shown in a header field."""

    any: Annotated[tuple[Scope, ...], Field(min_length=1)] | None = None
    all: Annotated[tuple[Scope, ...], Field(min_length=1)] | None = None


class IpFilter(Model):
    """Addresses that may enter (empty: all) and addresses that may not (wins over ``allow``)."""

    allow: tuple[Network, ...] = ()
    deny: tuple[Network, ...] = ()

    @field_validator("deny")
    @classmethod
    def _leaves_some(cls, value: tuple[Network, ...], info: ValidationInfo) -> tuple[Network, ...]:
        allow = info.data.get("allow", ())
        if allow and all_within(allow, value):
            raise refusal("networks that leave something of allow", "networks that cover allow")
        return value


class Cors(Model):
    """Cross-origin rules (Fetch standard); ``max_age`` in seconds.

    Without ``allow_methods`` all methods that have a route are allowed.
    """

    allow_origins: tuple[Origin, ...]
    allow_methods: tuple[Method, ...] = ()
    allow_headers: tuple[HeaderName, ...] = ()
    expose_headers: tuple[HeaderName, ...] = ()
    allow_credentials: Flag = False
    max_age: Count = 600
    allow_private_network: Flag = False

    @field_validator("allow_credentials")
    @classmethod
    def _no_wildcard_with_credentials(cls, value: bool, info: ValidationInfo) -> bool:
        """Fetch, "CORS protocol and credentials"; any site can make a page of the origin null."""
        for name in ("*", "null") if value else ():
            if name in info.data.get("allow_origins", ()):
                found = f'true beside the origin "{name}"'
                raise refusal("false, or origins by their names", found=found)
        for key in ("allow_headers", "expose_headers") if value else ():
            if "*" in info.data.get(key, ()):
                raise refusal("false, or header fields by their names", f'true beside "*" in {key}')
        return value


# --- routes.yaml --------------------------------------------------------------------------------


class Delivery(StrEnum):
    """What a crash may do to a request: repeat it, or leave its outcome unknown."""

    AUTO = "auto"  # by method: idempotent ones at least once, others at most once
    AT_LEAST_ONCE = "at_least_once"
    AT_MOST_ONCE = "at_most_once"


class RequestValidation(Model):
    """JSON Schemas (2020-12) for the parts of a request; ``log`` lets pass what does not fit."""

    query: dict[str, Any] | None = None
    headers: dict[str, Any] | None = None
    body: dict[str, Any] | Flag | None = None
    mode: Literal["enforce", "log"] = "enforce"

    @field_validator("query", "headers", "body")
    @classmethod
    def _is_a_schema(cls, value: Schema | None, info: ValidationInfo) -> Schema | None:
        if value is None:
            return None
        problems = schema_problems(value)
        if info.field_name != "body" and not problems:
            problems = list(object_problems(value))
        if info.field_name == "headers" and not problems:
            problems = list(spelling_problems(value))
        refuse_places(problems)
        return value

    @model_validator(mode="after")
    def _checks_something(self) -> Self:
        if self.query is None and self.headers is None and self.body is None:
            raise refusal("a schema for query, headers or body", "none of them")
        return self


def _as_rate_limit(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        return {"requests_per_minute": value}
    return value


_RateLimitOrNumber = Annotated[
    RateLimit | None,
    BeforeValidator(_as_rate_limit),
    Field(
        description=f"a whole number from 1 to {_MOST_ALLOWED}, or a mapping with "
        "requests_per_minute and burst"
    ),
]


class Hedge(Model):
    """Further calls while the first is late: how many at most, each after ``delay`` seconds."""

    delay: Seconds
    max: Annotated[WholeNumber, Field(ge=1, le=5)] = 1


class Route(Model):
    """Which requests go to which service, and under which rules."""

    model_config = ConfigDict(json_schema_extra=_allow_method_too)

    path: PathPattern
    # `method` and `methods` are two spellings of one thing; None means every method.
    methods: Annotated[
        Methods | None, Field(validation_alias=AliasChoices("methods", "method"))
    ] = None
    service: Annotated[Name, Field(description="the name of a service")]
    auth_required: Flag = True
    rate_limit: _RateLimitOrNumber = None
    rate_limit_cost: Annotated[PositiveCount, Field(le=1_000_000)] = 1
    timeout: Seconds = 30.0
    retry_count: Annotated[WholeNumber | None, Field(ge=0, le=20)] = None
    retry_on: tuple[Annotated[WholeNumber, Field(ge=400, le=599)], ...] = ()
    hedge: Hedge | None = None
    name: Annotated[str, Field(max_length=200)] = ""
    upstream_path: PathPattern | None = None
    roles: AnyOrAll | None = None
    scopes: AnyOrAllScopes | None = None
    priority: TierName = "inherit"
    delivery: Delivery = Delivery.AUTO
    async_mode: Annotated[Literal["never", "allowed", "always"], Field(alias="async")] = "never"
    max_body: Size | None = None
    validation: Annotated[RequestValidation | None, Field(alias="validate")] = None
    ip_filter: IpFilter | None = None
    cors: Cors | None = None
    when_open: Literal["hold", "fallback", "fail"] = "fallback"

    @field_validator("roles", "scopes")
    @classmethod
    def _of_known_callers(cls, value: AnyOrAll | None, info: ValidationInfo) -> AnyOrAll | None:
        if value is not None and info.data.get("auth_required") is False:
            raise refusal("it without auth_required: false", "it beside auth_required: false")
        return value

    @field_validator("path")
    @classmethod
    def _outside_of_reserved(cls, value: str) -> str:
        if is_reserved(value):
            raise refusal(
                "a path outside /auth/, /requests/ and /problems/: those are the gateway's"
            )
        return value

    @field_validator("upstream_path")
    @classmethod
    def _parameters_of_path(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None or "path" not in info.data:
            return value
        known = pattern_parameters(info.data["path"])
        if not set(pattern_parameters(value)) <= set(known):
            names = [name if name == REST else f"{{{name}}}" for name in known]
            raise refusal(
                f"the parameters of path, {', '.join(names)}"
                if names
                else "no parameters, as path has none"
            )
        return value

    @property
    def label(self) -> str:
        """The route's name, or ``METHOD path`` where it has none."""
        return self.name or f"{','.join(self.methods) if self.methods else 'ANY'} {self.path}"


# --- services.yaml ------------------------------------------------------------------------------


class Instance(Model):
    """One address of a service; ``weight`` is its share in weighted strategies."""

    url: PlainUrl
    weight: Annotated[WholeNumber, Field(ge=1, le=1000)] = 1
    zone: str | None = None

    @property
    def name(self) -> str:
        """Its address as text: what replies, logs, metrics and events call it."""
        return str(self.url).rstrip("/")


class Concurrency(Model):
    """How many calls one dispatcher has under way to one service; at most, where adaptive."""

    mode: Literal["fixed", "adaptive"] = "fixed"
    limit: Annotated[WholeNumber, Field(ge=1, le=10_000)] = 64


class HealthCheck(Model):
    """An active probe; ``interval`` and ``timeout`` in seconds, thresholds are probes in a row."""

    path: ProbePath = "/health"
    interval: Seconds = 30.0
    timeout: Seconds = 2.0
    healthy_threshold: PositiveCount = 2
    unhealthy_threshold: PositiveCount = 3


class LastGood(Model):
    """How many good answers are kept for bad times, and for how many seconds."""

    max_entries: PositiveCount = 1000
    max_bytes: PositiveSize = 16 * 1024**2
    max_age: Seconds = 3600.0


class CircuitBreakerOptions(Model):
    """When a service counts as failing, and what is answered meanwhile.

    ``failure_rate`` and ``slow_call_rate`` are parts of the calls of the last ``window`` seconds.
    """

    failure_threshold: PositiveCount = 5
    reset_timeout: Seconds = 60.0
    half_open_max_calls: PositiveCount = 1
    failure_rate: Part | None = None
    slow_call_rate: Part | None = None
    slow_call_duration: Seconds = 1.0
    window: Seconds = 60.0
    minimum_calls: PositiveCount = 20
    fallback_response: dict[str, Any] | None = None
    fallback_status: Annotated[WholeNumber, Field(ge=200, le=599)] = 503
    fallback_service: Annotated[Name | None, Field(description="the name of a service")] = None
    last_good: LastGood | None = None

    @field_validator("fallback_status")
    @classmethod
    def _can_have_a_body(cls, value: int, info: ValidationInfo) -> int:
        """RFC 9110 sections 15.3.5, 15.3.6 and 15.4.5."""
        if value in (204, 205, 304) and info.data.get("fallback_response") is not None:
            raise refusal("a status whose answers have bodies, as there is a fallback_response")
        return value


class Backoff(Model):
    """How long to wait before a retry: up to ``base`` seconds, each time twice that, to ``max``."""

    base: Seconds = 0.025
    max: Annotated[Seconds, Field(validate_default=True)] = 0.25

    @field_validator("max")
    @classmethod
    def _not_below_base(cls, value: float, info: ValidationInfo) -> float:
        base = info.data.get("base", value)
        if value < base:
            raise refusal(f"a number of seconds from base on, which is {base:g}", f"{value:g}")
        return value


class Discovery(Model):
    """Where the instances of a service come from.

    ``name`` and ``record`` are for DNS: what is looked up, if not the host of ``base_url``, and
    which records (absent: A, or AAAA where there are none). ``allow`` has the networks that the
    addresses of registered instances must be of.
    """

    type: Literal["static", "dns", "registry"] = "static"
    name: DnsName | None = None
    record: Literal["A", "AAAA", "SRV"] | None = None
    allow: tuple[Network, ...] = ()

    @field_validator("name", "record", "allow")
    @classmethod
    def _of_its_type(cls, value: object, info: ValidationInfo) -> object:
        owner = "registry" if info.field_name == "allow" else "dns"
        if value and info.data.get("type", owner) != owner:
            raise refusal(f"that key only beside type: {owner}")
        return value

    @field_validator("record")
    @classmethod
    def _services_have_names(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value == "SRV" and not info.data.get("name", value):
            raise refusal("SRV beside a name like _http._tcp.users.example")
        return value


def _looked_up(
    url: HttpUrl | None, instances: tuple[Instance, ...], discovery: Discovery
) -> HttpUrl | None:
    """The URL, if it and ``discovery`` tell together what is to be looked up, and its port."""
    if instances:
        raise refusal("base_url instead of instances, with discovery by dns", "instances")
    if url is None and discovery.record != "SRV":
        raise refusal("a URL: its scheme, port and path are those of the addresses found by dns")
    if url is not None and discovery.name is None and is_address(url.host or ""):
        raise refusal("a URL with a host name, as dns is asked for it")
    return url


class Connections(Model):
    """The connections of one dispatcher process to one instance; times are seconds.

    ``max_waiting`` counts calls that wait for a connection; ``connect_timeout`` is for the name,
    the connection and its TLS; ``read_timeout`` is the longest silence of an upstream that has the
    whole request, absent: as long as the call may take.
    """

    limit: Annotated[WholeNumber, Field(ge=1, le=10_000)] = 256
    max_waiting: Count = 1024
    idle_timeout: Seconds = 4.0
    connect_timeout: Seconds = 5.0
    read_timeout: Seconds | None = None


class ServiceTls(Model):
    """How https instances are met: who is trusted, what is shown, which name is asked for.

    Without ``ca`` the system's authorities are trusted, without ``server_name`` the certificate
    must be for the host of the URL.
    """

    ca: PemFile | None = None
    key: PemFile | None = None
    # After those that they depend on, as in Service.
    certificate: Annotated[PemFile | None, Field(validate_default=True)] = None
    server_name: HostName | None = None
    verify: Flag = True

    @field_validator("ca")
    @classmethod
    def _has_certificates(cls, value: str | None) -> str | None:
        if value is not None:
            check_authorities(value)
        return value

    @field_validator("certificate")
    @classmethod
    def _fits_its_key(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None and info.data.get("key") is not None:
            raise refusal("a PEM file, as there is a key")
        if value is not None and "key" in info.data:
            check_certificate(value, info.data["key"])
        return value

    @field_validator("verify")
    @classmethod
    def _leaves_no_ca_unused(cls, value: bool, info: ValidationInfo) -> bool:
        if not value and info.data.get("ca") is not None:
            raise refusal("true, or no ca", found="false beside ca")
        return value

    @property
    def files(self) -> tuple[str, ...]:
        """All that it names."""
        return tuple(file for file in (self.ca, self.certificate, self.key) if file is not None)


class Service(Model):
    """An upstream: where it is and how it wants to be called. ``max_response`` is of a body."""

    name: Name
    version: str = ""
    discovery: Discovery = Discovery()
    instances: tuple[Instance, ...] = ()
    # After those that it depends on: pydantic shows a validator only the fields before its own.
    base_url: Annotated[PlainUrl | None, Field(validate_default=True)] = None
    timeout: Seconds = 30.0
    retry_count: Annotated[WholeNumber, Field(ge=0, le=20)] = 0
    retry_backoff: Backoff = Backoff()
    metadata: dict[str, str] = {}
    strategy: Literal["round_robin", "least_connections", "weighted_round_robin", "adaptive"] = (
        "round_robin"
    )
    concurrency: Concurrency = Concurrency()
    connections: Connections = Connections()
    max_response: PositiveSize = 10 * 1024**2
    tls: ServiceTls | None = None
    health_check: HealthCheck | None = None
    circuit_breaker: CircuitBreakerOptions | None = None

    @field_validator("instances")
    @classmethod
    def _each_url_once(cls, value: tuple[Instance, ...]) -> tuple[Instance, ...]:
        if len({instance.url for instance in value}) < len(value):
            raise refusal("each url once", found="instances with the same url")
        return value

    @field_validator("base_url")
    @classmethod
    def _has_an_address(cls, value: PlainUrl | None, info: ValidationInfo) -> PlainUrl | None:
        if "instances" not in info.data or "discovery" not in info.data:
            return value
        instances, discovery = info.data["instances"], info.data["discovery"]
        if value is not None and instances:
            raise refusal("one of the two", found="instances beside it")
        if discovery.type == "dns":
            return _looked_up(value, instances, discovery)
        if value is None and not instances and discovery.type != "registry":
            raise refusal("a URL here, or instances")
        return value

    @field_validator("tls")
    @classmethod
    def _is_of_use(cls, value: ServiceTls | None, info: ValidationInfo) -> ServiceTls | None:
        urls = [info.data.get("base_url"), *(each.url for each in info.data.get("instances", ()))]
        if value is not None and any(url is not None and url.scheme == "http" for url in urls):
            raise refusal("https:// URLs beside it", found="an http:// URL beside it")
        return value

    @property
    def addresses(self) -> tuple[Instance, ...]:
        """The configured instances; ``base_url`` counts as one."""
        return self.instances or ((Instance(url=self.base_url),) if self.base_url else ())


# --- transforms.yaml ----------------------------------------------------------------------------


class Condition(Model):
    """Which exchanges a transform applies to; an absent key matches all.

    But without ``status`` only the bodies of successful answers are changed.
    """

    model_config = ConfigDict(json_schema_extra=_allow_method_too)

    path: PathPattern | None = None
    methods: Annotated[
        Methods | None, Field(validation_alias=AliasChoices("methods", "method"))
    ] = None
    status: tuple[Annotated[WholeNumber, Field(ge=100, le=599)], ...] | None = None


class HeaderChanges(Model):
    """Header fields to rename, then to remove, then to set."""

    set: dict[ChangeableHeader, HeaderValue] = {}
    remove: tuple[HeaderName, ...] = ()
    rename: dict[HeaderName, ChangeableHeader] = {}


class BodyTransform(Model):
    """Fields of a new object by JSONPath and by Jinja2 template, and changes of header fields."""

    jsonpath: dict[str, JsonPathText] = {}
    template: dict[str, TemplateText] = {}
    mode: Literal["replace", "merge"] = "replace"
    headers: HeaderChanges = HeaderChanges()

    @field_validator("template")
    @classmethod
    def _each_field_once(cls, value: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        for name in value:
            if name in info.data.get("jsonpath", ()):
                raise refusal("each field by one of the two", found=f"{name}, as in jsonpath")
        return value

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        headers = self.headers
        if not (self.jsonpath or self.template or headers.set or headers.remove or headers.rename):
            raise refusal("jsonpath, template, or changes of headers", "none of them")
        return self


class Transform(Model):
    """A named change of requests or responses that match its condition."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    condition: Condition = Condition()
    request_transform: BodyTransform | None = None
    response_transform: BodyTransform | None = None

    @model_validator(mode="after")
    def _has_an_effect(self) -> Self:
        if self.response_transform is None:
            if self.request_transform is None:
                raise refusal("request_transform, response_transform, or both", "neither")
            if self.condition.status is not None:
                raise refusal("it beside response_transform only", "condition.status")
        return self


# --- tiers.yaml ---------------------------------------------------------------------------------

_RateOrUnlimited = Annotated[
    _Rate | None,
    Field(
        description=f"a whole number of requests a minute from 1 to {_MOST_ALLOWED}, or null for "
        "no limit"
    ),
]


class Customer(Model):
    """What one customer of a tier was promised."""

    requests_per_minute: _RateOrUnlimited
    burst: _Burst = 0


class Tier(Model):
    """A class of callers: its allowance, its share of the dispatchers, the length of its queues.

    ``weight`` is the share against other tiers that have work; ``floor`` the least part of all
    turns (0 to 1); ``queue_limit`` counts messages per service.
    """

    requests_per_minute: _RateOrUnlimited
    burst: _Burst = 0
    on_store_failure: OnStoreFailure = "local"
    weight: Annotated[WholeNumber, Field(ge=1, le=1000)] = 1
    floor: Annotated[Number, Field(ge=0, le=1)] = 0.0
    queue_limit: PositiveCount = 1000
    customers: dict[str, Customer] = {}


DEFAULT_TIERS: dict[str, Tier] = {
    "FREE": Tier(requests_per_minute=60, burst=10, weight=1, floor=0.05, queue_limit=1000),
    "BASIC": Tier(requests_per_minute=300, burst=50, weight=3, queue_limit=2000),
    "PRO": Tier(requests_per_minute=1000, burst=100, weight=8, queue_limit=4000),
    "ENTERPRISE": Tier(requests_per_minute=None, weight=32, queue_limit=8000),
}


# --- gateway.yaml -------------------------------------------------------------------------------


class Client(Model):
    """A machine that may fetch tokens, known here by the SHA-256 of its secret."""

    id: Name
    secret_hash: Sha256
    tier: TierName = "FREE"
    roles: tuple[Role, ...] = ()
    scopes: tuple[Scope, ...] = ()
    customer: Annotated[str, Field(min_length=1, max_length=200)] | None = None


class ApiKey(Model):
    """A key that a machine sends as X-API-Key, known here by its SHA-256, and for whom it speaks.

    The subject is the ``id`` where none is given.
    """

    id: Name
    key_hash: Sha256
    subject: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    tier: TierName = "FREE"
    roles: tuple[Role, ...] = ()
    scopes: tuple[Scope, ...] = ()
    org: str | None = None


_CLAIMS = ("tier_claim", "roles_claim", "customer_claim")
# These mean something else in every token (RFC 7519, RFC 8693), or in the gateway's own.
_RESERVED_CLAIMS = ("sub", "exp", "iat", "nbf", "iss", "aud", "scope", "sid", "jti")
_ClaimValue = Annotated[str, Field(min_length=1, max_length=2048)]
_ClaimName = Annotated[str, Field(min_length=1, max_length=200, validate_default=True)]


class Auth(Model):
    """How callers are known; ``leeway`` and the lifetimes are seconds."""

    algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1)] = ("HS256",)
    issuer: _ClaimValue | None = None
    audience: _ClaimValue | None = None
    leeway: Annotated[Number, Field(ge=0, le=300)] = 30.0
    public_keys: tuple[FilePath, ...] = ()
    jwks_url: JwksUrl | None = None
    tier_claim: _ClaimName = "tier"
    roles_claim: _ClaimName = "roles"
    customer_claim: _ClaimName = "org"
    access_ttl: PositiveCount = 900
    refresh_ttl: PositiveCount = 1_209_600
    clients: tuple[Client, ...] = ()
    api_keys: tuple[ApiKey, ...] = ()

    @field_validator(*_CLAIMS)
    @classmethod
    def _means_one_thing(cls, value: str, info: ValidationInfo) -> str:
        if value in _RESERVED_CLAIMS:
            raise refusal(f"another name than {', '.join(_RESERVED_CLAIMS)}")
        for other in _CLAIMS:
            if info.data.get(other) == value:
                raise refusal("a claim of its own", f"{quoted(value)}, as in {other}")
        return value

    @field_validator("clients")
    @classmethod
    def _can_be_signed_for(
        cls, value: tuple[Client, ...], info: ValidationInfo
    ) -> tuple[Client, ...]:
        algorithms = info.data.get("algorithms", ())
        if value and algorithms and not any(name.startswith("HS") for name in algorithms):
            raise refusal(
                "an algorithm of secrets, like HS256, among auth.algorithms",
                "clients, and nothing to sign their tokens with",
            )
        return value

    @field_validator("jwks_url")
    @classmethod
    def _has_an_algorithm(cls, value: JwksUrl | None, info: ValidationInfo) -> JwksUrl | None:
        algorithms = info.data.get("algorithms", ())
        if value and algorithms and all(name.startswith("HS") for name in algorithms):
            raise refusal("an algorithm of public keys, like RS256, among auth.algorithms")
        return value

    @model_validator(mode="after")
    def _may_have_a_key(self) -> Self:
        """Whether there is a secret is said elsewhere; public keys are named here, or nowhere."""
        by_secret = any(name.startswith("HS") for name in self.algorithms)
        if not (by_secret or self.public_keys or self.jwks_url):
            found = f"algorithms of public keys alone ({', '.join(self.algorithms)}), and no keys"
            raise refusal("public_keys or jwks_url beside them", found)
        return self


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
    requests_per_minute: _Rate
    burst: _Burst = 0
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
