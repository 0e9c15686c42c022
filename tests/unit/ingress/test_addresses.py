"""Addresses have one form, and a set of networks is asked quickly and rightly."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.networks import Network
from ingress.addresses import Networks, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::FFFF:c000:201", "192.0.2.1"),
        ("0:0:0:0:0:ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_one_form(text: str, address: str) -> None:
    """A mapped IPv4 address is the IPv4 address (RFC 4291 section 2.5.5.2), zones fall away."""
    assert parse_address(text) == ip_address(address)


@pytest.mark.parametrize(
    "text",
    [
        *("", "unknown", "192.0.2.256", "192.0.2", "192.0.02.1", "0xC0000201", "3221225985"),
        *(" 192.0.2.1", "192.0.2.1 ", "192.0.2.1%eth0", "192.0.2.1/32", "[::1]", "1::2::3", "::1%"),
        *("١٩٢.0.2.1", "192.0.2.1\x00", "/run/gateway.sock"),
    ],
)
def test_what_is_no_address(text: str) -> None:
    """Spellings that readers could take for different things are no addresses."""
    assert parse_address(text) is None


def test_mapped_networks() -> None:
    """A network of mapped addresses is that of the IPv4 addresses in it; ::/0 has IPv6 alone."""
    mapped = Networks([ip_network("::ffff:10.0.0.0/104")])
    assert IPv4Address("10.255.0.1") in mapped
    assert IPv4Address("11.0.0.1") not in mapped
    assert IPv4Address("10.0.0.1") not in Networks([ip_network("::/0")])
    assert IPv6Address("2001:db8::1") in Networks([ip_network("::/0")])


def test_no_networks() -> None:
    """An empty set has nobody."""
    assert IPv4Address("0.0.0.0") not in Networks([])


_SMALL = st.integers(0, 255)  # few addresses, so that hits and misses both occur
_V4 = st.tuples(_SMALL, st.integers(22, 32)).map(
    lambda parts: ip_network((0x0A000000 + parts[0], parts[1]), strict=False)
)
_V6 = st.tuples(_SMALL, st.integers(118, 128)).map(
    lambda parts: ip_network(((0x2001 << 112) + parts[0], parts[1]), strict=False)
)
_ADDRESSES = _SMALL.map(lambda n: IPv4Address(0x0A000000 + n)) | _SMALL.map(
    lambda n: IPv6Address((0x2001 << 112) + n)
)


@given(st.lists(_V4 | _V6, max_size=8), _ADDRESSES)
def test_agrees_with_asking_each(
    networks: list[Network], address: IPv4Address | IPv6Address
) -> None:
    """The set has an address exactly where one of its networks has it."""
    assert (address in Networks(networks)) == any(address in network for network in networks)
