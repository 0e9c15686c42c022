"""Which addresses may register."""

from ipaddress import ip_network

import pytest

from config.validation import validate
from dispatcher.discovery.registration import Lease, Registration, may_be_called

ALLOW = (ip_network("10.0.0.0/8"), ip_network("2001:db8::/32"))


def canonical(url: str) -> str:
    """The URL as a registration has it."""
    registration, problems = validate(Registration, {"url": url})
    assert registration is not None, problems
    return Lease.of(registration).url


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.5:8080",
        "http://127.0.0.1:9000",
        "https://users-1.example/base",
        "http://[2001:db8::1]:80",
        "http://[fd00::1]",
    ],
)
def test_what_a_service_can_have(url: str) -> None:
    """Names and addresses, private ones too."""
    assert may_be_called(canonical(url), ())


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest",
        "http://0xa9fea9fe/",
        "http://2852039166/",
        "http://[::ffff:169.254.169.254]/",
        "http://[fe80::1]/",
        "http://0.0.0.0:80/",
        "http://[::]/",
        "http://224.0.0.1/",
        "http://[ff02::1]/",
    ],
)
def test_what_no_service_can_have(url: str) -> None:
    """Link-local addresses, where clouds keep secrets, in every spelling; groups; none at all."""
    assert not may_be_called(canonical(url), ())


@pytest.mark.parametrize(
    ("url", "may"),
    [
        ("http://10.1.2.3", True),
        ("http://[::ffff:10.1.2.3]", True),
        ("http://[2001:db8::9]", True),
        ("http://11.0.0.1", False),
        ("http://127.0.0.1", False),
        ("http://10.0.0.1.example", False),
        ("http://localhost", False),
    ],
)
def test_only_the_networks_that_are_allowed(url: str, may: bool) -> None:
    """And no names: nobody knows where they will lead."""
    assert may_be_called(canonical(url), ALLOW) is may


def test_a_lease_is_known_by_its_url() -> None:
    """Spellings of one URL are one instance."""
    spellings = ("http://Users.Example:80", "http://users.example/", "http://users.example:80/")
    assert {canonical(url) for url in spellings} == {"http://users.example"}


@pytest.mark.parametrize(
    ("data", "key"),
    [
        ({}, "url"),
        ({"url": "ftp://a"}, "url"),
        ({"url": "http://user:secret@a"}, "url"),
        ({"url": "http://a/?q"}, "url"),
        ({"url": "http://a", "weight": 0}, "weight"),
        ({"url": "http://a", "ttl": 2.9}, "ttl"),
        ({"url": "http://a", "ttl": 3601}, "ttl"),
        ({"url": "http://a", "ttl": "30"}, "ttl"),
        ({"url": "http://a", "zone": "z" * 101}, "zone"),
        ({"url": "http://a", "name": "b"}, "name"),
    ],
)
def test_faults_of_registrations(data: dict[str, object], key: str) -> None:
    """Each is told by its key."""
    registration, problems = validate(Registration, data)
    assert registration is None
    assert [problem.path for problem in problems] == [(key,)]
