"""What is asked, and how answers are read; with a real DNS server."""

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import dns.rcode
import dns.rrset
import pytest
import pytest_asyncio

from dispatcher.discovery.dns_lookup import DnsLookup, Endpoint, Found, LookupFailed
from tests.dns_server import DnsServer
from tests.processes import free_port

NOWHERE = "/nonexistent"


@pytest_asyncio.fixture
async def server() -> AsyncIterator[DnsServer]:
    """With some names."""
    async with DnsServer(ttl=20) as server:
        server.zone = {
            ("users.test.", "A"): ["10.0.0.1", "10.0.0.2"],
            ("six.test.", "AAAA"): ["2001:db8::1"],
            ("alias.test.", "CNAME"): ["users.test."],
        }
        yield server


@pytest.fixture
def lookup(server: DnsServer) -> DnsLookup:
    """One that asks the server."""
    return DnsLookup(server.nameservers, resolv_conf=NOWHERE)


def ips(found: Found) -> set[str]:
    return {endpoint.ip for endpoint in found.endpoints}


async def reason(lookup: DnsLookup, name: str, record: str | None = None) -> str:
    """Why a lookup failed."""
    with pytest.raises(LookupFailed) as caught:
        await lookup.find(name, record)
    return caught.value.reason


async def test_all_addresses_and_their_ttl(lookup: DnsLookup) -> None:
    """Each A record is an endpoint."""
    found = await lookup.find("users.test", None)
    assert (ips(found), found.ttl) == ({"10.0.0.1", "10.0.0.2"}, 20)


async def test_an_alias_is_followed(lookup: DnsLookup) -> None:
    """A CNAME leads to the addresses of its target."""
    assert ips(await lookup.find("alias.test", "A")) == {"10.0.0.1", "10.0.0.2"}


async def test_ipv6_where_there_is_no_ipv4(lookup: DnsLookup, server: DnsServer) -> None:
    """AAAA is asked for when there is no A, and only then."""
    assert ips(await lookup.find("six.test", None)) == {"2001:db8::1"}
    await lookup.find("users.test", None)
    assert server.asked == ["udp A six.test.", "udp AAAA six.test.", "udp A users.test."]


async def test_a_record_type_that_was_chosen(lookup: DnsLookup) -> None:
    """With AAAA alone, a name with A alone has no records."""
    assert await reason(lookup, "users.test", "AAAA") == "no_records"


async def test_an_answer_that_was_cut_short_is_asked_for_over_tcp(
    lookup: DnsLookup, server: DnsServer
) -> None:
    """A headless service of many instances does not fit into a datagram."""
    many = {f"10.1.{n // 250}.{n % 250}" for n in range(300)}
    server.zone["many.test.", "A"] = sorted(many)
    assert ips(await lookup.find("many.test", None)) == many
    assert server.asked == ["udp A many.test.", "tcp A many.test."]


async def test_srv_has_ports_and_weights(lookup: DnsLookup, server: DnsServer) -> None:
    """Each target is looked up; a weight of 0 is the least there is."""
    server.zone |= {
        ("_http._tcp.users.test.", "SRV"): ["0 5 8080 a.test.", "0 0 8081 b.test."],
        ("a.test.", "A"): ["10.0.0.1"],
        ("b.test.", "AAAA"): ["2001:db8::2"],
    }
    found = await lookup.find("_http._tcp.users.test", "SRV")
    assert set(found.endpoints) == {
        Endpoint("10.0.0.1", 8080, 5, "a.test"),
        Endpoint("2001:db8::2", 8081, 1, "b.test"),
    }


async def test_srv_with_the_addresses_beside_it(lookup: DnsLookup, server: DnsServer) -> None:
    """What came along is not asked for; its TTL counts where it is the shorter."""
    server.zone["_http._tcp.users.test.", "SRV"] = ["0 5 8080 a.test."]
    server.additional = [dns.rrset.from_text("a.test.", 7, "IN", "A", "10.0.0.9")]
    found = await lookup.find("_http._tcp.users.test", "SRV")
    assert (ips(found), found.ttl) == ({"10.0.0.9"}, 7)
    assert server.asked == ["udp SRV _http._tcp.users.test."]


async def test_srv_of_the_lowest_priority_that_has_addresses(
    lookup: DnsLookup, server: DnsServer
) -> None:
    """Others are for when those can't be had (RFC 2782)."""
    records = ["20 1 80 c.test.", "10 1 80 b.test.", "10 1 80 gone.test.", "5 1 80 gone.test."]
    server.zone |= {
        ("_http._tcp.users.test.", "SRV"): records,
        ("b.test.", "A"): ["10.0.0.2"],
        ("c.test.", "A"): ["10.0.0.3"],
    }
    assert ips(await lookup.find("_http._tcp.users.test", "SRV")) == {"10.0.0.2"}


async def test_srv_that_says_there_is_no_service(lookup: DnsLookup, server: DnsServer) -> None:
    """The target ``.`` is no host."""
    server.zone["_http._tcp.users.test.", "SRV"] = ["0 0 0 ."]
    assert await reason(lookup, "_http._tcp.users.test", "SRV") == "no_records"


async def test_names_are_completed_by_the_search_list(server: DnsServer, tmp_path: Path) -> None:
    """With fewer dots than ``ndots`` the search list comes first, as in a pod of Kubernetes."""
    conf = tmp_path / "resolv.conf"
    conf.write_text("nameserver 127.0.0.1\nsearch a.svc.test svc.test\noptions ndots:5\n")
    server.zone["users.b.svc.test.", "A"] = ["10.0.0.7"]
    lookup = DnsLookup(server.nameservers, resolv_conf=str(conf))
    assert ips(await lookup.find("users.b", None)) == {"10.0.0.7"}
    assert server.asked == ["udp A users.b.a.svc.test.", "udp A users.b.svc.test."]


async def test_a_name_that_does_not_exist(lookup: DnsLookup) -> None:
    """NXDOMAIN has a reason of its own."""
    assert await reason(lookup, "gone.test") == "no_such_name"


@pytest.mark.parametrize("rcode", [dns.rcode.SERVFAIL, dns.rcode.REFUSED])
async def test_a_server_that_fails(
    lookup: DnsLookup, server: DnsServer, rcode: dns.rcode.Rcode
) -> None:
    """So has a server that can't or won't answer, and it may be asked again."""
    server.rcode = rcode
    assert await reason(lookup, "users.test") == "server_failure"
    server.rcode = None
    assert len(ips(await lookup.find("users.test", None))) == 2


async def test_a_server_that_is_silent(server: DnsServer) -> None:
    """A lookup ends at its deadline."""
    server.silent = True
    lookup = DnsLookup(server.nameservers, resolv_conf=NOWHERE, deadline=0.2)
    assert await reason(lookup, "users.test") == "timeout"


async def test_a_server_that_is_not_there() -> None:
    """Nobody listens."""
    lookup = DnsLookup([("127.0.0.1", free_port())], resolv_conf=NOWHERE, deadline=0.5)
    assert await reason(lookup, "users.test") in ("server_failure", "timeout")


async def test_no_server_is_known() -> None:
    """A machine without a resolv.conf is told apart, too."""
    assert await reason(DnsLookup(resolv_conf=NOWHERE), "users.test") == "no_nameserver"


async def test_the_second_server_is_asked_when_the_first_is_silent(server: DnsServer) -> None:
    """One server that is away does not make a lookup fail."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        nameservers = [("127.0.0.1", silent.getsockname()[1]), *server.nameservers]
        lookup = DnsLookup(nameservers, resolv_conf=NOWHERE)
        assert len(ips(await lookup.find("users.test", None))) == 2
