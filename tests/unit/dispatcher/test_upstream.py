"""Addresses and errors."""

import pytest

from dispatcher.upstream import Address, ConnectFailed, UpstreamError


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://service", Address("http", "service", 80, "")),
        ("http://service/", Address("http", "service", 80, "")),
        ("https://service:8443/base/v1/", Address("https", "service", 8443, "/base/v1")),
        ("https://[::1]/", Address("https", "::1", 443, "")),
        ("http://Service.Example:80/A", Address("http", "service.example", 80, "/A")),
    ],
)
def test_parse(url: str, expected: Address) -> None:
    """The parts of a URL that say where an instance is."""
    assert Address.parse(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        "service:80",
        "ftp://service/",
        "http:///path",
        "http://service:port/",
        "http://service:99999/",
        "http://user:secret@service/",
        "http://service/?q=1",
        "http://service/#top",
        "http://a b",
        "http://a/b c",
        "http://serv\nice/",
        "http://a\\b/",
        "http://caf\u00e9/",
    ],
)
def test_parse_refuses(url: str) -> None:
    """What is no http URL, or says more than where an instance is."""
    with pytest.raises(ValueError, match=r"\S"):
        Address.parse(url)


@pytest.mark.parametrize(
    ("address", "authority"),
    [
        (Address("http", "service", 80), "service"),
        (Address("https", "service", 443), "service"),
        (Address("http", "service", 443), "service:443"),
        (Address("https", "::1", 8443), "[::1]:8443"),
        (Address("http", "::1", 80), "[::1]"),
    ],
)
def test_authority(address: Address, authority: str) -> None:
    """Host leaves the scheme's own port out and puts IPv6 in brackets."""
    assert address.authority == authority


def test_address_reads_as_its_url() -> None:
    """What is logged can be parsed again."""
    address = Address("https", "::1", 8443, "/base")
    assert str(address) == "https://[::1]:8443/base"
    assert Address.parse(str(address)) == address


def test_error_tells_whether_it_was_sent() -> None:
    """Everything that knows UpstreamError can decide about a retry."""
    error: UpstreamError = ConnectFailed("refused", sent=False)
    assert error.sent is False
    assert str(error) == "refused"
