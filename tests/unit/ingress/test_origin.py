"""Who the client is, told from the peer and what trusted proxies say."""

from collections.abc import Sequence
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.messages import Headers
from config.networks import Network
from ingress.origin import Origins

PROXIES = tuple(map(ip_network, ("10.0.0.0/8", "2001:db8:a::/48")))
CLIENT = "203.0.113.9"


def told(trusted: Sequence[Network] | int, peer: str, headers: Headers) -> str | None:
    address = Origins(trusted).client(peer, headers)
    return None if address is None else str(address)


def x_forwarded_for(*values: str) -> Headers:
    return tuple((b"X-Forwarded-For", value.encode()) for value in values)


def forwarded(*values: str) -> Headers:
    return tuple((b"Forwarded", value.encode()) for value in values)


@pytest.mark.parametrize("trusted", [(), 0, PROXIES])
@pytest.mark.parametrize("headers", [x_forwarded_for("10.0.0.1"), forwarded("for=10.0.0.1"), ()])
def test_a_stranger_is_who_it_is(trusted: Sequence[Network] | int, headers: Headers) -> None:
    """What a peer says that is no trusted proxy changes nothing."""
    assert told(trusted, "192.0.2.1", headers) == "192.0.2.1"


@pytest.mark.parametrize(
    "headers",
    [
        x_forwarded_for(CLIENT),
        x_forwarded_for(f"{CLIENT}:51234"),
        x_forwarded_for(f"127.0.0.1, {CLIENT}, 10.0.0.7,10.0.0.8"),
        x_forwarded_for("127.0.0.1", CLIENT, "[2001:db8:a::7]:80", "::ffff:10.0.0.8"),
        x_forwarded_for(f"unknown, {CLIENT}"),
        forwarded(f"for={CLIENT}"),
        forwarded(f'for=127.0.0.1, for="{CLIENT}:51234";proto=https, for="[2001:db8:a::7]:80"'),
        forwarded("for=127.0.0.1", f"for={CLIENT}", "for=10.0.0.7:80;by=_gw"),
        x_forwarded_for(f"{CLIENT}, 10.0.0.7") + forwarded(f"for={CLIENT}"),
    ],
)
def test_by_networks(headers: Headers) -> None:
    """The client is the first from the right that is no proxy; what is left of it is only said."""
    assert told(PROXIES, "10.0.0.9", headers) == CLIENT
    assert told(PROXIES, "::ffff:10.0.0.9", headers) == CLIENT


def test_only_proxies_on_the_way() -> None:
    """A proxy that asks for itself is the client; the farthest one, where all are proxies."""
    assert told(PROXIES, "10.0.0.9", ()) == "10.0.0.9"
    assert told(PROXIES, "10.0.0.9", x_forwarded_for("10.0.0.1, 10.0.0.2")) == "10.0.0.1"


def test_ipv6_client() -> None:
    """An IPv6 client behind IPv6 proxies, in brackets or bare."""
    for node in ("2001:db8::c", "[2001:db8::c]", "[2001:db8::c]:443"):
        assert told(PROXIES, "2001:db8:a::1", x_forwarded_for(node)) == "2001:db8::c"
        assert told(PROXIES, "2001:db8:a::1", forwarded(f'for="{node}"')) == "2001:db8::c"


@pytest.mark.parametrize(
    ("depth", "client"), [(1, "10.0.0.2"), (2, CLIENT), (3, "127.0.0.1"), (4, None)]
)
def test_by_depth(depth: int, client: str | None) -> None:
    """So many steps from the right; a list that is too short came another way."""
    listed = f"127.0.0.1, {CLIENT}, 10.0.0.2"
    assert told(depth, "192.0.2.1", x_forwarded_for(listed)) == client
    elements = ", ".join(f"for={node}" for node in listed.split(", "))
    assert told(depth, "192.0.2.1", forwarded(elements)) == client


@pytest.mark.parametrize("trusted", [PROXIES, 1])
@pytest.mark.parametrize(
    "headers",
    [
        x_forwarded_for(f"{CLIENT}, unknown"),
        x_forwarded_for(f"{CLIENT} 10.0.0.1"),
        forwarded("for=_hidden"),
        forwarded("for=unknown"),
        forwarded("proto=https"),
        forwarded(f'for=10.0.0.1;x=", for={CLIENT}'),
        x_forwarded_for(CLIENT) + forwarded("for=127.0.0.1"),
        x_forwarded_for("127.0.0.1") + forwarded(f"for={CLIENT}"),
        x_forwarded_for(CLIENT) + forwarded("for"),
    ],
)
def test_nobody_knows(trusted: Sequence[Network] | int, headers: Headers) -> None:
    """An address that can't be read, or two that differ, is none."""
    assert told(trusted, "10.0.0.9", headers) is None


PROXY = "10.0.0.9"


def accountable(origins: Origins, headers: Headers, peer: str = PROXY) -> str | None:
    address = origins.accountable(peer, headers)
    return None if address is None else str(address)


@pytest.mark.parametrize("trusted", [PROXIES, 1])
def test_who_is_counted_where_nobody_knows(trusted: Sequence[Network] | int) -> None:
    """The client where it is sure, else the last on the way that is; never nobody."""
    origins = Origins(trusted)
    for headers, counted in (
        (x_forwarded_for(CLIENT), CLIENT),
        (x_forwarded_for(CLIENT) + forwarded(f"for={CLIENT}"), CLIENT),
        (x_forwarded_for(f"{CLIENT}, unknown"), PROXY),
        (forwarded("for=_hidden"), PROXY),
        ((), PROXY),
    ):
        assert accountable(origins, headers) == counted
    assert accountable(origins, (), peer="192.0.2.1") == "192.0.2.1"


def test_the_nearest_that_is_sure() -> None:
    """An unreadable node is counted under the proxy that wrote it, a short list under the peer."""
    listed = x_forwarded_for(f"{CLIENT}, unknown, 10.0.0.7, 10.0.0.8")
    assert accountable(Origins(PROXIES), listed) == "10.0.0.7"
    assert accountable(Origins(3), listed) == "10.0.0.7"
    assert accountable(Origins(5), listed) == PROXY


@pytest.mark.parametrize("trusted", [PROXIES, 1])
def test_a_second_field_gives_no_second_allowance(trusted: Sequence[Network] | int) -> None:
    """Who adds the field that its proxy does not write is counted as before, once it is known.

    Known it is from the first request that had only one; until then the peer is counted.
    """
    honest, lie = x_forwarded_for(CLIENT), forwarded("for=192.0.2.66")
    for own, other in ((honest, lie), (forwarded(f"for={CLIENT}"), x_forwarded_for("192.0.2.66"))):
        origins = Origins(trusted)
        assert accountable(origins, own + other) == PROXY
        assert accountable(origins, own) == CLIENT
        for headers in (own + other, other + own):
            assert accountable(origins, headers) == CLIENT
            assert origins.client(PROXY, headers) is None


def test_a_peer_that_writes_either_field_is_counted_itself() -> None:
    """Nothing tells then which of the two is true; another peer is judged by itself."""
    origins = Origins(PROXIES)
    both = x_forwarded_for(CLIENT) + forwarded("for=192.0.2.66")
    for headers in (x_forwarded_for(CLIENT), forwarded(f"for={CLIENT}")):
        assert accountable(origins, headers) == CLIENT
    assert accountable(origins, x_forwarded_for(CLIENT), peer="10.0.0.8") == CLIENT
    assert accountable(origins, both) == PROXY
    assert accountable(origins, both, peer="10.0.0.8") == CLIENT


@pytest.mark.parametrize("peer", ["", "unknown", "/run/client.sock", "localhost"])
def test_peers_without_address(peer: str) -> None:
    """Behind a Unix socket is nobody known, but by the word of a proxy that is counted on."""
    assert told((), peer, x_forwarded_for(CLIENT)) is None
    assert told(PROXIES, peer, x_forwarded_for(CLIENT)) is None
    assert told(1, peer, x_forwarded_for(CLIENT)) == CLIENT
    assert Origins(()).accountable(peer, ()) is None


def test_memory_is_bounded() -> None:
    """Any number of addresses can come, and long ones are not kept."""
    origins = Origins(PROXIES)
    for number in range(10_000):
        client = str(ip_address(0xC0000000 + number))
        assert str(origins.client("10.0.0.1", x_forwarded_for(client))) == client
    assert origins.client("10.0.0.1", x_forwarded_for("1" * 9_000)) is None
    assert len(origins._hops) <= 4096
    for number in range(10_000):
        origins.accountable(f"10.0.{number >> 8}.{number & 255}", x_forwarded_for(CLIENT))
    assert len(origins._writes) <= 4096
    assert max(map(len, origins._hops)) <= 64


@given(st.lists(st.sampled_from(["127.0.0.1", "10.6.6.6", "unknown", "", "x", "[::1]:1"])))
def test_a_client_can_not_lie(said: list[str]) -> None:
    """Whatever a client writes before it meets a proxy, the proxy's own word counts."""
    headers = x_forwarded_for(*said, f"{CLIENT}, 10.0.0.2")
    assert told(PROXIES, "10.0.0.1", headers) == CLIENT
    assert told(2, "10.0.0.1", headers) == CLIENT
