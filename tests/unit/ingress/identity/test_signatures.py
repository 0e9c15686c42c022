"""Signatures are checked right by every algorithm, many at a time, without keeping the loop."""

import asyncio
import itertools

import pytest

from ingress.identity.jws import Signed, parse
from ingress.identity.keys import Key, pem_key, secret_key
from ingress.identity.signatures import SignatureChecker
from tests.unit.ingress.identity.signing import EVERY_ALGORITHM, SECRET, key_pair, token

KINDS = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "EdDSA": "Ed25519"}


def signer(alg: str, number: int = 0) -> tuple[object, Key]:
    """What signs by an algorithm, and what checks it."""
    if alg.startswith("HS"):
        secret = SECRET if number == 0 else SECRET[::-1]
        return secret, secret_key(secret, EVERY_ALGORITHM)
    pair = key_pair(KINDS.get(alg, "RSA"), number)
    return pair.private, pem_key(pair.pem, EVERY_ALGORITHM)


def altered(signed: Signed) -> Signed:
    return Signed(
        signed.alg, signed.kid, signed.signing_input + b"x", signed.payload, signed.signature
    )


@pytest.mark.parametrize("alg", EVERY_ALGORITHM)
async def test_every_algorithm(alg: str) -> None:
    """The key that has signed is found among others, and none for what was altered."""
    private, key = signer(alg)
    other = signer(alg, 1)[1]
    signed = parse(token(private, alg))
    checker = SignatureChecker()
    assert await checker.check(signed, [other, key]) is key
    assert await checker.check(signed, [other]) is None
    assert await checker.check(signed, []) is None
    assert await checker.check(altered(signed), [key]) is None


async def test_many_at_a_time_leave_the_loop_free() -> None:
    """A turn of the loop checks for a slice of time, and what else there is to do comes between."""
    private, key = signer("ES256")
    good, bad = parse(token(private, "ES256")), altered(parse(token(private, "ES256")))
    steps = itertools.count()
    checker = SignatureChecker(lambda: next(steps) * 0.0011)  # what a check takes
    checks = [checker.check(bad if n % 3 else good, [key]) for n in range(20)]
    done_by_turn = []
    while not checks[-1].done():
        await asyncio.sleep(0)
        done_by_turn.append(sum(check.done() for check in checks))
    assert done_by_turn == list(range(2, 21, 2))
    assert [check.result() for check in checks] == [None if n % 3 else key for n in range(20)]


async def test_what_nobody_waits_for_is_not_checked() -> None:
    """A check that was given up costs nothing."""
    private, key = signer("ES256")
    checker = SignatureChecker()
    check = checker.check(parse(token(private, "ES256")), [key])
    check.cancel()
    last = await checker.check(parse(token(private, "ES256", jti="2")), [key])
    assert (check.cancelled(), last) == (True, key)


async def test_a_failing_check_does_not_fail_its_neighbours() -> None:
    """A key that the library can't work with is our fault, told to its own token only."""
    private, key = signer("RS256")
    signed = parse(token(private, "RS256"))
    broken = Key("no key at all", key.algorithms)
    checker = SignatureChecker()
    failing, good = checker.check(signed, [broken]), checker.check(signed, [key])
    assert await good is key
    with pytest.raises(AttributeError):
        await failing
