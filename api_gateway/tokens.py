"""Access tokens for development, as the gateway's own policies read them."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import uuid4

import jwt

from config.models import Auth


@dataclass(frozen=True, slots=True)
class Bearer:
    """For whom a token speaks."""

    subject: str
    tier: str = "FREE"
    roles: Sequence[str] = ()
    scopes: Sequence[str] = ()
    customer: str | None = None


def issue(bearer: Bearer, secret: str, auth: Auth, *, ttl: float, now: float) -> str:
    """A JWT signed with HS256 (RFC 7519), valid from ``now`` (Unix seconds) for ``ttl`` seconds.

    The names of its claims, its issuer and its audience are those that ``auth`` expects.
    """
    claims: dict[str, object] = {
        "sub": bearer.subject,
        auth.tier_claim: bearer.tier,
        auth.roles_claim: list(bearer.roles),
        "scope": " ".join(bearer.scopes),
        auth.customer_claim: bearer.customer,
        "iss": auth.issuer,
        "aud": auth.audience,
        "iat": int(now),
        "exp": int(now + ttl),
        "jti": uuid4().hex,
    }
    given = {name: value for name, value in claims.items() if value not in (None, "", [])}
    return jwt.encode(given, secret, algorithm="HS256")
