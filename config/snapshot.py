"""One validated state of the whole configuration."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from config.models import DEFAULT_TIERS, GatewayOptions, Route, Service, Tier, Transform


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything the operator said, checked as a whole.

    A request lives and dies under the one it came with.
    """

    routes: tuple[Route, ...]
    services: Mapping[str, Service]
    transforms: tuple[Transform, ...] = ()
    tiers: Mapping[str, Tier] = field(default_factory=lambda: dict(DEFAULT_TIERS))
    options: GatewayOptions = field(default_factory=GatewayOptions)
    version: int = 1
