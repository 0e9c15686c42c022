"""The two fields in which proxies name whom a request came from, in all spellings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingress.addresses import parse_address
from ingress.forwarded import forwarded_nodes, node_address


@pytest.mark.parametrize(
    ("node", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:8080", "192.0.2.1"),
        ("192.0.2.1:_port", "192.0.2.1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:8080", "2001:db8::1"),
        ("[2001:db8::1]:_p.1-x", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("2001:db8::1:8080", "2001:db8::1:8080"),
        ("[::ffff:192.0.2.1]:1", "192.0.2.1"),
    ],
)
def test_nodes(node: str, address: str) -> None:
    """RFC 7239 section 6: ports, obfuscated ones too, and IPv6 in brackets or bare."""
    assert node_address(node) == parse_address(address) is not None


@pytest.mark.parametrize(
    "node",
    [
        *("unknown", "_hidden", "_hidden:80", "", "gateway.example", "[192.0.2.1]", "[::1", "::1]"),
        *("192.0.2.1:", "192.0.2.1:port", "192.0.2.1:123456", "192.0.2.1:80:80", "[::1]80"),
        *("192.0.2.1 10.0.0.1", "[::1]:80, 10.0.0.1", "[fe80::1%25eth0]", "1.2.3.4.5"),
    ],
)
def test_nodes_without_address(node: str) -> None:
    """Names, obfuscated nodes and broken ones have no address."""
    assert node_address(node) is None


@pytest.mark.parametrize(
    ("values", "nodes"),
    [
        ([b"a"], ["a"]),
        ([b"a, b,c"], ["c", "b", "a"]),
        ([b"a, b", b"c"], ["c", "b", "a"]),
        ([b" , a,\t, ,b ,"], ["b", "a"]),
        ([b""], []),
        ([b"\xff"], ["\xff"]),
    ],
)
def test_x_forwarded_for(values: list[bytes], nodes: list[str]) -> None:
    """A list over all fields of the name; empty members do not count (RFC 9110 section 5.6.1)."""
    headers = tuple((b"x-Forwarded-FOR", value) for value in values)
    assert forwarded_nodes(headers) == {"X-Forwarded-For": nodes}


@pytest.mark.parametrize(
    ("values", "nodes"),
    [
        ([b"for=192.0.2.1"], ["192.0.2.1"]),
        ([b'For="[2001:db8::1]:80"'], ["[2001:db8::1]:80"]),
        ([b"for=a;proto=http;by=b, for=c"], ["c", "a"]),
        ([b'by="x,y;z";FOR=a ; host="h" ,for=b'], ["b", "a"]),
        ([b"for=a", b"for=b, for=c"], ["c", "b", "a"]),
        ([b'for="\\u\\nknown"'], ["unknown"]),
        ([b"proto=https, for=b"], ["b", "unknown"]),
        ([b",, for=a,;,"], ["a"]),
        ([b"for=192.0.2.1:80, for=[::1]"], ["[::1]", "192.0.2.1:80"]),
        ([b""], []),
    ],
)
def test_forwarded(values: list[bytes], nodes: list[str]) -> None:
    """RFC 7239 section 4: pairs, quoted strings, any case, several fields."""
    headers = tuple((b"Forwarded", value) for value in values)
    assert forwarded_nodes(headers) == {"Forwarded": nodes}


@pytest.mark.parametrize(
    "value",
    [
        *(b"192.0.2.1", b"for", b"for=", b"for=a b", b"for =a", b"for= a", b'for="a', b'for=a"'),
        *(b'for=10.0.0.1;x=", for=192.0.2.1', b'for="a"b', b"for=a;for=b", b"for=a;FOR=b"),
        *(b"for=a for=b", b"=a", b"for=(a)", b"for=\xe9", b'for="a\\"', b"for=a, ??"),
    ],
)
def test_broken_forwarded(value: bytes) -> None:
    """Nothing of a field that breaks the grammar is believed, an open quote least of all."""
    nodes = forwarded_nodes(((b"Forwarded", value),))["Forwarded"]
    assert [node_address(node) for node in nodes] == [None]


@pytest.mark.parametrize(
    "name",
    [
        *(
            b"X_Forwarded_For",
            b"X-Forwarded_For",
            b"X.Forwarded.For",
            b"Forwarded-For",
            b"X-Real-IP",
        ),
        *(
            b"X-Client-IP",
            b"True-Client-IP",
            b"CF-Connecting-IP",
            b"X-Forwarded",
            b"X-Forwarded-For-",
        ),
    ],
)
def test_other_names(name: bytes) -> None:
    """Nothing else says where a request came from, however alike it looks."""
    assert forwarded_nodes(((name, b"10.0.0.1"),)) == {}


def test_both_fields() -> None:
    """Each field has a list of its own, X-Forwarded-For first."""
    headers = ((b"Forwarded", b"for=b"), (b"Accept", b"*/*"), (b"X-Forwarded-For", b"a"))
    assert forwarded_nodes(headers) == {"X-Forwarded-For": ["a"], "Forwarded": ["b"]}


@given(st.lists(st.binary(max_size=30) | st.text('for="\\;,= []:1a', max_size=30).map(str.encode)))
def test_any_bytes(values: list[bytes]) -> None:
    """Whatever comes is read to an end, and what was added last stands first or is not believed."""
    headers = tuple((b"Forwarded", value) for value in (*values, b"for=192.0.2.1"))
    nodes = forwarded_nodes(headers)["Forwarded"]
    assert nodes[0] in ("192.0.2.1", "unknown")
