"""Rate limits, as routes, tiers and rules give them."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from config.models.base import Model
from config.values import Count, PositiveCount, refusal

# While Redis can't be asked: each node admits its share; the limit does not hold; nothing passes.
OnStoreFailure = Literal["local", "open", "closed"]

# Redis's Lua has doubles: a larger allowance could not be counted exactly.
MOST_ALLOWED = 150_000_000
Rate = Annotated[PositiveCount, Field(le=MOST_ALLOWED)]


def _exactly_countable(burst: int, info: ValidationInfo) -> int:
    most = MOST_ALLOWED - (info.data.get("requests_per_minute") or 0)
    if burst > most:
        raise refusal(f"at most {MOST_ALLOWED} together with requests_per_minute")
    return burst


Burst = Annotated[Count, AfterValidator(_exactly_countable)]


class RateLimit(Model):
    """An allowance: a steady rate, and how many may come at once on top of it."""

    requests_per_minute: Rate
    burst: Burst = 0
    on_store_failure: OnStoreFailure = "local"


def _as_rate_limit(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        return {"requests_per_minute": value}
    return value


RateLimitOrNumber = Annotated[
    RateLimit | None,
    BeforeValidator(_as_rate_limit),
    Field(
        description=f"a whole number from 1 to {MOST_ALLOWED}, or a mapping with "
        "requests_per_minute and burst"
    ),
]

RateOrUnlimited = Annotated[
    Rate | None,
    Field(
        description=f"a whole number of requests a minute from 1 to {MOST_ALLOWED}, or null for "
        "no limit"
    ),
]
