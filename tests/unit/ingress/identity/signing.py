"""An issuer of tokens: key pairs of every kind, their JWKs and PEMs, and what they sign."""

import base64
import hmac
import json
from dataclasses import dataclass
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

SECRET = "a-secret-that-is-long-enough-for-every-algorithm-that-is-tried-here"
NOW = 1_700_000_000.0
EVERY_ALGORITHM = (
    *("HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)
_MAKERS = {
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
    "RSA-1024": lambda: rsa.generate_private_key(65537, 1024),
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "P-521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "secp256k1": lambda: ec.generate_private_key(ec.SECP256K1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
    "Ed448": ed448.Ed448PrivateKey.generate,
}
_FAMILY = {"RSA": "RS256", "P-": "ES256", "sec": "ES256", "Ed": "EdDSA"}


class Clock:
    """Unix or monotonic seconds, as a test wants them."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class KeyPair:
    """A private key and its public half in the forms that it is given out in."""

    kind: str
    private: Any

    @property
    def pem(self) -> bytes:
        public = self.private.public_key()
        return bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))

    def jwk(self, kid: str | None = None, **members: Any) -> dict[str, Any]:
        """Its public half; members that are ... are left out."""
        family = next(alg for start, alg in _FAMILY.items() if self.kind.startswith(start))
        algorithm = jwt.get_algorithm_by_name(family)
        public = algorithm.to_jwk(self.private.public_key(), as_dict=True)
        made = {**public, "kid": kid, "use": "sig", **members}
        return {name: value for name, value in made.items() if value not in (None, ...)}

    def token(self, alg: str, kid: str | None = None, **claims: Any) -> str:
        return token(self.private, alg, {"kid": kid} if kid is not None else None, **claims)


@cache
def key_pair(kind: str, number: int = 0) -> KeyPair:
    """One of a kind; the same number gives the same pair."""
    return KeyPair(kind, _MAKERS[kind]())


def token(key: Any, alg: str, headers: dict[str, Any] | None = None, **claims: Any) -> str:
    """A token for alice that expires in a minute; claims that are ... are left out."""
    made = {"sub": "alice", "exp": NOW + 60, **claims}
    given = {name: value for name, value in made.items() if value is not ...}
    return jwt.encode(given, key, alg, headers=headers)


def bearer(
    secret: str = SECRET, alg: str = "HS256", headers: dict[str, Any] | None = None, **claims: Any
) -> str:
    """The value of an Authorization field, signed with a secret."""
    return "Bearer " + token(secret, alg, headers, **claims)


def encoded(data: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(header: bytes, payload: bytes, secret: bytes = SECRET.encode()) -> str:
    """A token of any bytes, with a good signature."""
    text = f"{encoded(header)}.{encoded(payload)}"
    return f"{text}.{encoded(hmac.digest(secret, text.encode(), 'sha256'))}"


def key_set(*jwks: dict[str, Any]) -> bytes:
    """A JWK Set."""
    return json.dumps({"keys": jwks}).encode()
