"""Keys tell callers apart, hold no secrets, and stay together in a cluster."""

from ipaddress import ip_address

import pytest

from ingress.limits.keys import address_identity, identity, key, tag_of


def test_one_slot_for_a_caller() -> None:
    """All that is counted for a caller has the same hash tag: what is in the first braces."""
    own, customer = identity("sub", "alice"), identity("org", "acme")
    assert key(customer, customer, "tier") == b"rl:{org:acme}|org:acme|tier"
    assert key(customer, own, "route:r {id}") == b"rl:{org:acme}|sub:alice|route:r {id}"


@pytest.mark.parametrize(
    ("whole", "tag"),
    [
        (b"rl:{org:acme}|sub:a|tier", b"org:acme"),
        (b"a{b}{c}", b"b"),
        (b"{}a{b}", b"{}a{b}"),
        (b"a{b", b"a{b"),
        (b"ab}c", b"ab}c"),
    ],
)
def test_hash_tags(whole: bytes, tag: bytes) -> None:
    """As the specification of Redis Cluster has them: the whole key where there is none."""
    assert tag_of(whole) == tag


@pytest.mark.parametrize(
    "strange", ["a}b", "a|b", "{", "x" * 81, "\u00e9", "\ud800", "", "a b", "#a"]
)
def test_strange_names(strange: str) -> None:
    """What could break out of its place, or is long, is a digest; another name, another digest."""
    found = identity("sub", strange)
    assert found.startswith("sub:#")
    assert len(found) == 5 + 32
    assert found != identity("sub", strange + "'")


def test_kinds_do_not_meet() -> None:
    """A subject that calls itself by an address is not that address."""
    assert identity("sub", "192.0.2.1") != address_identity(ip_address("192.0.2.1"))


def test_ipv6_is_counted_by_site() -> None:
    """A client can't get around a limit by the other addresses that it has."""
    one, other = ip_address("2001:db8::1"), ip_address("2001:db8::ffff:2")
    assert address_identity(one) == address_identity(other) == "ip:2001:db8::/64"
    assert address_identity(ip_address("2001:db8:0:1::1")) != address_identity(one)


def test_unknown_address() -> None:
    """Clients whose address can't be told are counted together."""
    assert address_identity(None) == "ip:unknown"
