"""Tokens that the gateway signs."""

import jwt
import pytest

from broker.messages import Principal
from config.models.auth import Auth
from ingress.identity.tokens import issue

SECRET = "a-secret-that-is-long-enough-for-hs256-and-hs384"
NOW = 1_700_000_000.0


def decode(token: str, issuer: str | None = None, audience: str | None = None) -> dict[str, object]:
    return jwt.decode(
        token,
        SECRET,
        algorithms=["HS256"],
        options={"verify_exp": False},
        issuer=issuer,
        audience=audience,
    )


def test_a_token_carries_all_claims() -> None:
    """Subject, tier, roles, scopes, customer and session are in it, with times and an id."""
    principal = Principal("u1", "PRO", ("admin",), ("users:read", "users:write"), "acme", "s1")

    claims = decode(issue(principal, SECRET, Auth(), ttl=3600, now=NOW))

    assert len(str(claims.pop("jti"))) == 32
    assert claims == {
        "sub": "u1",
        "tier": "PRO",
        "roles": ["admin"],
        "scope": "users:read users:write",
        "org": "acme",
        "sid": "s1",
        "iat": 1_700_000_000,
        "exp": 1_700_003_600,
    }


def test_what_is_not_given_is_not_claimed() -> None:
    """A caller with nothing but a subject has no empty claims."""
    claims = decode(issue(Principal("u1", "FREE"), SECRET, Auth(), ttl=60, now=NOW))

    assert set(claims) == {"sub", "tier", "iat", "exp", "jti"}


def test_the_configuration_names_claims_issuer_and_audience() -> None:
    """A token passes the checks that gateway.yaml asks for."""
    auth = Auth(issuer="me", audience="gateway", tier_claim="plan", roles_claim="groups")

    token = issue(Principal("u1", "PRO", ("admin",)), SECRET, auth, ttl=60, now=NOW)

    claims = decode(token, issuer="me", audience="gateway")
    assert claims["plan"] == "PRO"
    assert claims["groups"] == ["admin"]


def test_two_tokens_have_two_ids() -> None:
    """Tokens of the same second differ."""
    tokens = {issue(Principal("u1", "FREE"), SECRET, Auth(), ttl=60, now=NOW) for _ in range(2)}

    assert len(tokens) == 2


def test_the_algorithm_is_one_that_is_allowed() -> None:
    """A token is signed by an algorithm for secrets that the gateway will take, or not at all."""
    token = issue(
        Principal("u1", "FREE"), SECRET, Auth(algorithms=("RS256", "HS384")), ttl=1, now=0
    )
    assert jwt.get_unverified_header(token)["alg"] == "HS384"
    auth = Auth(algorithms=("RS256",), public_keys=("a.pem",))
    with pytest.raises(ValueError, match="algorithm"):
        issue(Principal("u1", "FREE"), SECRET, auth, ttl=1, now=0)
