"""tiers.yaml: the classes of callers."""

from typing import Annotated

from pydantic import Field

from config.models.base import Model
from config.models.rates import Burst, OnStoreFailure, RateOrUnlimited
from config.values import Number, PositiveCount, WholeNumber


class Customer(Model):
    """What one customer of a tier was promised."""

    requests_per_minute: RateOrUnlimited
    burst: Burst = 0


class Tier(Model):
    """A class of callers: its allowance, its share of the dispatchers, the length of its queues.

    ``weight`` is the share against other tiers that have work; ``floor`` the least part of all
    turns (0 to 1); ``queue_limit`` counts messages per service.
    """

    requests_per_minute: RateOrUnlimited
    burst: Burst = 0
    on_store_failure: OnStoreFailure = "local"
    weight: Annotated[WholeNumber, Field(ge=1, le=1000)] = 1
    floor: Annotated[Number, Field(ge=0, le=1)] = 0.0
    queue_limit: PositiveCount = 1000
    customers: dict[str, Customer] = {}


DEFAULT_TIERS: dict[str, Tier] = {
    "FREE": Tier(requests_per_minute=60, burst=10, weight=1, floor=0.05, queue_limit=1000),
    "BASIC": Tier(requests_per_minute=300, burst=50, weight=3, queue_limit=2000),
    "PRO": Tier(requests_per_minute=1000, burst=100, weight=8, queue_limit=4000),
    "ENTERPRISE": Tier(requests_per_minute=None, weight=32, queue_limit=8000),
}
