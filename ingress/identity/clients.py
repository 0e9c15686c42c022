"""Machines that may fetch tokens, and the secrets by which they are known."""

from collections.abc import Sequence
from hashlib import sha256
from hmac import compare_digest
from typing import NamedTuple

from config.models import Client

_OF_NOBODY = bytes(32)


class Credentials(NamedTuple):
    """What a client says of itself."""

    id: str
    secret: str


def hashed_secret(secret: str) -> bytes:
    """A fast hash will do, as secrets are long and random, unlike passwords."""
    return sha256(secret.encode(errors="surrogatepass")).digest()


class Clients:
    """The clients of a configuration, by their ids."""

    def __init__(self, clients: Sequence[Client]) -> None:
        self._clients = {client.id: client for client in clients}
        self._hashes = {each.id: bytes.fromhex(each.secret_hash) for each in clients}

    def authenticate(self, given: Credentials) -> Client | None:
        """The client with that id and secret; it takes as long where there is no such id."""
        expected = self._hashes.get(given.id, _OF_NOBODY)
        if not compare_digest(hashed_secret(given.secret), expected):
            return None
        return self._clients.get(given.id)
