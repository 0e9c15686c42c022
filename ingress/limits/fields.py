"""RateLimit-Policy and RateLimit (draft-ietf-httpapi-ratelimit-headers-10)."""

from collections.abc import Iterable
from math import ceil
from urllib.parse import quote

from ingress.limits.allowance import Charge, Outcome

_WINDOW = 60  # seconds
_IN_A_STRING = (
    "".join(map(chr, range(0x20, 0x7F))).replace("%", "").replace('"', "").replace("\\", "")
)


def quoted(name: str) -> bytes:
    """A name as a String (RFC 9651 section 3.3.3); what can't stand in one is percent-encoded."""
    return f'"{quote(name, safe=_IN_A_STRING, errors="replace")}"'.encode()


def policy_field(charges: Iterable[Charge]) -> tuple[bytes, bytes]:
    """What holds: the quota ``q`` in a window ``w``; burst comes on top of it."""
    policies = [b"%b;q=%d;w=%d" % (a.name, a.per_minute, _WINDOW) for _, a in charges]
    return (b"RateLimit-Policy", b", ".join(policies))


def state_field(outcome: Outcome, cost: int = 1) -> tuple[bytes, bytes]:
    """What is left: ``r`` requests at once, and in ``t`` seconds one more.

    Of a refused request only the limits that refused it, so that no ``t`` is after Retry-After.
    """
    return (
        b"RateLimit",
        b", ".join(
            [
                b"%b;r=%d;t=%d" % (a.name, a.remaining(level), ceil(a.until_more(level)))
                for (_, a), level in zip(outcome.charges, outcome.levels, strict=True)
                if outcome.allowed or a.until_fits(level, cost)
            ]
        ),
    )
