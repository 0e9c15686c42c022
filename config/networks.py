"""Networks of IPv4 and IPv6 addresses: what they are the same as, and what lies within what."""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, collapse_addresses

Network = IPv4Network | IPv6Network

_MAPPED = 96  # bits before the IPv4 address in ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2)


def unmapped(network: Network) -> Network:
    """The network of IPv4 that one of mapped addresses (``::ffff:a.b.c.d``) is; others as given."""
    if isinstance(network, IPv6Network) and network.prefixlen >= _MAPPED:
        address = network.network_address.ipv4_mapped
        if address is not None:
            return IPv4Network((int(address), network.prefixlen - _MAPPED))
    return network


def all_within(inner: Iterable[Network], outer: Iterable[Network]) -> bool:
    """Whether every address of the first is in one of the second."""
    networks = [unmapped(each) for each in outer]
    v4 = list(collapse_addresses([each for each in networks if isinstance(each, IPv4Network)]))
    v6 = list(collapse_addresses([each for each in networks if isinstance(each, IPv6Network)]))
    return all(
        any(each.subnet_of(other) for other in v4)
        if isinstance(each, IPv4Network)
        else any(each.subnet_of(other) for other in v6)
        for each in map(unmapped, inner)
    )
