"""RateLimiter as a library, as a program that has no gateway uses it."""

import asyncio
import uuid
from typing import Any

import pytest
from pydantic import ValidationError

from api_gateway import RateLimiter

TIERS: dict[str, dict[str, Any]] = {
    "FREE": {"requests_per_minute": 2, "burst": 1},
    "ENTERPRISE": {
        "requests_per_minute": None,
        "customers": {"acme": {"requests_per_minute": 3}, "free": {"requests_per_minute": None}},
    },
}


async def test_two_limiters_over_one_redis(redis_url: str) -> None:
    """As the mission shows it: one allowance for all processes with the same Redis."""
    caller = uuid.uuid4().hex
    async with (
        RateLimiter(redis_url=redis_url, tiers=TIERS) as one,
        RateLimiter(redis_url=redis_url, tiers=TIERS) as other,
    ):
        decisions = [await limiter.check(caller) for limiter in (one, other, one, other)]
        assert (await other.check(uuid.uuid4().hex)).allowed
    assert [decision.allowed for decision in decisions] == [True, True, True, False]
    assert [decision.remaining for decision in decisions] == [2, 1, 0, 0]
    refused = decisions[-1]
    assert refused.limit == 2
    assert 29 < refused.retry_after <= 30
    assert 89 < refused.reset <= 90
    assert refused.headers == {
        "RateLimit-Policy": '"free";q=2;w=60',
        "RateLimit": '"free";r=0;t=30',
        "Retry-After": "30",
    }


async def test_without_entering(redis_url: str) -> None:
    """As the mission makes it: it connects with the first check, however many those are at once."""
    caller = uuid.uuid4().hex
    one, other = (RateLimiter(redis_url=redis_url, tiers=TIERS) for _ in range(2))
    checks = [limiter.check(caller) for limiter in (one, other) for _ in range(10)]
    decisions = await asyncio.gather(*checks)
    assert sum(decision.allowed for decision in decisions) == 3
    await one.aclose()
    await one.aclose()
    await other.aclose()


async def test_after_the_end(redis_url: str) -> None:
    """A limiter that shares nothing any more says so, instead of counting by itself."""
    for limiter in (RateLimiter(redis_url=redis_url), RateLimiter()):
        async with limiter:
            assert (await limiter.check(uuid.uuid4().hex)).allowed
        with pytest.raises(RuntimeError, match="closed"):
            await limiter.check("a")
        with pytest.raises(RuntimeError, match="closed"):
            await limiter.__aenter__()


async def test_no_limit() -> None:
    """A tier without a limit admits everything, and has no numbers to tell."""
    async with RateLimiter(tiers=TIERS) as limiter:
        for customer in (None, "other", "free"):
            decision = await limiter.check("a", "ENTERPRISE", customer=customer)
            assert (decision.allowed, decision.limit, decision.remaining) == (True, None, None)
            assert decision.headers == {}


async def test_a_customer_shares_one_allowance() -> None:
    """All callers of a customer that its tier names use up one allowance, the customer's."""
    async with RateLimiter(tiers=TIERS) as limiter:
        callers = ["a", "b", "c", "d"]
        found = [await limiter.check(c, "ENTERPRISE", customer="acme") for c in callers]
    assert [decision.allowed for decision in found] == [True, True, True, False]


async def test_cost() -> None:
    """A cost takes several at once; one that could never be allowed is an error."""
    async with RateLimiter(tiers=TIERS) as limiter:
        assert (await limiter.check("a", cost=3)).remaining == 0
        refused = await limiter.check("a", cost=2)
        assert (refused.allowed, refused.headers["Retry-After"]) == (False, "60")
        for cost in (0, 4):
            with pytest.raises(ValueError, match="cost"):
                await limiter.check("a", cost=cost)


async def test_mistakes() -> None:
    """Tiers are checked as those of a configuration are; an unknown one is named."""
    async with RateLimiter() as limiter:
        assert (await limiter.check("a", "PRO")).limit == 1000
        with pytest.raises(ValueError, match="GOLD"):
            await limiter.check("a", "GOLD")
    with pytest.raises(ValueError, match="redis"):
        RateLimiter(redis_url="redis://localhost?foo=1")
    with pytest.raises(ValidationError):
        RateLimiter(tiers={"FREE": {"requests_per_minute": 0}})
