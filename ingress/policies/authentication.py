"""Who asks: a bearer token (RFC 6750) that is a JWT under a shared secret (RFC 7519, RFC 8725).

No token, nor any part of one, ever shows in an error.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Collection

import jwt
import msgspec

from broker.messages import Principal
from broker.problems import ProblemType
from config.models import Auth
from ingress.problems import Refused

DEFAULT_TIER = "FREE"
_CACHE_SIZE = 8192
_CACHED_LENGTH = 4096  # longer tokens are verified each time, so that the cache stays small


class _Claims(msgspec.Struct, kw_only=True):
    """The claims that count, under their own names; times in Unix seconds."""

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


class Authenticator:
    """Turns the Authorization field into a Principal; remembers verified tokens until they expire.

    Without a ``secret`` no token is valid. ``tiers`` are the names that a token may give; ``clock``
    gives Unix seconds.
    """

    def __init__(
        self,
        auth: Auth,
        secret: str | None,
        tiers: Collection[str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._auth = auth
        self._secret = secret
        self._tiers = frozenset(tiers)
        self._clock = clock
        # The key is a shared secret, so nothing but HMAC may be checked with it.
        self._algorithms = [name for name in auth.algorithms if name.startswith("HS")]
        self._jws = jwt.PyJWS(self._algorithms)
        self._fields = {name: name for name in _Claims.__struct_fields__} | {
            "tier": auth.tier_claim,
            "roles": auth.roles_claim,
            "customer": auth.customer_claim,
        }
        self._verified: OrderedDict[str, tuple[Principal, float]] = OrderedDict()

    def authenticate(self, authorization: str | None, *, required: bool) -> Principal | None:
        """The caller, or None for an anonymous one where that is allowed.

        A token that is given must be valid, required or not. Raises Refused (401).
        """
        if authorization is not None:
            known = self._verified.get(authorization)
            if known is not None and self._clock() < known[1]:
                self._verified.move_to_end(authorization)
                return known[0]
            scheme, _, token = authorization.partition(" ")
            if scheme.lower() == "bearer":
                return self._verify(authorization, token.strip(" "))
        if required:
            raise _challenge("This route wants a bearer token.", None)
        return None

    def _verify(self, authorization: str, token: str) -> Principal:
        self._verified.pop(authorization, None)
        claims = self._claims(token)
        self._check(claims)
        principal = self._principal(claims)
        if len(authorization) <= _CACHED_LENGTH:
            self._verified[authorization] = (principal, claims.exp + self._auth.leeway)
            if len(self._verified) > _CACHE_SIZE:
                self._verified.popitem(last=False)
        return principal

    def _claims(self, token: str) -> _Claims:
        """What a token with a good signature says."""
        if not self._secret:
            raise _invalid("There is no key to verify tokens with.")
        try:
            signed = self._jws.decode_complete(token, self._secret, self._algorithms)
            given = msgspec.json.decode(signed["payload"], type=dict[str, object])
        except (jwt.PyJWTError, msgspec.MsgspecError, ValueError, RecursionError):
            raise _invalid("The token is malformed, or its signature is not valid.") from None
        if "crit" in signed["header"]:
            raise _invalid("The token demands extensions that are not understood.")
        fields = {own: given[name] for own, name in self._fields.items() if name in given}
        try:
            return msgspec.convert(fields, _Claims)
        except msgspec.ValidationError:
            raise _invalid("A claim of the token is missing, or of the wrong type.") from None

    def _check(self, claims: _Claims) -> None:
        """RFC 7519 section 4.1."""
        auth, now = self._auth, self._clock()
        if claims.exp + auth.leeway <= now:
            raise _invalid("The token has expired.")
        if max(claims.nbf, claims.iat) - auth.leeway > now:
            raise _invalid("The token is not valid yet.")
        if auth.issuer is not None and claims.iss != auth.issuer:
            raise _invalid("The token is from another issuer.")
        audience = [claims.aud] if isinstance(claims.aud, str) else claims.aud
        if auth.audience is not None and auth.audience not in audience:
            raise _invalid("The token is for another audience.")

    def _principal(self, claims: _Claims) -> Principal:
        tier = DEFAULT_TIER if claims.tier is None else claims.tier
        if tier not in self._tiers:
            raise _invalid("The token names an unknown tier.")
        if not claims.sub:
            raise _invalid("The token has no subject.")
        return Principal(
            subject=claims.sub,
            tier=tier,
            roles=(claims.roles,) if isinstance(claims.roles, str) else tuple(claims.roles),
            scopes=tuple(claims.scope.split()),
            customer=claims.customer,
            session=claims.sid,
        )


def _invalid(detail: str) -> Refused:
    return _challenge(detail, "invalid_token")


def _challenge(detail: str, error: str | None) -> Refused:
    """A 401 with its challenge; without credentials it has no error code (RFC 6750 section 3.1)."""
    challenge = 'Bearer realm="api-gateway"'
    if error is not None:
        challenge += f', error="{error}", error_description="{detail}"'
    headers = ((b"WWW-Authenticate", challenge.encode()),)
    return Refused(ProblemType.UNAUTHORIZED, detail, headers=headers)
