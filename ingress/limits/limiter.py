"""RateLimiter: the limits of tiers, for programs that have no gateway."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any, Self

from config.models.tiers import DEFAULT_TIERS, Customer, Tier
from ingress.limits.allowance import Allowance, Charge, Outcome
from ingress.limits.fields import policy_field, quoted, state_field
from ingress.limits.keys import identity, key
from ingress.limits.shared import NodeStore


def tier_allowance(name: str, tier: Tier, customer: Customer | None = None) -> Allowance | None:
    """What a tier, or one customer in it, may do; None without a limit."""
    limit = customer or tier
    if limit.requests_per_minute is None:
        return None
    shown = quoted(name.lower())
    return Allowance(shown, limit.requests_per_minute, limit.burst, tier.on_store_failure)


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a request may be made, and what is left after it.

    ``limit`` is requests a minute, and ``remaining`` how many may follow at once; both are None
    where there is no limit. ``reset`` is the seconds until all of it is back, ``retry_after`` those
    until this request would be allowed (0 if it is). ``headers`` are for an HTTP response.
    """

    allowed: bool
    limit: int | None
    remaining: int | None
    reset: float
    retry_after: float
    headers: Mapping[str, str]


_UNLIMITED = Decision(True, None, None, 0.0, 0.0, {})


class RateLimiter:
    """Limits callers by their tiers (GCRA), across all processes with the same Redis.

    It connects with the first check, or when it is entered as an async context manager; leaving, or
    ``aclose``, ends that. Without ``redis_url``, and while Redis is away, it counts by itself.
    ``tiers`` are as in tiers.yaml: ``{"FREE": {"requests_per_minute": 60, "burst": 10}}``; a caller
    may make ``requests_per_minute + burst`` requests at once, and then goes on at the steady rate.
    Raises pydantic.ValidationError for tiers, and ValueError for a URL, that can't be used.
    """

    def __init__(
        self,
        redis_url: str | None = None,
        tiers: Mapping[str, Tier | Mapping[str, Any]] = DEFAULT_TIERS,
    ) -> None:
        self._tiers = {name: Tier.model_validate(tier) for name, tier in tiers.items()}
        self._allowances = {name: tier_allowance(name, tier) for name, tier in self._tiers.items()}
        self._store = NodeStore(redis_url)
        self._opening = asyncio.Lock()
        self._is_open = False
        self._is_closed = False

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Let go of Redis, for good; nothing can be checked any more."""
        self._is_closed = True
        async with self._opening:  # whoever is at it comes to its end first
            if self._is_open:
                self._is_open = False
                await self._store.__aexit__(None, None, None)

    async def _open(self) -> None:
        async with self._opening:
            if self._is_closed:
                raise RuntimeError("this RateLimiter was closed")
            if not self._is_open:
                await self._store.__aenter__()
                self._is_open = True

    async def check(
        self, caller: str, tier: str = "FREE", *, customer: str | None = None, cost: int = 1
    ) -> Decision:
        """Count a request of a caller, if it may be made; ``cost`` is how many it counts for.

        A customer that its tier names has an allowance of its own, which all its callers share.
        Raises ValueError for an unknown tier, and for a cost that would never be allowed;
        StoreUnavailable where the tier says ``on_store_failure: closed``; RuntimeError after the
        end; the first one UnsuitableRedis, see docs/operations.md.
        """
        if not self._is_open:
            await self._open()
        charge = self._charge(caller, tier, customer)
        if charge is None:
            return _UNLIMITED
        allowance = charge.allowance
        if not 1 <= cost <= allowance.per_minute + allowance.burst:
            raise ValueError(f"cost {cost} is not in 1 to {allowance.per_minute + allowance.burst}")
        outcome = await self._store.check((charge,), cost)
        return _decision(outcome, cost) if outcome.levels else _UNLIMITED

    def _charge(self, caller: str, tier: str, customer: str | None) -> Charge | None:
        if tier not in self._tiers:
            raise ValueError(f"there is no tier {tier!r}")
        found = self._tiers[tier].customers.get(customer) if customer is not None else None
        if found is None or customer is None:
            allowance, who = self._allowances[tier], identity("sub", caller)
        else:
            allowance, who = (
                tier_allowance(tier, self._tiers[tier], found),
                identity("org", customer),
            )
        return None if allowance is None else Charge(key(who, who, "tier"), allowance)


def _decision(outcome: Outcome, cost: int) -> Decision:
    allowance, level = outcome.charges[0].allowance, outcome.levels[0]
    wait = 0.0 if outcome.allowed else outcome.retry_after(cost)
    fields = [policy_field(outcome.charges), state_field(outcome, cost)]
    headers = {name.decode(): value.decode() for name, value in fields}
    if not outcome.allowed:
        headers["Retry-After"] = str(ceil(wait))
    return Decision(
        allowed=outcome.allowed,
        limit=allowance.per_minute,
        remaining=allowance.remaining(level),
        reset=allowance.until_whole(level),
        retry_after=wait,
        headers=headers,
    )
