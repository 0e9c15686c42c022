"""One validated state of the whole configuration."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from config.models.gateway import GatewayOptions
from config.models.routes import Route
from config.models.services import Service
from config.models.tiers import DEFAULT_TIERS, Tier
from config.models.transforms import Transform


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
