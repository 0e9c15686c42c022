"""Machines that may fetch tokens, and the secrets by which they are known."""

from base64 import urlsafe_b64encode
from collections.abc import Sequence
from hashlib import sha256
from hmac import compare_digest
from typing import NamedTuple

from config.models.auth import Client

_OF_NOBODY = bytes(32)
_GENERATION = 6  # bytes; no padding


class Credentials(NamedTuple):
    """What a client says of itself."""

    id: str
    secret: str


def hashed_secret(secret: str) -> bytes:
    """A fast hash will do, as secrets are long and random, unlike passwords."""
    return sha256(secret.encode(errors="surrogatepass")).digest()


def generation(client: Client) -> str:
    """A name for the secret that a client has now; tokens that came by another one have another."""
    return urlsafe_b64encode(sha256(client.secret_hash.encode()).digest()[:_GENERATION]).decode()


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

    def described(self, given: Credentials | None) -> str:
        """For the log: which client that is, if there is one of that id."""
        if given is None or given.id not in self._clients:
            return "an unknown client"
        return f"client {given.id}"
