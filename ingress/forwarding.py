"""The header fields that go on to the upstream (RFC 9110 section 7.6).

What concerns one connection only is taken off, what the gateway alone may say is replaced, and all
else passes in its order, with its duplicates and its spelling. Authorization passes too.
"""

from collections.abc import Collection, Iterable
from enum import Enum, auto
from urllib.parse import quote

from broker.messages import Headers, Principal
from broker.problems import ProblemType
from config.header_fields import (
    FOLD,
    FORWARDED,
    HOP_BY_HOP,
    ORIGIN,
    ORIGIN_HINTS,
    SET_BY_INGRESS,
    SET_BY_THE_CALLER,
)
from ingress.origin import Origins
from ingress.problems import Refused
from ingress.request import Request

_CACHE_SIZE = 4096


class _Rule(Enum):
    DROP = auto()
    ONCE = auto()  # passes, but two of them could be read differently by two readers
    ASIDE = auto()  # looked at when all fields are known


_FORWARDED = FORWARDED.encode()


def _ruled(names: Iterable[str], rule: _Rule) -> dict[bytes, _Rule]:
    return {name.encode(): rule for name in names}


_FROM_TRUSTED_PROXY = {
    **_ruled(HOP_BY_HOP + SET_BY_THE_CALLER + SET_BY_INGRESS, _Rule.DROP),
    **_ruled(("connection", *ORIGIN), _Rule.ASIDE),
    b"authorization": _Rule.ONCE,
}
_FROM_ANYBODY = _FROM_TRUSTED_PROXY | _ruled(ORIGIN + ORIGIN_HINTS, _Rule.DROP)
# What no Connection field takes away: the gateway vouches for it, a trace relies on it, or it is
# why the gateway may send a request twice.
_STAYS = frozenset((b"via", b"traceparent", b"tracestate", b"idempotency-key")) | {
    name.encode() for name in ORIGIN_HINTS
}
_ABOUT_THE_CONNECTION = frozenset((b"keep-alive", b"close", b""))

# Visible ASCII but `%`, which marks what was encoded; in a list of roles, `,` separates.
_PLAIN_IN_ROLES = "!\"#$&'()*+/:;<=>?@[\\]^`{|}"
_PLAIN_IN_SUBJECT = _PLAIN_IN_ROLES + ","


class Forwarding:
    """Makes the header fields for upstreams; ``withheld`` are names of fields that don't pass."""

    def __init__(self, origins: Origins, withheld: Collection[str] = ()) -> None:
        self._origins = origins
        dropped = {name.encode().translate(FOLD): _Rule.DROP for name in withheld}
        self._from_trusted_proxy = _FROM_TRUSTED_PROXY | dropped
        self._from_anybody = _FROM_ANYBODY | dropped
        self._identities: dict[Principal, Headers] = {}

    def request_headers(
        self, request: Request, principal: Principal | None, request_id: str
    ) -> Headers:
        """All fields but Host, lengths and deadline. Raises Refused (400)."""
        host = request.headers.get("Host") or ""
        origin = self._origins.of(request.peer, request.scheme, host)
        rules = self._from_trusted_proxy if origin.trusted else self._from_anybody
        kept, aside = _sort(request.raw_headers, rules, believed=origin.trusted)
        if aside and (options := _connection_options(aside)):
            kept = [pair for pair in kept if pair[0].lower() not in options]
        kept += origin.completed(aside) if origin.trusted else origin.headers
        if principal is not None:
            kept += self._identity(principal)
        kept.append((b"X-Request-ID", request_id.encode()))
        return tuple(kept)

    def _identity(self, principal: Principal) -> Headers:
        headers = self._identities.get(principal)
        if headers is None:
            if len(self._identities) >= _CACHE_SIZE:
                self._identities.clear()
            headers = self._identities[principal] = identity_headers(principal)
        return headers


def identity_headers(principal: Principal) -> Headers:
    """X-User-Id, -Tier and -Roles; what is not visible ASCII is percent-encoded, as UTF-8."""
    fields = [
        (b"X-User-Id", quote(principal.subject, safe=_PLAIN_IN_SUBJECT).encode()),
        (b"X-User-Tier", quote(principal.tier, safe=_PLAIN_IN_SUBJECT).encode()),
    ]
    if principal.roles:
        roles = ",".join([quote(role, safe=_PLAIN_IN_ROLES) for role in principal.roles])
        fields.append((b"X-User-Roles", roles.encode()))
    return tuple(fields)


def _sort(
    headers: Headers, rules: dict[bytes, _Rule], *, believed: bool
) -> tuple[list[tuple[bytes, bytes]], dict[bytes, list[bytes]]]:
    """The fields that pass, and the values of those set aside, by lowercase name.

    Unless its sender is believed, nothing passes that begins as X-Forwarded-For does: there are
    more of these than anybody has listed.
    """
    kept: list[tuple[bytes, bytes]] = []
    aside: dict[bytes, list[bytes]] = {}
    authorized = False
    for pair in headers:
        name = pair[0].translate(FOLD)
        rule = rules.get(name)
        if rule is None:
            if believed or not name.startswith(_FORWARDED):
                kept.append(pair)
        elif rule is _Rule.ONCE:
            if authorized:
                raise Refused(ProblemType.BAD_REQUEST, "There are several Authorization fields.")
            authorized = True
            kept.append(pair)
        elif rule is _Rule.ASIDE and name == pair[0].lower():
            aside.setdefault(name, []).append(pair[1])
    return kept, aside


def _connection_options(aside: dict[bytes, list[bytes]]) -> set[bytes]:
    """The fields that Connection names and may take away, in lowercase."""
    values = aside.get(b"connection", ())
    options = {option.strip() for value in values for option in value.lower().split(b",")}
    return options - _ABOUT_THE_CONNECTION - _STAYS
