"""Under which key a request is counted.

A key is ``rl:{home}|who|what``. Of all that is counted for a caller the home is the same, so that a
Redis Cluster keeps it in one slot (it hashes what stands in the braces) and can check it in one
script call. What is counted for an address or a header is its own home, whoever comes with it.
"""

import hashlib
import ipaddress
import re

from broker.messages import Principal
from ingress.addresses import Address

_is_plain = re.compile(r"[A-Za-z0-9@._:+=/-]{1,80}").fullmatch
_IPV6_SITE = 64  # bits; what one subscriber is given, at least


def identity(kind: str, value: str) -> str:
    """A subject, customer, address or header as a part of a key; a digest of what is not plain."""
    if _is_plain(value) is None:
        data = value.encode(errors="surrogatepass")
        value = "#" + hashlib.blake2b(data, digest_size=16).hexdigest()
    return f"{kind}:{value}"


def address_identity(address: Address | None) -> str:
    """A client's address, if it is known; of IPv6, its site, as a client has all that is in it."""
    if isinstance(address, ipaddress.IPv6Address):
        return identity("ip", str(ipaddress.ip_network((address, _IPV6_SITE), strict=False)))
    return identity("ip", str(address or "unknown"))


def home_of(principal: Principal) -> str:
    """Where all that is counted for a caller, or kept of it, has its keys: with its customer."""
    if principal.customer:
        return identity("org", principal.customer)
    return identity("sub", principal.subject)


def key(home: str, who: str, what: str) -> bytes:
    """The key of what is counted for ``who``, both made by ``identity``."""
    return f"rl:{{{home}}}|{who}|{what}".encode(errors="surrogatepass")


def tag_of(key: bytes) -> bytes:
    """The part of a key by which a Redis Cluster finds its slot: what the first braces hold."""
    _, opened, rest = key.partition(b"{")
    tag, closed, _ = rest.partition(b"}")
    return tag if opened and closed and tag else key
