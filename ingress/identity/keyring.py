"""All keys under one configuration, and the tokens that were verified with them."""

import asyncio

from ingress.identity.jwks import RemoteKeys
from ingress.identity.jws import Signed
from ingress.identity.keys import SYMMETRIC, Key, KeySet
from ingress.identity.signatures import SignatureChecker
from ingress.identity.verified_tokens import VerifiedTokens


class KeysUnavailable(Exception):
    """The keys at the URL were never fetched, so nothing can be said of a token."""


class Keyring:
    """Finds the key that has signed a token: among those at hand, and those of a URL if it has one.

    Requests with the same token at a time share one check. ``verified`` holds what came of it, and
    forgets all when a key is withdrawn.
    """

    def __init__(
        self,
        at_hand: KeySet,
        checker: SignatureChecker,
        remote: RemoteKeys | None = None,
    ) -> None:
        self.verified = VerifiedTokens()
        if remote is not None:
            remote.on_withdrawn = self.verified.clear
        self._remote = remote
        self._at_hand = at_hand
        self._checker = checker
        self._under_way: dict[Signed, asyncio.Future[Key | None]] = {}

    async def signing_key(self, signed: Signed) -> Key | None:
        """The key by which it is signed, or None. Raises KeysUnavailable."""
        keys = self._at_hand.find(signed.alg, signed.kid)
        if self._remote is not None and signed.alg not in SYMMETRIC:
            await self._remote.seek(signed.kid)
            if self._remote.keys is not None:
                keys += self._remote.keys.find(signed.alg, signed.kid)
            elif not keys:
                raise KeysUnavailable
        return await self._check(signed, keys)

    def holds(self, key: Key) -> bool:
        """Whether a key still counts."""
        fetched = self._remote.keys if self._remote else None
        return key in self._at_hand.keys or (fetched is not None and key in fetched.keys)

    async def _check(self, signed: Signed, keys: list[Key]) -> Key | None:
        check = self._under_way.get(signed)
        if check is None:
            check = self._checker.check(signed, keys)
            if check.done():
                return check.result()
            self._under_way[signed] = check
            check.add_done_callback(lambda _: self._under_way.pop(signed, None))
        return await asyncio.shield(check)  # a client that leaves takes it from nobody
