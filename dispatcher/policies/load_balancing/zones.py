"""Zone preference: calls stay in the own zone while enough of it is healthy, else spill over.

As Envoy's priorities treat the own locality with the default overprovisioning factor: while 72 of
100 instances there are healthy, all calls stay; of 50, 70% stay and 30% go elsewhere.
https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/priority
"""

from collections.abc import Sequence
from typing import NamedTuple

from dispatcher.policies.load_balancing.member import Member

_OVERPROVISIONING = 1.4


class Preference(NamedTuple):
    """Who is asked first, who else, and which part of the calls stays with the first."""

    first: Sequence[Member]
    others: Sequence[Member] = ()
    part: float = 1.0


def prefer(zone: str | None, healthy: Sequence[Member], known: Sequence[Member]) -> Preference:
    """Split those that are healthy by zone, as far as there are some here and some elsewhere."""
    here = [member for member in healthy if zone is not None and member.instance.zone == zone]
    if not here or len(here) == len(healthy):
        return Preference(healthy)
    there = [member for member in healthy if member.instance.zone != zone]
    known_here = sum(member.instance.zone == zone for member in known)
    return Preference(here, there, min(1.0, _OVERPROVISIONING * len(here) / known_here))
