"""Which other sites' pages may ask, and read the answers: the CORS protocol of the Fetch standard.

The browser is who refuses; the gateway says what is allowed, on preflights and on every answer.
"""

import re
from typing import NamedTuple

from broker.messages import Headers
from config.models.origins import Cors
from ingress.problems import Forbidden
from ingress.request import HeaderLookup

_ANY = "*"
_VARY = b"vary"
_CORS_FIELDS = b"access-control-"
_BY_ORIGIN = (b"Vary", b"Origin")
_BY_PREFLIGHT = (
    b"Vary",
    b"Origin, Access-Control-Request-Method, Access-Control-Request-Private-Network",
)
_ALLOW_ANY_ORIGIN = (b"Access-Control-Allow-Origin", b"*")
_ALLOW_CREDENTIALS = (b"Access-Control-Allow-Credentials", b"true")
_ALLOW_PRIVATE_NETWORK = (b"Access-Control-Allow-Private-Network", b"true")
# A host's first label may stand for `*`; whatever else a client writes there is not sent back.
_is_label = re.compile(r"[a-z0-9_-]{1,63}").fullmatch
_is_method = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}").fullmatch  # RFC 9110 section 9.1


class Preflight(NamedTuple):
    """A CORS-preflight request: who wants to ask, by which method, and whether from outside."""

    origin: str
    method: str
    into_private_network: bool


def read_preflight(method: str, headers: HeaderLookup) -> Preflight | None:
    """What a request asks permission for, or None where it is no preflight.

    Fetch, "CORS-preflight fetch"; Private Network Access, "CORS preflight".
    """
    if method != "OPTIONS":
        return None
    origin = headers.get("Origin")
    wanted = headers.get("Access-Control-Request-Method")
    if origin is None or wanted is None or _is_method(wanted) is None:
        return None
    from_outside = headers.get("Access-Control-Request-Private-Network") == "true"
    return Preflight(origin, wanted, from_outside)


class CorsPolicy:
    """Says on answers who may read them, and answers preflights."""

    def __init__(self, rules: Cors) -> None:
        self._any_origin = _ANY in rules.allow_origins
        self._patterns = frozenset(each for each in rules.allow_origins if "://*." in each)
        self._origins = frozenset(rules.allow_origins) - self._patterns
        self._with_every_answer = _credentials(rules) + _list(
            "Expose-Headers", rules.expose_headers
        )
        self._with_preflights = (
            *_credentials(rules),
            *_list("Allow-Headers", rules.allow_headers),
            (b"Access-Control-Max-Age", b"%d" % rules.max_age),
        )
        self._methods = ", ".join(rules.allow_methods).encode()
        self._private_network = rules.allow_private_network

    def answered(self, origin: str | None, headers: Headers) -> Headers:
        """The fields of an answer to a request of that origin, without rules of the upstream's own.

        Fetch, "CORS check" and "CORS protocol and HTTP caches".
        """
        kept = tuple(pair for pair in headers if not pair[0].lower().startswith(_CORS_FIELDS))
        if self._any_origin:
            return (*kept, _ALLOW_ANY_ORIGIN, *self._with_every_answer)
        if origin is not None and self._allows(origin):
            kept += (_allow_origin(origin), *self._with_every_answer)
        return kept if _varies(kept) else (*kept, _BY_ORIGIN)

    def preflight(self, asked: Preflight) -> Headers:
        """The fields of the answer to a preflight.

        Methods and header fields are for the browser to compare. Raises Refused (403) for an origin
        that may ask nothing: Fetch, "HTTP responses".
        """
        if not self._allows(asked.origin):
            detail = "Pages of this origin may not make this request."
            raise Forbidden("cors", detail, who=asked.origin, headers=(_BY_PREFLIGHT,))
        private = self._private_network and asked.into_private_network
        return (
            _BY_PREFLIGHT,
            _ALLOW_ANY_ORIGIN if self._any_origin else _allow_origin(asked.origin),
            (b"Access-Control-Allow-Methods", self._methods or asked.method.encode()),
            *self._with_preflights,
            *((_ALLOW_PRIVATE_NETWORK,) if private else ()),
        )

    def _allows(self, origin: str) -> bool:
        return self._any_origin or origin in self._origins or self._has_pattern(origin)

    def _has_pattern(self, origin: str) -> bool:
        """Whether it is one of ``https://*.example.com``, where ``*`` is exactly one label."""
        scheme, _, host = origin.partition("://")
        label, _, domain = host.partition(".")
        return f"{scheme}://*.{domain}" in self._patterns and _is_label(label) is not None


def cors_policy(rules: Cors | None) -> CorsPolicy | None:
    """The policy for these rules, if there are any."""
    return None if rules is None else CorsPolicy(rules)


def _allow_origin(origin: str) -> tuple[bytes, bytes]:
    return (b"Access-Control-Allow-Origin", origin.encode())


def _credentials(rules: Cors) -> Headers:
    return (_ALLOW_CREDENTIALS,) if rules.allow_credentials else ()


def _list(name: str, values: tuple[str, ...]) -> Headers:
    field = f"Access-Control-{name}".encode()
    return ((field, ", ".join(values).encode()),) if values else ()


def _varies(headers: Headers) -> bool:
    """Whether a Vary field says already that the origin matters (RFC 9110 section 12.5.5)."""
    named = b",".join(value for name, value in headers if name.lower() == _VARY).lower().split(b",")
    return any(field.strip() in (b"origin", b"*") for field in named)
