"""Tokens that were verified once, so that it need not be done at each request."""

from collections import OrderedDict
from collections.abc import Hashable
from hashlib import sha256
from typing import TypeVar, cast

from broker.messages import Principal

_MOST_TOKENS = 100_000
_LONGEST_TOKEN = 4096  # characters; longer ones are verified each time, so that memory is bounded
_LONGEST_NAME = 384  # characters; what is longer is known by its hash, which takes less room
_MOST_SHARED = 4096
_MOST_REFUSED = 4096
_REFUSED_FOR = 1.0  # seconds; so a clock that is set right, or a token's time that comes, counts

T = TypeVar("T", bound=Hashable)


class VerifiedTokens:
    """Whom each speaks for, until it expires; the least recently used make room for others.

    100,000 of them take up to 100 MB.
    """

    def __init__(self, most: int = _MOST_TOKENS) -> None:
        self._most = most
        self._known: OrderedDict[str | bytes, tuple[Principal, float]] = OrderedDict()
        self._shared: dict[Hashable, Hashable] = {}

    def __len__(self) -> int:
        return len(self._known)

    def get(self, token: str, now: float) -> Principal | None:
        """The caller, if the token was verified and has not expired; ``now`` is Unix seconds."""
        name = _name(token)
        known = self._known.get(name)
        if known is None:
            return None
        if now >= known[1]:
            del self._known[name]
            return None
        self._known.move_to_end(name)
        return known[0]

    def add(self, token: str, principal: Principal, expires: float) -> None:
        """Remember a token until ``expires``, Unix seconds."""
        if len(token) > _LONGEST_TOKEN:
            return
        self._known[_name(token)] = (self._slim(principal), expires)
        if len(self._known) > self._most:
            self._known.popitem(last=False)

    def clear(self) -> None:
        """Forget them all."""
        self._known.clear()

    def _slim(self, principal: Principal) -> Principal:
        """The same, with what many callers have in common kept once."""
        return Principal(
            subject=principal.subject,
            tier=self._once(principal.tier),
            roles=self._once(principal.roles),
            scopes=self._once(principal.scopes),
            customer=self._once(principal.customer),
            session=principal.session,
        )

    def _once(self, value: T) -> T:
        if len(self._shared) >= _MOST_SHARED:
            self._shared.clear()
        return cast(T, self._shared.setdefault(value, value))


class RefusedTokens:
    """Why those are refused that somebody did sign: as expired, for another audience ...

    Each is known for a second, and the oldest make room for others, so that who sends one again and
    again has it verified once a second. What is forged is not here: each of those is counted.
    """

    def __init__(self, most: int = _MOST_REFUSED) -> None:
        self._most = most
        self._known: OrderedDict[str | bytes, tuple[str, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, token: str, now: float) -> str | None:
        """Why it was refused a moment ago; ``now`` is Unix seconds."""
        known = self._known.get(_name(token)) if self._known else None
        return known[0] if known and 0 <= now - known[1] < _REFUSED_FOR else None

    def add(self, token: str, reason: str, now: float) -> None:
        """Remember why a token was refused."""
        name = _name(token)
        self._known[name] = (reason, now)
        self._known.move_to_end(name)
        if len(self._known) > self._most:
            self._known.popitem(last=False)


def _name(text: str) -> str | bytes:
    if len(text) <= _LONGEST_NAME:
        return text
    return sha256(text.encode(errors="surrogatepass")).digest()
