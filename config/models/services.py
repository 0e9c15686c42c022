"""services.yaml: where the upstreams are, and how they are called."""

from typing import Annotated, Any, Literal

from pydantic import Field, HttpUrl, ValidationInfo, field_validator

from config.models.base import Model
from config.tls import check_authorities, check_certificate
from config.values import (
    Count,
    DnsName,
    Flag,
    HostName,
    Name,
    Network,
    Part,
    PemFile,
    PlainUrl,
    PositiveCount,
    PositiveSize,
    ProbePath,
    Seconds,
    WholeNumber,
    is_address,
    refusal,
)


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
