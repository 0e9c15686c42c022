"""Where a request came from: who the client is, and what the upstream is told about it.

Told it is by Via, Forwarded (RFC 7239) and X-Forwarded-*. What comes in under such names counts
only if the peer is a trusted proxy.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import NamedTuple

from broker.messages import Headers
from broker.problems import ProblemType
from config.values import Network
from ingress.addresses import Address, Networks
from ingress.forwarded import forwarded_nodes, node_address
from ingress.problems import Refused

_CACHE_SIZE = 4096
_LONGEST_NODE = 64  # characters; longer ones are not remembered
_BOTH = ""
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


class _Hop(NamedTuple):
    """One station on the way; the address is None where it can't be read."""

    address: Address | None
    trusted: bool


class Origins:
    """Tells where requests come from; remembers the last few thousand answers.

    ``trusted_proxies`` are the networks of proxies whose word counts, or how many of them stand in
    front of this gateway; any number above 0 makes the peer one.
    """

    def __init__(self, trusted_proxies: Sequence[Network] | int) -> None:
        self._depth = trusted_proxies if isinstance(trusted_proxies, int) else None
        self._proxies = Networks(() if isinstance(trusted_proxies, int) else trusted_proxies)
        self._known: dict[tuple[str, str, str], Origin] = {}
        self._hops: dict[str, _Hop] = {}
        self._writes: dict[str, str] = {}  # by peer: the field that came without the other

    def of(self, peer: str, scheme: str, host: str) -> Origin:
        """The origin of a request; its Host field may be empty. Raises Refused (400)."""
        key = (peer, scheme, host)
        origin = self._known.get(key)
        if origin is None:
            if len(self._known) >= _CACHE_SIZE:
                self._known.clear()
            origin = self._known[key] = self._describe(peer, scheme, host)
        return origin

    def client(self, peer: str, headers: Headers) -> Address | None:
        """The address of the client; None where it can't be told for sure.

        That is the peer, unless the peer is a trusted proxy. Then the list in X-Forwarded-For or
        Forwarded is walked from its right end: as many steps as there are proxies, or on to the
        first address that is not a proxy's. It can't be told where a list is shorter than that, an
        address on the way can't be read, or the two fields tell of different clients: proxies write
        one of them, and who stands before them can write the other.
        """
        hop = self._hop(peer)
        if not hop.trusted:
            return hop.address
        nearest, *others = forwarded_nodes(headers).values() or [[]]
        client = self._walk(hop, nearest)
        return client if all(self._walk(hop, nodes) == client for nodes in others) else None

    def accountable(self, peer: str, headers: Headers) -> Address | None:
        """The address that a request is counted under; None only for a peer that has none.

        It is the client's where that is sure. Else it is the last one on the way that is, so that
        nobody gets a second allowance by a field or a node that can't be believed. Where the two
        fields tell of different clients, the one counts that this peer writes: a proxy writes it
        on every request, so the other came alone from it never. Until that is known, and where
        both have come alone, the peer itself is counted.
        """
        hop = self._hop(peer)
        if not hop.trusted:
            return hop.address
        lists = forwarded_nodes(headers)
        sure = {field: self._last_sure(hop, nodes) for field, nodes in lists.items()}
        if len(sure) == 1:
            self._learn(peer, *sure)
        addresses = set(sure.values())
        if len(addresses) == 1:
            return addresses.pop()
        return sure.get(self._writes.get(peer, _BOTH), hop.address)

    def _last_sure(self, hop: _Hop, nodes: list[str]) -> Address | None:
        if self._depth is not None:
            if len(nodes) < self._depth:
                return hop.address
            nodes = nodes[: self._depth]
        for node in nodes:
            if self._depth is None and not hop.trusted:
                break
            further = self._hop(node)
            if further.address is None:
                break
            hop = further
        return hop.address

    def _learn(self, peer: str, field: str) -> None:
        """A field came without the other, which this peer then does not write."""
        if len(self._writes) >= _CACHE_SIZE:
            self._writes.clear()
        if len(peer) <= _LONGEST_NODE and self._writes.setdefault(peer, field) != field:
            self._writes[peer] = _BOTH

    def _walk(self, hop: _Hop, nodes: list[str]) -> Address | None:
        if self._depth is not None:
            return self._hop(nodes[self._depth - 1]).address if len(nodes) >= self._depth else None
        for node in nodes:
            if not hop.trusted:
                break
            hop = self._hop(node)
        return hop.address

    def _hop(self, node: str) -> _Hop:
        hop = self._hops.get(node)
        if hop is None:
            address = node_address(node)
            hop = _Hop(address, self._trusts(address))
            if len(self._hops) >= _CACHE_SIZE:
                self._hops.clear()
            if len(node) <= _LONGEST_NODE:
                self._hops[node] = hop
        return hop

    def _describe(self, peer: str, scheme: str, host: str) -> Origin:
        if _is_host(host) is None:
            raise Refused(ProblemType.BAD_REQUEST, "The Host field is malformed.")
        address = self._hop(peer).address
        fields = [
            (b"Forwarded", _forwarded(address, scheme, host)),
            (b"X-Forwarded-For", str(address or "unknown").encode()),
            (b"X-Forwarded-Proto", scheme.encode()),
        ]
        if host:
            fields.append((b"X-Forwarded-Host", host.encode()))
        statements = {field[0].lower(): field for field in fields}
        return Origin(self._trusts(address), statements, (_VIA, *fields))

    def _trusts(self, address: Address | None) -> bool:
        if self._depth is not None:
            return self._depth > 0
        return address is not None and address in self._proxies


def _forwarded(address: Address | None, scheme: str, host: str) -> bytes:
    """A forwarded-element; what is no token must be quoted (RFC 7239 section 4)."""
    node = f'"[{address}]"' if isinstance(address, IPv6Address) else address or "unknown"
    named_host = f';host="{host}"' if host else ""
    return f"for={node}{named_host};proto={scheme}".encode()
