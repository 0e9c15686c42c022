"""Which keys of a set are used, and what each may check."""

import json
from typing import Any

import pytest

from ingress.identity.keys import BadKeySet, KeySet, pem_key, read_key_set, secret_key
from tests.unit.ingress.identity.signing import EVERY_ALGORITHM, SECRET, key_pair, key_set

RSA = key_pair("RSA")


@pytest.mark.parametrize(
    ("kind", "algorithms"),
    [
        ("RSA", {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
        ("P-256", {"ES256"}),
        ("P-384", {"ES384"}),
        ("P-521", {"ES512"}),
        ("Ed25519", {"EdDSA"}),
        ("Ed448", {"EdDSA"}),
    ],
)
def test_algorithms_follow_from_the_key(kind: str, algorithms: set[str]) -> None:
    """A key is for the algorithms of its kind and curve, from a file as from a set."""
    pair = key_pair(kind)
    (fetched,) = read_key_set(key_set(pair.jwk("k")), EVERY_ALGORITHM).keys
    assert fetched.algorithms == pem_key(pair.pem, EVERY_ALGORITHM).algorithms == algorithms
    assert fetched.material == pem_key(pair.pem, EVERY_ALGORITHM).material


def test_the_allow_list_counts() -> None:
    """What the operator does not allow no key may check; a secret is for HMAC alone."""
    assert pem_key(RSA.pem, ["RS256", "HS256"]).algorithms == {"RS256"}
    assert secret_key(SECRET, ["RS256", "HS256"]).algorithms == {"HS256"}


@pytest.mark.parametrize(
    "jwk",
    [
        {"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTEyMzQ", "kid": "k"},
        {"kty": "new"},
        {"kty": ["RSA"]},
        {},
        key_pair("RSA-1024").jwk("weak"),
        key_pair("secp256k1").jwk("curve"),
        RSA.jwk("k", use="enc"),
        RSA.jwk("k", key_ops=["encrypt"]),
        RSA.jwk("k", key_ops=5),
        RSA.jwk("k", alg="RS1"),
        RSA.jwk("k", alg="HS256"),
        RSA.jwk("k", alg=["RS256"]),
        RSA.jwk("k", d="AQAB"),
        RSA.jwk("k", n="!!!"),
        RSA.jwk("k", n=5),
        RSA.jwk("k", e=...),
        RSA.jwk("k", e="AQ"),
        {**RSA.jwk(), "kid": 5},
        key_pair("P-256").jwk("k", x="AAAA"),
        key_pair("P-256").jwk("k", y=key_pair("P-256").jwk()["x"]),
        key_pair("P-256").jwk("k", crv="P-384"),
        key_pair("Ed25519").jwk("k", x="AAAA"),
        key_pair("Ed25519").jwk("k", crv="X25519"),
    ],
)
def test_unusable_keys_are_passed_over(jwk: dict[str, Any]) -> None:
    """Of shared secrets, private, weak, broken and foreign keys none is used, and none disturbs."""
    good = key_pair("RSA", 1).jwk("good")
    assert [key.kid for key in read_key_set(key_set(jwk, good), EVERY_ALGORITHM).keys] == ["good"]
    with pytest.raises(BadKeySet, match="1 keys, of which none can be used"):
        read_key_set(key_set(jwk), EVERY_ALGORITHM)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"keys": {}}',
        b'{"keys": [5]}',
        b'{"keys": []}',
        b'{"kty": "RSA"}',
        b"\xff",
        b'{"keys":' + b"[" * 10_000,
        json.dumps({"keys": [{}] * 101}).encode(),
    ],
)
def test_what_is_no_key_set(document: bytes) -> None:
    """A document without a usable key, or with too many, is none."""
    with pytest.raises(BadKeySet):
        read_key_set(document, EVERY_ALGORITHM)


def test_a_key_may_name_its_one_algorithm() -> None:
    """RFC 7517 section 4.4: then it is for no other."""
    (key,) = read_key_set(key_set(RSA.jwk("k", alg="PS256")), EVERY_ALGORITHM).keys
    assert key.algorithms == {"PS256"}


def test_choosing_by_name_and_algorithm() -> None:
    """The name must be the token's, where both have one; a token may be tried with eight keys."""
    named = [key_pair("RSA", n).jwk(f"k{n}") for n in range(2)]
    keys = read_key_set(key_set(*named, key_pair("P-256").jwk("k0"), RSA.jwk()), EVERY_ALGORITHM)
    assert [key.kid for key in keys.find("RS256", "k1")] == ["k1", None]
    assert [key.kid for key in keys.find("RS256", None)] == ["k0", "k1", None]
    assert [key.kid for key in keys.find("ES256", "k0")] == ["k0"]
    assert keys.find("ES256", "k1") == keys.find("ES384", "k0") == []
    assert (keys.names("k1"), keys.names("k2")) == (True, False)
    assert len(KeySet(keys.keys * 10).find("RS256", None)) == 8
