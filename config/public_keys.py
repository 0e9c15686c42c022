"""Public keys in PEM files: found fit to check tokens with, or told what they are instead.

RSA from 2048 bits (RFC 7518 section 3.3), P-256, P-384, P-521, Ed25519 and Ed448. Which algorithms
a key may be used with follows from what it is, never from what a token says (RFC 8725 section 3.1).
"""

import re
from collections.abc import Iterable
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from config.faults import KeyPath, Problem, listed, quoted
from config.models.auth import Auth

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey | Ed448PublicKey

_LARGEST_FILE = 64 * 1024  # bytes
_RSA_BITS = range(2048, 8192 + 1)  # more only costs time at each token
_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_FIT = (
    "a PEM file with one public key: RSA of 2048 to 8192 bits, P-256, P-384, P-521, Ed25519 or "
    "Ed448"
)
_labels = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----").findall


class UnfitKey(ValueError):
    """What was found instead of a public key that may be used."""


def algorithms_for(key: object) -> tuple[str, ...]:
    """The JWS algorithms that a key may check (RFC 7518 section 3.1, RFC 8037). Raises UnfitKey."""
    if isinstance(key, RSAPublicKey):
        if key.key_size not in _RSA_BITS:
            raise UnfitKey(f"an RSA key of {key.key_size} bits")
        return _RSA
    if isinstance(key, EllipticCurvePublicKey):
        if key.curve.name not in _CURVES:
            raise UnfitKey(f"a key on the curve {key.curve.name}")
        return (_CURVES[key.curve.name],)
    if isinstance(key, Ed25519PublicKey | Ed448PublicKey):
        return ("EdDSA",)
    raise UnfitKey("another kind of key")


def load_public_key(pem: bytes) -> PublicKey:
    """The key that a PEM file holds. Raises UnfitKey."""
    labels = _labels(pem)
    if len(labels) != 1:
        raise UnfitKey(f"{len(labels)} PEM blocks")
    if b"PRIVATE" in labels[0]:
        raise UnfitKey("a private key")
    if b"CERTIFICATE" in labels[0]:
        raise UnfitKey("a certificate")
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UnfitKey("no key that can be read") from error
    if not isinstance(key, PublicKey):
        raise UnfitKey("another kind of key")
    algorithms_for(key)
    return key


def read_public_keys(auth: Auth, directory: Path) -> tuple[tuple[bytes, ...], list[Problem]]:
    """The files that ``auth.public_keys`` names, as PEM, and what is wrong with them."""
    found: list[bytes] = []
    problems: list[Problem] = []
    for index, name in enumerate(auth.public_keys):
        path: KeyPath = ("auth", "public_keys", index)
        try:
            pem = _read(directory / name)
            usable = algorithms_for(load_public_key(pem))
        except UnfitKey as error:
            problems.append(Problem(path, f"{quoted(name)}, which is {error}", _FIT))
            continue
        if not set(usable) & set(auth.algorithms):
            problems.append(_without_algorithm(path, name, usable))
        found.append(pem)
    return tuple(found), problems


def _without_algorithm(path: KeyPath, name: str, usable: Iterable[str]) -> Problem:
    found = f"{quoted(name)}, a key for none of auth.algorithms"
    return Problem(path, found, f"one of {listed(usable)} among auth.algorithms")


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            pem = file.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise UnfitKey(f"no readable file ({error.strerror})") from error
    if len(pem) > _LARGEST_FILE:
        raise UnfitKey(f"larger than {_LARGEST_FILE} bytes")
    return pem
