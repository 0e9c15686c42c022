"""Access tokens that the gateway itself signs, as its own policies read them."""

from uuid import uuid4

import jwt

from broker.messages import Principal
from config.models.auth import Auth
from ingress.identity.claims import GENERATION
from ingress.identity.keys import SYMMETRIC


def signing_algorithm(auth: Auth) -> str | None:
    """The algorithm for tokens signed with the secret; None where ``auth`` allows none."""
    return next((name for name in SYMMETRIC if name in auth.algorithms), None)


def issue(
    principal: Principal,
    secret: str,
    auth: Auth,
    *,
    ttl: float,
    now: float,
    generation: str | None = None,
) -> str:
    """A JWT (RFC 7519), valid from ``now`` (Unix seconds) for ``ttl`` seconds.

    The names of its claims, its issuer and its audience are those that ``auth`` expects;
    ``generation`` names the secret of the client that it is for. Raises ValueError where ``auth``
    allows no algorithm for a secret.
    """
    algorithm = signing_algorithm(auth)
    if algorithm is None:
        raise ValueError("no algorithm for a secret is allowed")
    claims: dict[str, object] = {
        "sub": principal.subject,
        auth.tier_claim: principal.tier,
        auth.roles_claim: list(principal.roles),
        "scope": " ".join(principal.scopes),
        auth.customer_claim: principal.customer,
        "sid": principal.session,
        GENERATION: generation,
        "iss": auth.issuer,
        "aud": auth.audience,
        "iat": int(now),
        "exp": int(now + ttl),
        "jti": uuid4().hex,
    }
    given = {name: value for name, value in claims.items() if value not in (None, "", [])}
    return jwt.encode(given, secret, algorithm=algorithm)
