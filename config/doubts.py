"""What can be used, but hardly does what its owner wants: told by ``check``, and at the start."""

import re
from collections.abc import Iterator
from ipaddress import ip_network

from config.ineffective import ineffective
from config.models.origins import Cors
from config.networks import all_within
from config.snapshot import Snapshot
from config.ways_around import ways_around

# `https://*.com`: whoever has registered a name. Not so below those of RFC 6761, 6762 and ICANN.
_is_of_everybody = re.compile(
    r"[a-z0-9+.-]+://\*\.(?!(?:localhost|test|local|internal)(?::|$))[^.:]+(?::[0-9]+)?"
).fullmatch

_EVERYBODY = (ip_network("0.0.0.0/0"), ip_network("::/0"))


def doubts(snapshot: Snapshot) -> list[str]:
    """A line for each; all of them can be meant so."""
    return [
        *_everybody_a_proxy(snapshot),
        *_pages_of_everybody(snapshot),
        *ways_around(snapshot),
        *ineffective(snapshot),
    ]


def _everybody_a_proxy(snapshot: Snapshot) -> Iterator[str]:
    proxies = snapshot.options.trusted_proxies
    networks = () if isinstance(proxies, int) else proxies
    for every in _EVERYBODY:
        if all_within((every,), networks):
            yield (
                f"gateway.yaml: trusted_proxies: all of {every} is trusted, so that every client "
                "can say what its address is"
            )


def _pages_of_everybody(snapshot: Snapshot) -> Iterator[str]:
    rules: list[tuple[str, Cors | None]] = [("gateway.yaml", snapshot.options.cors)]
    rules += [(f'routes.yaml: route "{each.label}"', each.cors) for each in snapshot.routes]
    for where, cors in rules:
        if cors is not None and cors.allow_credentials:
            for origin in filter(_is_of_everybody, cors.allow_origins):
                yield (
                    f"{where}: cors: {origin} trusts everybody who has such a name with the "
                    "credentials of others (allow_credentials)"
                )
