"""Who asks: a bearer token (RFC 6750) that is a JWT (RFC 7519, RFC 8725), or an API key.

No token, nor any part of one, ever shows in an error.
"""

import re
import time
from collections.abc import Callable, Collection

from broker.messages import Principal
from broker.problems import ProblemType
from config.header_fields import API_KEY
from config.models.auth import Auth
from ingress.identity.api_keys import ApiKeys
from ingress.identity.claims import Claims, ClaimsReader
from ingress.identity.clients import generation
from ingress.identity.jws import BadSignature, InvalidToken, Signed, malformed, parse
from ingress.identity.keyring import Keyring, KeysUnavailable
from ingress.identity.keys import SYMMETRIC
from ingress.identity.session_store import NoSession, SessionOver, is_session_id
from ingress.identity.verified_tokens import RefusedTokens
from ingress.problems import Refused
from ingress.request import HeaderLookup

DEFAULT_TIER = "FREE"

# What some service may read as a bearer token: all that begins so, and a challenge behind a comma,
# but no parameter, nor what stands in the quotes of one. Takes no longer than the field is long.
_BEHIND_A_COMMA = r""",[\s"']*+bearer(?![\w!#$%&'*+.^`|~-]*+\s*+=)"""
_mentions_bearer = re.compile(
    r"""[\s,"']*+bearer|(?:="[^"]*"|[^,]|(?!""" + _BEHIND_A_COMMA + r"""),)*+""" + _BEHIND_A_COMMA,
    re.IGNORECASE,
).match


class NotGenuine(Refused):
    """A 401 for a token or key that nobody has given out: it was forged, or guessed."""


class Authenticator:
    """Turns what a request says of its caller into a Principal.

    ``tiers`` are the names that a token may give; ``clock`` gives Unix seconds.
    """

    def __init__(
        self,
        auth: Auth,
        tiers: Collection[str],
        keyring: Keyring,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._algorithms = frozenset(auth.algorithms)
        self._leeway = auth.leeway
        self._claims = ClaimsReader(auth)
        self._api_keys = ApiKeys(auth.api_keys)
        self._clients = {each.id: (each.customer, generation(each)) for each in auth.clients}
        self._tiers = frozenset(tiers)
        self._keyring = keyring
        self._verified = keyring.verified
        self._refused = RefusedTokens()
        self._clock = clock

    def recall(self, headers: HeaderLookup) -> Principal | None:
        """The caller, if its token was verified before; None says nothing."""
        authorization = headers.get("Authorization")
        if authorization is None:
            return None
        return self._verified.get(authorization, self._clock())

    async def authenticate(self, headers: HeaderLookup, *, required: bool) -> Principal | None:
        """The caller, or None for an anonymous one where that is allowed.

        A token or key that is given must be valid, required or not; a token goes before a key.
        Raises Refused: 401, or 503 while there are no keys to check with.
        """
        authorization = headers.get("Authorization")
        if authorization is not None:
            scheme, _, token = authorization.partition(" ")
            if scheme.lower() == "bearer":
                return await self._bearer(authorization, token.strip(" "))
            if _mentions_bearer(authorization):
                raise _challenge(str(malformed()), "invalid_token", NotGenuine)
        if self._api_keys and (key := headers.get(API_KEY)) is not None:
            return self._machine(key)
        if required:
            or_key = " or an API key" if self._api_keys else ""
            raise _challenge(f"This route wants a bearer token{or_key}.")
        return None

    async def _bearer(self, authorization: str, token: str) -> Principal:
        try:
            return await self._verified_caller(authorization, token)
        except BadSignature as error:
            raise _challenge(str(error), "invalid_token", NotGenuine) from None
        except InvalidToken as error:
            raise _challenge(str(error), "invalid_token") from None
        except KeysUnavailable:
            detail = "There are no keys yet to check the token with."
            raise Refused(ProblemType.KEYS_UNAVAILABLE, detail) from None

    async def _verified_caller(self, authorization: str, token: str) -> Principal:
        if (reason := self._refused.get(authorization, self._clock())) is not None:
            raise InvalidToken(reason)
        signed = parse(token)
        if signed.alg not in self._algorithms:
            raise malformed()
        key = await self._keyring.signing_key(signed)
        if key is None:
            raise malformed()
        try:
            claims = self._claims.read(signed.payload, self._clock())
            principal = self._principal(claims, self._session(signed, claims))
        except InvalidToken as error:
            self._refused.add(authorization, str(error), self._clock())
            raise
        if self._keyring.holds(key):  # it may have been withdrawn meanwhile
            self._verified.add(authorization, principal, claims.exp + self._leeway)
        return principal

    def _session(self, signed: Signed, claims: Claims) -> str | None:
        """The session of this gateway under which it made the token, if it did.

        Those of other issuers are theirs to end. What public keys vouch for is never its own. A
        client that is no more, or has another customer or secret now, has no sessions.
        """
        if signed.alg not in SYMMETRIC or not is_session_id(claims.sid):
            return None
        if self._clients.get(claims.sub) != (claims.customer, claims.generation):
            raise _over()
        return claims.sid

    def _principal(self, claims: Claims, session: str | None) -> Principal:
        tier = DEFAULT_TIER if claims.tier is None else claims.tier
        if tier not in self._tiers:
            raise InvalidToken("The token names an unknown tier.")
        return Principal(
            subject=claims.sub,
            tier=tier,
            roles=(claims.roles,) if isinstance(claims.roles, str) else tuple(claims.roles),
            scopes=tuple(claims.scope.split()),
            customer=claims.customer,
            session=session,
        )

    def _machine(self, key: str) -> Principal:
        caller = self._api_keys.caller(key)
        if caller is None:
            raise _challenge("The API key is not known.", kind=NotGenuine)
        return caller


def session_refusal(error: NoSession) -> Refused:
    """The answer to a caller whose session is over, or can't be asked for."""
    if isinstance(error, SessionOver):
        return _challenge(str(_over()), "invalid_token")
    detail = "Whether the session of this token lasts can't be checked at the moment."
    return Refused(ProblemType.SESSIONS_UNAVAILABLE, detail)


def _over() -> InvalidToken:
    return InvalidToken("The session of this token is over.")


def _challenge(detail: str, error: str | None = None, kind: type[Refused] = Refused) -> Refused:
    """A 401 with its challenge; without a token it has no error code (RFC 6750 section 3.1)."""
    challenge = 'Bearer realm="api-gateway"'
    if error is not None:
        challenge += f', error="{error}", error_description="{detail}"'
    headers = ((b"WWW-Authenticate", challenge.encode()),)
    return kind(ProblemType.UNAUTHORIZED, detail, headers=headers)
