"""Header fields with a meaning of their own at the gateway, and when two names are one."""

from string import ascii_lowercase, ascii_uppercase

# Folds case, and `_` and its like to `-`: servers that hand fields on as variables do the same, so
# that X_User_Id would become X-User-Id behind the gateway.
_PUNCTUATION = "!#$%&'*+.^_`|~"
FOLD = bytes.maketrans(
    (ascii_uppercase + _PUNCTUATION).encode(), (ascii_lowercase + "-" * len(_PUNCTUATION)).encode()
)

API_KEY = "X-API-Key"  # goes on only where there are no API keys
# What follows is folded.
HOP_BY_HOP = (
    *("connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"),
    *("http2-settings", "proxy-authenticate", "proxy-authentication-info"),
    *("proxy-authorization", "proxy-connection"),
    "proxy",  # would reach CGI as HTTP_PROXY
)
SET_BY_THE_CALLER = (
    *("host", "content-length", "expect", "x-request-deadline-ms", "x-request-attempt"),
)
SET_BY_INGRESS = ("x-user-id", "x-user-tier", "x-user-roles", "x-request-id")
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


def folded(name: str) -> str:
    """A name as every reader takes it: ``X_Id`` as ``x-id``."""
    return name.encode().translate(FOLD).decode()


def never_goes_on(name: str) -> bool:
    """Whether no request has the field behind the gateway, whoever sends it."""
    return folded(name) in _NEVER


def is_of_api_keys(name: str) -> bool:
    """Whether the field is the gateway's own where there are API keys."""
    return folded(name) == folded(API_KEY)


def is_of_proxies(name: str) -> bool:
    """Whether the field goes on from trusted proxies only, and is not set by the gateway."""
    name = folded(name)
    return name in ORIGIN_HINTS or (name.startswith(FORWARDED) and name not in ORIGIN)
