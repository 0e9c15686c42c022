"""The part of gateway.yaml that says who callers are."""

from typing import Annotated, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from config.faults import quoted
from config.models.base import Model
from config.values import (
    Algorithm,
    FilePath,
    JwksUrl,
    Name,
    Number,
    PositiveCount,
    Role,
    Scope,
    Sha256,
    TierName,
    refusal,
)


class Client(Model):
    """A machine that may fetch tokens, known here by the SHA-256 of its secret."""

    id: Name
    secret_hash: Sha256
    tier: TierName = "FREE"
    roles: tuple[Role, ...] = ()
    scopes: tuple[Scope, ...] = ()
    customer: Annotated[str, Field(min_length=1, max_length=200)] | None = None


class ApiKey(Model):
    """A key that a machine sends as X-API-Key, known here by its SHA-256, and for whom it speaks.

    The subject is the ``id`` where none is given.
    """

    id: Name
    key_hash: Sha256
    subject: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    tier: TierName = "FREE"
    roles: tuple[Role, ...] = ()
    scopes: tuple[Scope, ...] = ()
    org: str | None = None


_CLAIMS = ("tier_claim", "roles_claim", "customer_claim")

# These mean something else in every token (RFC 7519, RFC 8693), or in the gateway's own.
_RESERVED_CLAIMS = ("sub", "exp", "iat", "nbf", "iss", "aud", "scope", "sid", "jti")
_ClaimValue = Annotated[str, Field(min_length=1, max_length=2048)]
_ClaimName = Annotated[str, Field(min_length=1, max_length=200, validate_default=True)]


class Auth(Model):
    """How callers are known; ``leeway`` and the lifetimes are seconds."""

    algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1)] = ("HS256",)
    issuer: _ClaimValue | None = None
    audience: _ClaimValue | None = None
    leeway: Annotated[Number, Field(ge=0, le=300)] = 30.0
    public_keys: tuple[FilePath, ...] = ()
    jwks_url: JwksUrl | None = None
    tier_claim: _ClaimName = "tier"
    roles_claim: _ClaimName = "roles"
    customer_claim: _ClaimName = "org"
    access_ttl: PositiveCount = 900
    refresh_ttl: PositiveCount = 1_209_600
    clients: tuple[Client, ...] = ()
    api_keys: tuple[ApiKey, ...] = ()

    @field_validator(*_CLAIMS)
    @classmethod
    def _means_one_thing(cls, value: str, info: ValidationInfo) -> str:
        if value in _RESERVED_CLAIMS:
            raise refusal(f"another name than {', '.join(_RESERVED_CLAIMS)}")
        for other in _CLAIMS:
            if info.data.get(other) == value:
                raise refusal("a claim of its own", f"{quoted(value)}, as in {other}")
        return value

    @field_validator("clients")
    @classmethod
    def _can_be_signed_for(
        cls, value: tuple[Client, ...], info: ValidationInfo
    ) -> tuple[Client, ...]:
        algorithms = info.data.get("algorithms", ())
        if value and algorithms and not any(name.startswith("HS") for name in algorithms):
            raise refusal(
                "an algorithm of secrets, like HS256, among auth.algorithms",
                "clients, and nothing to sign their tokens with",
            )
        return value

    @field_validator("jwks_url")
    @classmethod
    def _has_an_algorithm(cls, value: JwksUrl | None, info: ValidationInfo) -> JwksUrl | None:
        algorithms = info.data.get("algorithms", ())
        if value and algorithms and all(name.startswith("HS") for name in algorithms):
            raise refusal("an algorithm of public keys, like RS256, among auth.algorithms")
        return value

    @model_validator(mode="after")
    def _may_have_a_key(self) -> Self:
        """Whether there is a secret is said elsewhere; public keys are named here, or nowhere."""
        by_secret = any(name.startswith("HS") for name in self.algorithms)
        if not (by_secret or self.public_keys or self.jwks_url):
            found = f"algorithms of public keys alone ({', '.join(self.algorithms)}), and no keys"
            raise refusal("public_keys or jwks_url beside them", found)
        return self
