"""RateLimit-Policy and RateLimit (draft-ietf-httpapi-ratelimit-headers-10)."""

from collections.abc import Iterable
from math import ceil
from urllib.parse import quote

from broker.messages import Headers
from ingress.limits.allowance import Charge, Outcome

_IN_A_STRING = (
    "".join(map(chr, range(0x20, 0x7F))).replace("%", "").replace('"', "").replace("\\", "")
)


def quoted(name: str) -> bytes:
    """A name as a String (RFC 9651 section 3.3.3); what can't stand in one is percent-encoded."""
    return f'"{quote(name, safe=_IN_A_STRING, errors="replace")}"'.encode()


def policy_field(charges: Iterable[Charge]) -> tuple[bytes, bytes]:
    """What holds: the quota ``q`` in a window ``w``; burst comes on top of it."""
    return (b"RateLimit-Policy", b", ".join([allowance.policy for _, allowance in charges]))


def legacy_fields(outcome: Outcome) -> Headers:
    """X-RateLimit-Limit, -Remaining and -Reset of the tightest limit, as Envoy sends them.

    No standard says what they mean: here they are requests a minute, requests that may follow at
    once, and seconds until nothing is used any more.
    """
    (_, allowance), level = min(
        zip(outcome.charges, outcome.levels, strict=True),
        key=lambda each: (
            each[0].allowance.remaining(each[1]),
            -each[0].allowance.until_more(each[1]),
        ),
    )
    return (
        (b"X-RateLimit-Limit", b"%d" % allowance.per_minute),
        (b"X-RateLimit-Remaining", b"%d" % allowance.remaining(level)),
        (b"X-RateLimit-Reset", b"%d" % ceil(allowance.until_whole(level))),
    )


def state_field(outcome: Outcome, cost: int = 1) -> tuple[bytes, bytes]:
    """What is left: ``r`` requests at once, and in ``t`` seconds one more.

    Of a refused request only the limits that refused it, so that no ``t`` is after Retry-After.
    """
    return (
        b"RateLimit",
        b", ".join(
            [
                allowance.state(level)
                for (_, allowance), level in zip(outcome.charges, outcome.levels, strict=True)
                if outcome.allowed or allowance.until_fits(level, cost)
            ]
        ),
    )
