"""Routes that take other spellings of a path that is better protected than they are.

``/pay;x``, ``/Pay``, ``/pay/`` and ``/pay%2F`` do not match ``/pay``, but ``/*``, and all but one
of them ``/{name}``. Services may read all of them as ``/pay``.
"""

import re
from collections.abc import Iterator, Mapping, Set

from config.conditions import overlap
from config.faults import listed
from config.models.routes import Route
from config.models.services import Service
from config.paths import ANY_SEGMENT, is_reserved, shape, takes_spellings_of
from config.snapshot import Snapshot

# The names of a service: each one that is somewhere where it is, by each of them.
_Names = Mapping[str, Set[str]]
_Address = tuple[str | None, int | None, str]  # host, port, path


def ways_around(snapshot: Snapshot) -> Iterator[str]:
    """A line for each: around what routes demand, and around what rules count."""
    routes = snapshot.routes
    names_of = _names(snapshot.services)
    places = [_Place(route, names_of[route.service]) for route in routes]
    for wide in places:
        below = [each for each in places if _leads_around(wide, each)]
        if below:
            names = listed(each.route.label for each in below)
            lacks = dict.fromkeys(key for each in below for key in _lacks(wide, each))
            yield (
                f"routes.yaml: {wide.route.label} takes what may be read as a path of {names}, to "
                f"the same service, but does not demand the same ({', '.join(lacks)}; "
                "docs/policies.md, Authorization)"
            )
    for rule in snapshot.options.rate_limits:
        around = list(_uncounted(rule.match.path, routes, names_of)) if rule.match.path else []
        if around:
            names = listed(each.label for each in around)
            yield (
                f'gateway.yaml: rate_limits: rule "{rule.name}" does not count what {names} takes '
                f"and may be read as {rule.match.path} (docs/policies.md, Authorization)"
            )


class _Place:
    """A route with what each other one is compared with: there may be thousands.

    ``front`` is what stands before the first parameter or wildcard of its path; ``services`` are
    all names of its service.
    """

    def __init__(self, route: Route, services: Set[str]) -> None:
        self.route = route
        self.services = services
        self.path = shape(route.path) + "/"
        self.front = re.split(r"[{*]", self.path, maxsplit=1)[0]
        self.demands = _demands(route)


def _leads_around(wide: _Place, narrow: _Place) -> bool:
    if not narrow.path.startswith(wide.front) and ANY_SEGMENT not in narrow.path[: len(wide.front)]:
        return False
    return (
        wide is not narrow
        and _same_to_the_service(wide.route, narrow.route, wide.services)
        and bool(_lacks(wide, narrow))
        and takes_spellings_of(wide.route.path, narrow.route.path)
    )


def _uncounted(path: str, routes: tuple[Route, ...], names_of: _Names) -> Iterator[Route]:
    """Routes with requests that a rule for this path is not for, but a service may think so."""
    if is_reserved(path):
        return
    its_own = [each for each in routes if shape(each.path) == shape(path)]
    counted = its_own or [each for each in routes if overlap(each.path, path)]
    for wide in routes:
        if takes_spellings_of(wide.path, path) and any(
            _same_to_the_service(wide, each, names_of[wide.service]) for each in counted
        ):
            yield wide


def _names(services: Mapping[str, Service]) -> _Names:
    at: dict[_Address, set[str]] = {}
    addresses = {name: set(_addresses(service)) for name, service in services.items()}
    for name, its_own in addresses.items():
        for address in its_own:
            at.setdefault(address, set()).add(name)
    return {
        name: {name}.union(*(at[address] for address in its_own))
        for name, its_own in addresses.items()
    }


def _addresses(service: Service) -> Iterator[_Address]:
    """Where it is, as far as the configuration says; the paths that are asked for go below."""
    if service.base_url is None and service.discovery.name is not None:
        yield service.discovery.name, None, ""
    for url in (service.base_url, *(each.url for each in service.instances)):
        if url is not None:
            path = (url.path or "").rstrip("/")
            yield service.discovery.name or url.host, url.port, path


def _same_to_the_service(one: Route, other: Route, names: Set[str]) -> bool:
    """Whether a service, ``names`` being those of the one's, may get the same request by both."""
    return (
        other.service in names
        and one.upstream_path is None
        and other.upstream_path is None
        and _share_methods(one.methods, other.methods)
    )


def _share_methods(one: tuple[str, ...] | None, other: tuple[str, ...] | None) -> bool:
    return not one or not other or not set(one).isdisjoint(other)


def _lacks(wide: _Place, narrow: _Place) -> list[str]:
    """What it does not demand, or not in the same way, and the other one does."""
    return [key for key, what in narrow.demands.items() if what not in (None, wide.demands[key])]


def _demands(route: Route) -> dict[str, object]:
    validated = route.validation is not None and route.validation.mode == "enforce"
    return {
        "auth_required": route.auth_required or None,
        "roles": route.roles,
        "scopes": route.scopes,
        "ip_filter": route.ip_filter,
        "validate": route.validation if validated else None,
        "rate_limit": route.rate_limit,
        "rate_limit_cost": route.rate_limit_cost if route.rate_limit_cost > 1 else None,
    }
