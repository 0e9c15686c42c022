"""The signed examples of RFC 7520, from files that are no part of the project."""

import json
import os
from base64 import urlsafe_b64decode
from pathlib import Path
from typing import Any

import pytest

from ingress.identity.jws import InvalidToken, Signed, parse
from ingress.identity.keys import SYMMETRIC, BadKeySet, Key, read_key_set
from ingress.identity.signatures import signing_key
from tests.unit.ingress.identity.signing import EVERY_ALGORITHM, key_set

_DEFAULT = Path(__file__).parents[5] / "shared" / "cases"
FOLDER = Path(os.environ.get("CASES_DIR", _DEFAULT)) / "jws"
CASES = {path.name: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
COMPACT = {
    name: case for name, case in CASES.items() if "compact" in case["output"]
}  # others have no such form

pytestmark = pytest.mark.skipif(not CASES, reason=f"the cases are not in {FOLDER}; set CASES_DIR")


def key_of(jwk: dict[str, Any], allowed: tuple[str, ...] = EVERY_ALGORITHM) -> Key:
    """The public half of the example's key."""
    if jwk["kty"] == "oct":
        secret = urlsafe_b64decode(jwk["k"] + "==")
        return Key(secret, frozenset(SYMMETRIC) & frozenset(allowed), jwk["kid"])
    public = {name: value for name, value in jwk.items() if name in ("kty", "crv", *"nexy", "kid")}
    (key,) = read_key_set(key_set(public), allowed).keys
    return key


def is_good(signed: Signed, key: Key) -> bool:
    return signed.alg in key.algorithms and signing_key(signed, [key]) is key


@pytest.mark.parametrize("name", [name for name in COMPACT if "detached" not in name])
def test_good_examples(name: str) -> None:
    """The example verifies with its key, and says what it should; altered, it does not."""
    case = COMPACT[name]
    signed = parse(case["output"]["compact"])
    key = key_of(case["input"]["key"])
    assert signed.payload.decode() == case["input"]["payload"]
    assert signed.kid == case["input"]["key"]["kid"]
    assert is_good(signed, key)
    head, payload, signature = case["output"]["compact"].split(".")
    assert not is_good(parse(f"{head}.{payload[:-4]}AAAA.{signature}"), key)


@pytest.mark.parametrize("name", COMPACT)
def test_algorithms_that_are_not_allowed(name: str) -> None:
    """With its algorithm off the list, the example's key may not check it."""
    case = COMPACT[name]
    alg = case["signing"]["protected"]["alg"]
    others = tuple(each for each in EVERY_ALGORITHM if each != alg)
    try:
        usable = key_of(case["input"]["key"], others).algorithms
    except BadKeySet:  # it was its only one
        usable = frozenset()
    assert alg not in usable


@pytest.mark.parametrize("name", [name for name in CASES if "detached" in name])
def test_a_payload_elsewhere(name: str) -> None:
    """A token without its payload is none."""
    with pytest.raises(InvalidToken):
        parse(CASES[name]["output"]["compact"])


@pytest.mark.parametrize("name", CASES)
def test_json_forms(name: str) -> None:
    """A bearer token is compact: none of the JSON serialisations is taken for one."""
    for form in ("json", "json_flat"):
        if form in CASES[name]["output"]:
            with pytest.raises(InvalidToken):
                parse(json.dumps(CASES[name]["output"][form]))
