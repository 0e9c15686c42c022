"""The claims of a token that count (RFC 7519 section 4.1), read and checked."""

import msgspec

from config.models.auth import Auth
from ingress.identity.jws import InvalidToken

GENERATION = "gws"  # a claim that only this gateway makes


class Claims(msgspec.Struct, kw_only=True):
    """Under names of our own; times in Unix seconds."""

    exp: float
    sub: str
    nbf: float = 0.0
    iat: float = 0.0
    iss: str | None = None
    aud: str | list[str] = []
    tier: str | None = None
    roles: list[str] | str = []
    scope: str = ""
    customer: str | None = None
    sid: str | None = None
    generation: object = None  # of a secret: see ingress.identity.clients


class ClaimsReader:
    """Reads payloads as the operator has said: which claims, from whom, for whom."""

    def __init__(self, auth: Auth) -> None:
        self._auth = auth
        self._fields = {name: name for name in Claims.__struct_fields__} | {
            "tier": auth.tier_claim,
            "roles": auth.roles_claim,
            "customer": auth.customer_claim,
            "generation": GENERATION,
        }

    def read(self, payload: bytes, now: float) -> Claims:
        """What a token says whose signature is good. Raises InvalidToken."""
        try:
            given = msgspec.json.decode(payload, type=dict[str, object])
            fields = {own: given[name] for own, name in self._fields.items() if name in given}
            claims = msgspec.convert(fields, Claims)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            detail = "The claims can't be read, or one is missing, or of the wrong type."
            raise InvalidToken(detail) from None
        self._check(claims, now)
        return claims

    def _check(self, claims: Claims, now: float) -> None:
        auth = self._auth
        if claims.exp + auth.leeway <= now:
            raise InvalidToken("The token has expired.")
        if max(claims.nbf, claims.iat) - auth.leeway > now:
            raise InvalidToken("The token is not valid yet.")
        if auth.issuer is not None and claims.iss != auth.issuer:
            raise InvalidToken("The token is from another issuer.")
        audience = [claims.aud] if isinstance(claims.aud, str) else claims.aud
        if auth.audience is not None and auth.audience not in audience:
            raise InvalidToken("The token is for another audience.")
        if not claims.sub:
            raise InvalidToken("The token has no subject.")
