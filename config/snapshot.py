"""One validated state of the whole configuration."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from config.models import DEFAULT_TIERS, GatewayOptions, Route, Service, Tier, Transform


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything the operator said, checked as a whole.

    A request lives and dies under the one it came with. ``public_keys`` are the contents of the
    files that ``auth.public_keys`` names, PEM; ``directory`` is where such files are looked for.
    """

    routes: tuple[Route, ...]
    services: Mapping[str, Service]
    transforms: tuple[Transform, ...] = ()
    tiers: Mapping[str, Tier] = field(default_factory=lambda: dict(DEFAULT_TIERS))
    options: GatewayOptions = field(default_factory=GatewayOptions)
    public_keys: tuple[bytes, ...] = ()
    directory: Path = Path()
    version: int = 1
