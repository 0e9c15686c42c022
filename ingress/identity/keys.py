"""Keys that check signatures, each with the algorithms that it may be used for.

Which those are follows from the key and the operator's allow-list. A token's ``alg`` only chooses
among them, so that no public key is ever taken for a shared secret (RFC 8725 sections 3.1, 3.2).
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import jwt
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm

from config.public_keys import UnfitKey, algorithms_for, load_public_key

SYMMETRIC = ("HS256", "HS384", "HS512")  # RFC 7518 section 3.2
_FAMILY = {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA"}  # whose reader takes a JWK of this kty
_MOST_KEYS = 100  # of a set
_MOST_TRIES = 8  # keys for one token: one that names none, or keys without names


class BadKeySet(ValueError):
    """What was to be a JWK Set (RFC 7517 section 5) is none, or has no key that can be used."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key, what it may check, and its name if it has one."""

    material: Any
    algorithms: frozenset[str]
    kid: str | None = None

    def verifies(self, alg: str, signing_input: bytes, signature: bytes) -> bool:
        """Whether the signature is by this key; ``alg`` must be one of its algorithms."""
        algorithm = jwt.get_algorithm_by_name(alg)
        return bool(algorithm.verify(signing_input, self.material, signature))


class KeySet:
    """Keys to choose from."""

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self.keys = tuple(keys)

    def find(self, alg: str, kid: str | None) -> list[Key]:
        """Those that may have signed a token with this header; keys without a name fit any."""
        fitting = [
            key
            for key in self.keys
            if alg in key.algorithms and (kid is None or key.kid is None or key.kid == kid)
        ]
        return fitting[:_MOST_TRIES]

    def names(self, kid: str) -> bool:
        """Whether a key has this name."""
        return any(key.kid == kid for key in self.keys)


def secret_key(secret: str, allowed: Collection[str]) -> Key:
    """A shared secret, for HMAC alone."""
    algorithms = frozenset(SYMMETRIC) & frozenset(allowed)
    return Key(secret.encode(), algorithms)


def pem_key(pem: bytes, allowed: Collection[str]) -> Key:
    """A public key from a PEM file that the configuration has found fit."""
    key = load_public_key(pem)
    return Key(key, frozenset(algorithms_for(key)) & frozenset(allowed))


class _Set(msgspec.Struct):
    keys: list[dict[str, Any]]


_decode_set = msgspec.json.Decoder(_Set).decode


def read_key_set(document: bytes, allowed: Collection[str]) -> KeySet:
    """The usable keys of a JWK Set; others are passed over (section 5). Raises BadKeySet."""
    try:
        listed = _decode_set(document).keys
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadKeySet("no JWK Set") from error
    if len(listed) > _MOST_KEYS:
        raise BadKeySet(f"more than {_MOST_KEYS} keys")
    keys = [key for jwk in listed for key in _usable(jwk, frozenset(allowed))]
    if not keys:
        raise BadKeySet(f"{len(listed)} keys, of which none can be used")
    return KeySet(keys)


def _usable(jwk: dict[str, Any], allowed: frozenset[str]) -> Iterator[Key]:
    """The key in a JWK, if it is a public one for signatures by an algorithm that is allowed."""
    kid, family = jwk.get("kid"), _FAMILY.get(str(jwk.get("kty")))
    if family is None or "d" in jwk or not isinstance(kid, str | None):
        return
    try:
        if jwk.get("use", "sig") != "sig" or "verify" not in jwk.get("key_ops", ["verify"]):
            return
        material = jwt.get_algorithm_by_name(family).from_jwk(jwk)
        algorithms = allowed & frozenset(algorithms_for(material))
        if "alg" in jwk:
            algorithms &= {jwk["alg"]}
    except (jwt.PyJWTError, UnfitKey, UnsupportedAlgorithm, ValueError, TypeError, KeyError):
        return
    if algorithms:
        yield Key(material, algorithms, kid)
