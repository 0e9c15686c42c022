"""What was verified is remembered, within bounds of time and memory."""

import gc
import json
import tracemalloc

import pytest

from broker.messages import Principal
from ingress.identity.verified_tokens import RefusedTokens, VerifiedTokens

ALICE = Principal("alice", "PRO", ("admin",), ("a", "b"), "acme", "s1")


@pytest.mark.parametrize("length", [10, 384, 385, 4096])
def test_until_it_expires(length: int) -> None:
    """A token of any length is known to the last moment, and gone for good after that."""
    tokens = VerifiedTokens()
    tokens.add("t" * length, ALICE, 100.0)
    assert tokens.get("t" * length, 99.9) == ALICE
    assert tokens.get("t" * (length - 1) + "u", 99.9) is None
    assert tokens.get("t" * length, 100.0) is None
    assert len(tokens) == 0


def test_the_least_recently_used_make_room() -> None:
    """There are never more than so many."""
    tokens = VerifiedTokens(most=2)
    for name in ("one", "two"):
        tokens.add(name, ALICE, 100.0)
    tokens.get("one", 0.0)
    tokens.add("three", ALICE, 100.0)
    assert [tokens.get(name, 0.0) is not None for name in ("one", "two", "three")] == [
        True,
        False,
        True,
    ]


def test_very_long_ones_are_not_remembered() -> None:
    """They would take room for thousands of others."""
    tokens = VerifiedTokens()
    tokens.add("t" * 4097, ALICE, 100.0)
    assert len(tokens) == 0


def test_forgetting_all() -> None:
    """After that every token is verified anew."""
    tokens = VerifiedTokens()
    tokens.add("t", ALICE, 100.0)
    tokens.clear()
    assert tokens.get("t", 0.0) is None


@pytest.mark.parametrize("length", [384, 700])
def test_memory(length: int) -> None:
    """100,000 tokens, with subjects and sessions of 40 letters, take less than 100 MB."""
    count = 5_000
    tokens = VerifiedTokens()
    gc.collect()
    tracemalloc.start()
    for number in range(count):
        said = f'{{"sub":"{number:040}","roles":["admin","support"],"org":"acme","tier":"PRO"}}'
        claims = json.loads(said)  # as each token brings strings of its own
        roles, session = tuple(claims["roles"]), f"s{claims['sub']}"
        principal = Principal(claims["sub"], claims["tier"], roles, roles, claims["org"], session)
        tokens.add(f"{number:0{length}}", principal, float(number))
        del principal, roles, claims, said, session
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken / count < 1000


def test_what_is_shared_is_bounded() -> None:
    """Roles that differ for every caller do not pile up beside the tokens."""
    tokens = VerifiedTokens(most=10)
    for number in range(10_000):
        tokens.add(str(number), Principal("u", "FREE", (f"role-{number}",)), 100.0)
    assert len(tokens) == 10
    assert len(tokens._shared) <= 4096


@pytest.mark.parametrize("length", [100, 10_000])
def test_refused_for_a_moment(length: int) -> None:
    """A second later, or by a clock that was set back, nothing is known of a token."""
    tokens, token = RefusedTokens(), "x" * length
    assert tokens.get(token, 100) is None
    tokens.add(token, "expired", 100)
    assert [tokens.get(token, now) for now in (100, 100.9, 101, 99)] == [
        "expired",
        "expired",
        None,
        None,
    ]
    assert tokens.get(token[1:], 100) is None
    tokens.add(token, "not valid yet", 101)
    assert tokens.get(token, 101.5) == "not valid yet"


def test_what_is_refused_is_bounded() -> None:
    """The one that was refused first makes room."""
    tokens = RefusedTokens(most=2)
    for token in ("a", "b", "a", "c"):
        tokens.add(token, "expired", 100)
    assert len(tokens) == 2
    assert [tokens.get(token, 100) for token in "abc"] == ["expired", None, "expired"]
