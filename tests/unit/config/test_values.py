"""Single values: sizes, networks, URLs."""

from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from config.values import JwksUrl, Network, Origin, PlainUrl, PositiveSize, ProbePath, Size


def accepts(kind: Any, value: object) -> bool:
    """Whether a value of this kind may be that."""
    try:
        TypeAdapter(kind).validate_python(value)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (0, 0),
        (1048576, 1048576),
        ("512", 512),
        ("512B", 512),
        ("64KiB", 65536),
        ("64 KiB", 65536),
        (" 1MiB ", 1048576),
        ("1GiB", 1073741824),
    ],
)
def test_sizes_are_bytes_or_have_a_unit(text: object, size: int) -> None:
    """Binary units, spaces around are fine."""
    assert TypeAdapter(Size).validate_python(text) == size


@pytest.mark.parametrize(
    "text",
    ["1MB", "1 mib", "-1", "1.5MiB", "", "MiB", "2GiB", "9" * 5000, "\u0661KiB", -1, 1.0, True],
)
def test_other_sizes_are_refused(text: object) -> None:
    """Decimal units are ambiguous; fractions, signs, other digits and flags are wrong."""
    assert not accepts(Size, text)


@pytest.mark.parametrize("text", [0, "0", "0MiB", -1, "2GiB"])
def test_a_limit_that_lets_nothing_pass_is_refused(text: object) -> None:
    """What is so limited could never be of use."""
    assert not accepts(PositiveSize, text)
    assert TypeAdapter(PositiveSize).validate_python("1B") == 1


@pytest.mark.parametrize("path", ["/", "/health", "/a%C3%A9;b=1/?q=~'\"", "/!"])
def test_paths_of_probes(path: str) -> None:
    """Whatever a request line can have."""
    assert accepts(ProbePath, path)


@pytest.mark.parametrize(
    "path",
    ["", "health", "/é", "/a b", "/a#b", "/\x01", "/\x7f", "/a\n", "/\u00a0", "/" + 2048 * "a"],
)
def test_other_paths_of_probes_are_refused(path: str) -> None:
    """No probe could be sent."""
    assert not accepts(ProbePath, path)


@given(st.integers(0, 1024), st.sampled_from([("B", 1), ("KiB", 1024), ("MiB", 1024**2)]))
def test_units_multiply(count: int, unit: tuple[str, int]) -> None:
    """A number and its unit are their product."""
    assert TypeAdapter(Size).validate_python(f"{count}{unit[0]}") == count * unit[1]


@pytest.mark.parametrize(
    "value", ["10.0.0.0/8", "10.1.2.3", "::1", "2001:db8::/32", ip_network("10.0.0.0/8")]
)
def test_networks(value: object) -> None:
    """Addresses and networks of both families, as text or made already."""
    assert accepts(Network, value)


@pytest.mark.parametrize("value", ["10.0.0.1/8", "10.0.0.0/33", "localhost", "", 1, True, b"1234"])
def test_what_is_no_network(value: object) -> None:
    """Numbers too: 42 would silently be 0.0.0.42."""
    assert not accepts(Network, value)


@pytest.mark.parametrize(
    "origin",
    [
        *("*", "null", "https://app.example", "http://localhost:3000", "https://app.example:80"),
        *("https://*.app.example", "https://*.app.example:8443", "http://[::1]:3000"),
        *("https://xn--bcher-kva.example", "capacitor://localhost", "chrome-extension://abc"),
    ],
)
def test_origins(origin: str) -> None:
    """As browsers write them, and patterns of one label."""
    assert accepts(Origin, origin)


@pytest.mark.parametrize(
    "origin",
    [
        *("app.example", "https://", "https://app.example/", "https://App.example", "HTTPS://a.b"),
        *("https://app.example:443", "http://app.example:80", "https://a.b:080", "https://a.b:"),
        *("https://*", "https://*:8443", "https://app.*", "https://a*.example", "https://*.*.a"),
        *("https://u@a.example", "https://a.example?x", "https://bücher.example", "https://a..b"),
        *("https://a.example\n", " https://a.example", "", "**", "https://*.[::1]", 5, None),
    ],
)
def test_what_is_no_origin(origin: object) -> None:
    """What no browser writes would never match, and a looser pattern would match too much."""
    assert not accepts(Origin, origin)


@pytest.mark.parametrize("url", ["http://a", "https://a:8443/base/", "http://[::1]:9000"])
def test_plain_urls(url: str) -> None:
    """Scheme, host, port and path."""
    assert accepts(PlainUrl, url)


@pytest.mark.parametrize(
    "url",
    [
        *("a", "//a", "ftp://a", "http://", "http:///a", "http://u@a", "http://u:p@a"),
        *("http://a?", "http://a/?x=1", "http://a#", "http://a\n", " http://a", "http:\\\\a", 5),
    ],
)
def test_what_is_no_plain_url(url: object) -> None:
    """Lenient parsers would mend some of these silently."""
    assert not accepts(PlainUrl, url)


@pytest.mark.parametrize(
    "url",
    [
        "https://login.example/keys?policy=1",
        "https://login.example:8443",
        *(
            "http://127.0.0.1:8080/keys",
            "http://127.9.9.9/",
            "http://[::1]/k",
            "http://localhost/k",
        ),
    ],
)
def test_urls_of_key_sets(url: str) -> None:
    """With TLS from anywhere, without it from this machine alone."""
    assert accepts(JwksUrl, url)


@pytest.mark.parametrize(
    "url",
    [
        *("https://u:p@login.example/keys", "https://login.example/#k", "https://", "file:///k"),
        *("http://login.example/keys", "http://10.0.0.1/keys", "http://localhost.example/keys"),
        *("http://127.0.0.1.example/keys", "http://127.0.0.1@login.example/", "http://[::2]/"),
    ],
)
def test_what_is_no_url_of_a_key_set(url: str) -> None:
    """Who stands between could give out keys of their own."""
    assert not accepts(JwksUrl, url)
