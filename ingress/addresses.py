"""IP addresses and networks, as filters and trusted proxies need them."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address

from config.networks import Network, unmapped

Address = IPv4Address | IPv6Address


def parse_address(text: str) -> Address | None:
    """The address that a text is, without its zone; None where it is none.

    One of IPv4 that is written as IPv6 (``::ffff:a.b.c.d``), as a dual-stack socket shows it, is
    the IPv4 address.
    """
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        return address.ipv4_mapped or IPv6Address(int(address))
    return address


class Networks:
    """A set of networks, asked whether an address is in one of them.

    It takes a step for each prefix length that occurs (at most 33, or 129), however many networks
    there are. A network of mapped IPv4 addresses is the network of those.
    """

    def __init__(self, networks: Iterable[Network]) -> None:
        self._blocks: dict[int, dict[int, set[int]]] = {4: {}, 6: {}}
        for network in map(unmapped, networks):
            shift = network.max_prefixlen - network.prefixlen
            blocks = self._blocks[network.version].setdefault(shift, set())
            blocks.add(int(network.network_address) >> shift)

    def __contains__(self, address: Address) -> bool:
        number = int(address)
        by_shift = self._blocks[address.version]
        return any(number >> shift in blocks for shift, blocks in by_shift.items())
