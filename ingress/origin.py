"""Where a request came from, as told to the upstream: Via, Forwarded (RFC 7239), X-Forwarded-*.

What the client says about it itself counts only if the peer is a trusted proxy.
"""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from broker.messages import Headers
from broker.problems import ProblemType
from config.values import Network
from ingress.problems import Refused

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_CACHE_SIZE = 4096
_VIA = (b"Via", b"1.1 api-gateway")
_is_host = re.compile(r"[A-Za-z0-9._~:%!$&'()*+,;=\[\]-]{0,300}").fullmatch


@dataclass(frozen=True, slots=True, eq=False)
class Origin:
    """What the gateway knows of one peer, and the header fields that say so."""

    trusted: bool
    statements: Mapping[bytes, tuple[bytes, bytes]]  # lowercase name to field
    headers: Headers

    def completed(self, given: Mapping[bytes, Sequence[bytes]]) -> Headers:
        """The fields with what a trusted proxy has ``given``, by lowercase name."""
        fields = [_VIA]
        for key, (name, own) in self.statements.items():
            values = list(given.get(key, ()))
            if not values or key in (b"forwarded", b"x-forwarded-for"):  # each proxy adds its peer
                values.append(own)
            fields.append((name, b", ".join(values)))
        return tuple(fields)


class Origins:
    """Tells where requests come from; remembers the last few thousand answers.

    ``trusted_proxies`` are the networks of proxies whose word counts, or how many of them stand in
    front of this gateway; any number above 0 makes the peer one.
    """

    def __init__(self, trusted_proxies: Sequence[Network] | int) -> None:
        self._trusted_proxies = trusted_proxies
        self._known: dict[tuple[str, str, str], Origin] = {}

    def of(self, peer: str, scheme: str, host: str) -> Origin:
        """The origin of a request; its Host field may be empty. Raises Refused (400)."""
        key = (peer, scheme, host)
        origin = self._known.get(key)
        if origin is None:
            if len(self._known) >= _CACHE_SIZE:
                self._known.clear()
            origin = self._known[key] = self._describe(peer, scheme, host)
        return origin

    def _describe(self, peer: str, scheme: str, host: str) -> Origin:
        if _is_host(host) is None:
            raise Refused(ProblemType.BAD_REQUEST, "The Host field is malformed.")
        address = _parse(peer)
        fields = [
            (b"Forwarded", _forwarded(address, scheme, host)),
            (b"X-Forwarded-For", str(address or "unknown").encode()),
            (b"X-Forwarded-Proto", scheme.encode()),
        ]
        if host:
            fields.append((b"X-Forwarded-Host", host.encode()))
        statements = {field[0].lower(): field for field in fields}
        return Origin(self._trusts(address), statements, (_VIA, *fields))

    def _trusts(self, address: _Address | None) -> bool:
        if isinstance(self._trusted_proxies, int):
            return self._trusted_proxies > 0
        return address is not None and any(address in net for net in self._trusted_proxies)


def _parse(peer: str) -> _Address | None:
    """The address of a peer; one of IPv4 that a dual-stack socket shows as IPv6 is told as IPv4."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _forwarded(address: _Address | None, scheme: str, host: str) -> bytes:
    """A forwarded-element; what is no token must be quoted (RFC 7239 section 4)."""
    node = f'"[{address}]"' if isinstance(address, ipaddress.IPv6Address) else address or "unknown"
    named_host = f';host="{host}"' if host else ""
    return f"for={node}{named_host};proto={scheme}".encode()
