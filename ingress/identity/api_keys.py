"""Keys that machines send as X-API-Key."""

from collections.abc import Iterable
from hashlib import sha256

from broker.messages import Principal
from config.models.auth import ApiKey


class ApiKeys:
    """Whom each key speaks for.

    Only hashes are held, and a key is looked up by its hash: how long that takes tells nothing of
    another key. A fast hash will do, as keys are long and random, unlike passwords.
    """

    def __init__(self, keys: Iterable[ApiKey]) -> None:
        self._callers = {bytes.fromhex(key.key_hash): _principal(key) for key in keys}

    def __bool__(self) -> bool:
        return bool(self._callers)

    def caller(self, key: str) -> Principal | None:
        """The caller whose key it is, or None."""
        return self._callers.get(sha256(key.encode(errors="surrogatepass")).digest())


def _principal(key: ApiKey) -> Principal:
    return Principal(
        subject=key.subject or key.id,
        tier=key.tier,
        roles=key.roles,
        scopes=key.scopes,
        customer=key.org,
    )
