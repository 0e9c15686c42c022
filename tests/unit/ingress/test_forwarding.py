"""What reaches the upstream is what the client may say, and what the gateway itself says."""

import ipaddress
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.messages import Headers, Principal
from config.networks import Network
from ingress.forwarding import Forwarding
from ingress.origin import Origins
from ingress.problems import Refused
from tests.unit.ingress.requests import make_request

HOST = (b"Host", b"gateway.example")
ALICE = Principal("alice", "PRO", ("admin", "support"))
PROXIES = (ipaddress.ip_network("192.0.2.0/24"),)


def forwarded(
    *headers: tuple[bytes, bytes],
    principal: Principal | None = None,
    peer: str = "192.0.2.1",
    trusted: Sequence[Network] | int = (),
    request_id: str = "id-1",
) -> Headers:
    request = make_request(headers=(HOST, *headers), peer=peer)
    return Forwarding(Origins(trusted)).request_headers(request, principal, request_id)


def values(headers: Headers, name: bytes) -> list[bytes]:
    return [value for key, value in headers if key.lower() == name.lower()]


def test_end_to_end_fields_pass_unchanged() -> None:
    """Order, duplicates, spelling, odd bytes and Authorization are kept."""
    mine = (
        (b"x-B", b"1"),
        (b"Cookie", b"a=b"),
        (b"X-b", b"2"),
        (b"Authorization", b"Bearer t"),
        (b"X-Odd", b"\xff\xfe"),
        (b"my_field", b"3"),
        (b"Via", b"1.0 before"),
    )
    assert forwarded(*mine)[: len(mine)] == mine


def test_what_concerns_the_connection_stays_here() -> None:
    """Hop-by-hop fields, and those that Connection names, go no further."""
    headers = forwarded(
        (b"X-Named", b"1"),
        (b"connection", b"Keep-Alive, x-named ,, X-Other"),
        (b"Keep-Alive", b"timeout=5"),
        (b"TE", b"trailers"),
        (b"Trailer", b"X-T"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Upgrade", b"h2c"),
        (b"Proxy-Authorization", b"Basic x"),
        (b"Proxy-Connection", b"close"),
        (b"Proxy", b"http://evil"),
        (b"Content-Length", b"3"),
        (b"Expect", b"100-continue"),
        (b"X-Other", b"2"),
        (b"X-Kept", b"3"),
    )
    names = {name.lower() for name, _ in headers}
    assert names == {
        *(b"x-kept", b"via", b"forwarded", b"x-forwarded-for", b"x-forwarded-proto"),
        *(b"x-forwarded-host", b"x-request-id"),
    }


@pytest.mark.parametrize(
    "name",
    [
        *(b"X-User-Id", b"x-user-id", b"X_User_Id", b"x-user_ID", b"X.User.Id", b"X-User-Tier"),
        *(b"X_USER_ROLES", b"X-Request-Deadline-Ms", b"X_Request_Id", b"x-request_deadline_ms"),
        *(b"Content_Length", b"Transfer_Encoding", b"X_Forwarded_For", b"X-Real-IP", b"x_real_ip"),
        *(b"X-Forwarded-Port", b"X-Forwarded-Prefix", b"X-Request-Attempt", b"x_request.ATTEMPT"),
        *(b"X-Forwarded", b"X-Forwarded-Protocol", b"X_Forwarded_Scheme", b"X-Forwarded-Uri"),
        *(b"X-Forwarded-User", b"x-forwarded-client-cert", b"X-Original-URL", b"x_rewrite_url"),
        *(b"X-Original-Host", b"True-Client-IP", b"CF-Connecting-IP", b"Front-End-Https"),
    ],
)
def test_what_only_the_gateway_says(name: bytes) -> None:
    """A client's own field under such a name, or an alias of it, is dropped."""
    assert b"spoofed" not in {value for _, value in forwarded((name, b"spoofed"))}


@pytest.mark.parametrize("option", [b"X-User-Id", b"X-Forwarded-For", b"Via", b"X-Request-ID"])
def test_connection_removes_nothing_of_ours(option: bytes) -> None:
    """Naming one of the gateway's fields in Connection does not take it away."""
    headers = forwarded((b"Connection", option), principal=ALICE)
    assert len(values(headers, option)) == 1


@pytest.mark.parametrize("name", [b"traceparent", b"Idempotency-Key"])
def test_connection_does_not_cut_what_is_relied_on(name: bytes) -> None:
    """Trace context passes whatever Connection says, and so does what allows to send twice."""
    assert values(forwarded((b"Connection", name), (name, b"1")), name) == [b"1"]


def test_identity() -> None:
    """The caller's identity is in three fields; without one there is none."""
    headers = forwarded(principal=ALICE)
    assert values(headers, b"X-User-Id") == [b"alice"]
    assert values(headers, b"X-User-Tier") == [b"PRO"]
    assert values(headers, b"X-User-Roles") == [b"admin,support"]
    assert not [name for name, _ in forwarded() if name.startswith(b"X-User")]


def test_identity_can_not_split_a_header() -> None:
    """What could end a field, or a role in a list, is percent-encoded."""
    headers = forwarded(principal=Principal("a\r\nX: é%", "FREE", ("r,admin",)))
    assert values(headers, b"X-User-Id") == [b"a%0D%0AX:%20%C3%A9%25"]
    assert values(headers, b"X-User-Roles") == [b"r%2Cadmin"]


def test_request_id_is_replaced() -> None:
    """The id that the gateway settled on goes on, once."""
    headers = forwarded((b"X-Request-ID", b"a"), (b"x-request-id", b"b"), request_id="mine")
    assert values(headers, b"X-Request-ID") == [b"mine"]


def test_origin_of_a_stranger() -> None:
    """Whatever a client claims about its origin is replaced by what the gateway sees."""
    headers = forwarded(
        (b"X-Forwarded-For", b"10.0.0.1"),
        (b"X-Forwarded-Proto", b"https"),
        (b"X-Forwarded-Host", b"evil.example"),
        (b"Forwarded", b"for=10.0.0.1"),
    )
    assert values(headers, b"X-Forwarded-For") == [b"192.0.2.1"]
    assert values(headers, b"X-Forwarded-Proto") == [b"http"]
    assert values(headers, b"X-Forwarded-Host") == [b"gateway.example"]
    assert values(headers, b"Forwarded") == [b'for=192.0.2.1;host="gateway.example";proto=http']
    assert values(headers, b"Via") == [b"1.1 api-gateway"]


@pytest.mark.parametrize("trusted", [PROXIES, 1])
def test_origin_by_a_trusted_proxy(trusted: Sequence[Network] | int) -> None:
    """A trusted proxy's lists are continued, and its scheme and host believed."""
    headers = forwarded(
        (b"Connection", b"X-Forwarded-For, X-Forwarded-Port"),
        (b"X-Forwarded-For", b"203.0.113.9"),
        (b"X-Forwarded-For", b"10.0.0.1"),
        (b"X_Forwarded_For", b"6.6.6.6"),
        (b"X-Forwarded-Proto", b"https"),
        (b"X-Forwarded-Port", b"443"),
        (b"X-Forwarded-Client-Cert", b"Hash=1"),
        (b"X-Original-URL", b"/a"),
        (b"Forwarded", b"for=203.0.113.9"),
        (b"X-User-Id", b"root"),
        trusted=trusted,
    )
    assert values(headers, b"X-Forwarded-For") == [b"203.0.113.9, 10.0.0.1, 192.0.2.1"]
    assert values(headers, b"X-Forwarded-Proto") == [b"https"]
    assert values(headers, b"X-Forwarded-Host") == [b"gateway.example"]
    assert values(headers, b"X-Forwarded-Port") == [b"443"]
    assert values(headers, b"X-Forwarded-Client-Cert") == [b"Hash=1"]
    assert values(headers, b"X-Original-URL") == [b"/a"]
    own = b'for=192.0.2.1;host="gateway.example";proto=http'
    assert values(headers, b"Forwarded") == [b"for=203.0.113.9, " + own]
    assert values(headers, b"X-User-Id") == []
    assert b"6.6.6.6" not in {value for _, value in headers}


@pytest.mark.parametrize(
    ("peer", "node", "plain"),
    [
        ("2001:db8::1", b'"[2001:db8::1]"', b"2001:db8::1"),
        ("fe80::1%eth0", b'"[fe80::1]"', b"fe80::1"),
        ("::ffff:192.0.2.1", b"192.0.2.1", b"192.0.2.1"),
        ("", b"unknown", b"unknown"),
    ],
)
def test_peers_of_all_kinds(peer: str, node: bytes, plain: bytes) -> None:
    """IPv6 is bracketed and quoted; a mapped IPv4 address is shown, and trusted, as what it is."""
    headers = forwarded(peer=peer)
    assert values(headers, b"Forwarded")[0].startswith(b"for=" + node + b";")
    assert values(headers, b"X-Forwarded-For") == [plain]
    believed = forwarded((b"X-Forwarded-Proto", b"https"), peer=peer, trusted=PROXIES)
    expected = b"https" if plain == b"192.0.2.1" else b"http"
    assert values(believed, b"X-Forwarded-Proto") == [expected]


@pytest.mark.parametrize("host", [b'a"b', b"a b", b"a\\b", b"a" * 301])
def test_host_can_not_break_out_of_forwarded(host: bytes) -> None:
    """A Host that could end the quoted string is a 400."""
    with pytest.raises(Refused):
        Forwarding(Origins(())).request_headers(
            make_request(headers=((b"Host", host),)), None, "id"
        )


def test_no_host() -> None:
    """HTTP/1.0 may come without Host; then nothing is said about it."""
    headers = Forwarding(Origins(())).request_headers(make_request(headers=()), None, "id")
    assert values(headers, b"Forwarded") == [b"for=192.0.2.1;proto=http"]
    assert values(headers, b"X-Forwarded-Host") == []


def test_two_authorizations_are_refused() -> None:
    """Of two the gateway would check one, and the upstream might read the other."""
    with pytest.raises(Refused):
        forwarded((b"Authorization", b"Bearer a"), (b"authorization", b"Bearer b"))


def test_caches_are_bounded() -> None:
    """Any number of peers and callers can come; the same answer is given afterwards."""
    forwarding = Forwarding(Origins(()))
    for number in range(10_000):
        request = make_request(headers=((b"Host", b"h%d" % number),))
        forwarding.request_headers(request, Principal(str(number), "FREE"), "id")
    sizes = (len(forwarding._identities), len(forwarding._origins._known))
    assert max(sizes) <= 4096
    assert forwarding.request_headers(make_request(), ALICE, "id") == Forwarding(
        Origins(())
    ).request_headers(make_request(), ALICE, "id")


@given(st.from_regex(rb"\A[xX][-_.!~][uU][sS][eE][rR][-_^`|+][iI][dD]\Z"))
def test_no_alias_of_identity_passes(name: bytes) -> None:
    """No spelling that a server could fold into X-User-Id gets through."""
    assert b"spoofed" not in {value for _, value in forwarded((name, b"spoofed"))}


@pytest.mark.parametrize("name", [b"X-API-Key", b"x-api-key", b"X_API_Key", b"X-Api_key"])
@pytest.mark.parametrize("trusted", [(), PROXIES])
def test_withheld_fields(name: bytes, trusted: Sequence[Network]) -> None:
    """What is for the gateway alone goes no further, in no spelling; unless withheld it passes."""
    request = make_request(headers=(HOST, (name, b"k"), (b"X-API", b"1")))
    kept = Forwarding(Origins(trusted), ["X-API-Key"]).request_headers(request, None, "id-1")
    assert (values(kept, name), values(kept, b"X-API")) == ([], [b"1"])
    assert values(Forwarding(Origins(trusted)).request_headers(request, None, "id-1"), name) == [
        b"k"
    ]
