"""Only addresses that are allowed and not denied pass, and nobody learns why."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from config.models.origins import IpFilter as Rules
from config.networks import Network
from ingress.policies.ip_filter import IpFilter, ip_filter
from ingress.problems import Refused


def passes(address: str | None, *, allow: tuple[str, ...] = (), deny: tuple[str, ...] = ()) -> bool:
    subject = IpFilter(Rules.model_validate({"allow": allow, "deny": deny}))
    try:
        subject.check(None if address is None else ip_address(address))
    except Refused as refused:
        return refused.problem_type.status != 403
    return True


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("10.0.0.1", True),
        ("10.6.6.6", False),
        ("192.0.2.1", False),
        ("2001:db8::1", True),
        ("2001:db8:6::1", False),
        ("2001:db9::1", False),
    ],
)
def test_deny_wins(address: str, expected: bool) -> None:
    """Both families: allowed, and not denied; a smaller network inside another one too."""
    allow, deny = ("10.0.0.0/8", "2001:db8::/32"), ("10.6.6.0/24", "2001:db8:6::/48")
    assert passes(address, allow=allow, deny=deny) is expected


def test_without_allow_everybody_may() -> None:
    """A filter that only denies lets all others pass."""
    assert passes("192.0.2.1", deny=("10.0.0.0/8",))
    assert not passes("10.0.0.1", deny=("10.0.0.0/8",))


def test_an_allow_of_one_family_keeps_out_the_other() -> None:
    """Who allows IPv4 networks has not allowed any IPv6 address."""
    assert not passes("2001:db8::1", allow=("0.0.0.0/0",))


@pytest.mark.parametrize("deny", [(), ("10.0.0.0/8",)])
def test_an_unknown_address_may_not(deny: tuple[str, ...]) -> None:
    """Where a filter is set, who can't be told is refused."""
    assert not passes(None, allow=("0.0.0.0/0", "::/0"), deny=deny)
    assert not passes(None, deny=deny or ("192.0.2.0/24",))


def test_the_answer_does_not_tell_the_rules() -> None:
    """Denied, not allowed and unknown look alike, and no network is in the answer."""
    subject = IpFilter(Rules.model_validate({"allow": ["10.0.0.0/8"], "deny": ["10.6.6.0/24"]}))
    answers = set()
    for address in (ip_address("10.6.6.6"), ip_address("192.0.2.1"), None):
        with pytest.raises(Refused) as refused:
            subject.check(address)
        answers.add(refused.value.response(request_id="id", instance="/").body)
    assert len(answers) == 1
    assert b"10." not in answers.pop()


def test_no_rules_no_filter() -> None:
    """What lets everybody pass costs no request anything."""
    assert ip_filter(None) is None
    assert ip_filter(Rules()) is None
    assert ip_filter(Rules.model_validate({"deny": ["10.0.0.0/8"]})) is not None


_NETWORKS = st.lists(
    st.tuples(st.integers(0, 63), st.integers(26, 32)).map(
        lambda parts: ip_network((0x0A000000 + parts[0], parts[1]), strict=False)
    ),
    max_size=5,
)


@given(_NETWORKS, _NETWORKS, st.integers(0, 63))
def test_agrees_with_a_naive_reading(
    allow: list[Network], deny: list[Network], number: int
) -> None:
    """For any rules: in an allowed network, or none is named, and in no denied one.

    Rules that let nobody pass are none.
    """
    address = ip_address(0x0A000000 + number)
    expected = (not allow or any(address in each for each in allow)) and not any(
        address in each for each in deny
    )
    try:
        rules = Rules(allow=tuple(allow), deny=tuple(deny))
    except ValidationError:
        assert allow
        assert not expected
        return
    if expected:
        IpFilter(rules).check(address)
    else:
        with pytest.raises(Refused):
            IpFilter(rules).check(address)
