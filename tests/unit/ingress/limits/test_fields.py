"""What clients are told of their limits (draft-ietf-httpapi-ratelimit-headers-10)."""

from math import ceil

import pytest

from ingress.limits.allowance import REQUEST, Allowance, Charge, Outcome
from ingress.limits.fields import legacy_fields, policy_field, quoted, state_field

PRO = Charge(b"k", Allowance(quoted("pro"), 1000, 100))
ROUTE = Charge(b"l", Allowance(quoted("GET /x"), 2))


def test_policy() -> None:
    """Each limit with its quota and window."""
    field = (b"RateLimit-Policy", b'"pro";q=1000;w=60, "GET /x";q=2;w=60')
    assert policy_field([PRO, ROUTE]) == field


def test_what_is_left() -> None:
    """Of an admitted request all limits are told: what remains, and seconds until it is more."""
    outcome = Outcome(True, [PRO, ROUTE], [1 * REQUEST, REQUEST * 3 // 2])
    assert state_field(outcome) == (b"RateLimit", b'"pro";r=1099;t=1, "GET /x";r=0;t=15')


@pytest.mark.parametrize("each", [PRO, ROUTE])
def test_the_field_says_what_the_arithmetic_says(each: Charge) -> None:
    """Also where a limit was lowered, so that more is used than there is room for."""
    allowance, room = each.allowance, each.allowance.room
    for level in (0, 1, REQUEST - 1, REQUEST, room - 1, room, room + 1, 2 * room):
        remaining, seconds = allowance.remaining(level), ceil(allowance.until_more(level))
        assert allowance.state(level) == b"%b;r=%d;t=%d" % (allowance.name, remaining, seconds)


def test_of_a_refused_request() -> None:
    """Only what refused it is told, so that Retry-After is never earlier than any t."""
    outcome = Outcome(False, [PRO, ROUTE], [5 * REQUEST, REQUEST * 3 // 2])
    assert state_field(outcome) == (b"RateLimit", b'"GET /x";r=0;t=15')
    assert outcome.retry_after() == 15


def test_the_tightest_limit_in_the_old_fields() -> None:
    """Of two limits the one that has less left, with the seconds until it is whole again."""
    outcome = Outcome(True, [PRO, ROUTE], [1 * REQUEST, REQUEST * 3 // 2])
    assert legacy_fields(outcome) == (
        (b"X-RateLimit-Limit", b"2"),
        (b"X-RateLimit-Remaining", b"0"),
        (b"X-RateLimit-Reset", b"45"),
    )


def test_names_are_quoted_strings() -> None:
    """What can't stand in a quoted string is percent-encoded (RFC 9651)."""
    assert quoted('a"b\\c%d\u00e9 {e}') == b'"a%22b%5Cc%25d%C3%A9 {e}"'
