"""Request header fields that do not go on to services, so that a route's schema never sees them."""

from collections.abc import Iterator

from config.faults import Problem, quoted
from config.schemas import Schema

HOP_BY_HOP = (
    *("connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"),
    *("http2-settings", "proxy-authenticate", "proxy-authentication-info"),
    *("proxy-authorization", "proxy-connection"),
    "proxy",  # would reach CGI as HTTP_PROXY
)
SET_BY_THE_CALLER = (
    *("host", "content-length", "expect", "x-request-deadline-ms", "x-request-attempt"),
)
# From trusted proxies they go on, and so does all else that begins as FORWARDED does.
ORIGIN = ("forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host")
ORIGIN_HINTS = (
    *("x-forwarded-port", "x-forwarded-prefix", "x-forwarded-server", "x-forwarded-ssl"),
    *("x-real-ip", "x-client-ip", "x-cluster-client-ip", "client-ip", "true-client-ip"),
    *("cf-connecting-ip", "x-envoy-external-address", "x-original-forwarded-for"),
    *("x-original-url", "x-original-uri", "x-original-host", "x-original-method"),
    *("x-rewrite-url", "x-url-scheme", "front-end-https"),
)
FORWARDED = "x-forwarded"

_NEVER = frozenset(HOP_BY_HOP + SET_BY_THE_CALLER)


def demanded_in_vain(schema: Schema) -> Iterator[Problem]:
    """Fields that a schema for header fields requires, and that no request ever has there."""
    required = schema.get("required", ()) if isinstance(schema, dict) else ()
    for index, name in enumerate(required):
        if never_goes_on(name):
            found = f"{quoted(name)}, which never goes on to a service"
            yield Problem(("required", index), found, "fields that do: only these are validated")


def never_goes_on(name: str) -> bool:
    """Whether no request has the field behind the gateway, whoever sends it."""
    return _folded(name) in _NEVER


def is_of_api_keys(name: str) -> bool:
    """Whether the field is the gateway's own where there are API keys."""
    return _folded(name) == "x-api-key"


def is_of_proxies(name: str) -> bool:
    """Whether the field goes on from trusted proxies only, and is not set by the gateway."""
    name = _folded(name)
    return name in ORIGIN_HINTS or (name.startswith(FORWARDED) and name not in ORIGIN)


def _folded(name: str) -> str:
    return name.lower().replace("_", "-")
