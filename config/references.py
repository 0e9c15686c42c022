"""What no entry can know alone: names given twice, and names that must exist elsewhere."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from config.faults import Fault, KeyPath, Problem, nearest, quoted
from config.models.auth import ApiKey, Client
from config.models.gateway import GatewayOptions
from config.models.routes import Route
from config.models.services import Service
from config.models.tiers import Tier
from config.models.transforms import Transform
from config.paths import shape
from config.sections import Section, methods_of, text_at
from config.values import TierName

_FALLBACK_SERVICE = ("circuit_breaker", "fallback_service")
_INHERIT = "inherit"
_DEFAULT_TIER = "FREE"
_OF_THE_GATEWAY = "auth"  # the limit for the token endpoints
_TIER_NAME = TypeAdapter[str](TierName)


@dataclass(frozen=True, slots=True)
class Sections:
    """A whole configuration before it is known to be sound."""

    routes: Section[Route]
    services: Section[Service]
    transforms: Section[Transform]
    tiers: Section[Tier]
    gateway: Section[GatewayOptions]

    @property
    def faults(self) -> list[Fault]:
        """All that was found, file by file, in the order of the lines."""
        sections = (self.routes, self.services, self.transforms, self.tiers, self.gateway)
        return [fault for section in sections for fault in sorted(section.faults, key=_line)]


def _line(fault: Fault) -> tuple[int, int]:
    return (fault.position.line, fault.position.column) if fault.position else (0, 0)


def check_references(whole: Sections) -> None:
    """Add to each section the faults that show only beside others."""
    _report(whole.routes, _same_requests(whole.routes))
    _report(whole.routes, _unknown_services(whole.routes, whole.services))
    _report(whole.routes, _unknown_priorities(whole.routes, whole.tiers))
    _report(whole.routes, _same_names(whole.routes))
    _report(whole.services, _same_names(whole.services))
    _report(whole.services, _unknown_fallbacks(whole.services))
    _report(whole.services, _circular_fallbacks(whole.services))
    _report(whole.transforms, _same_names(whole.transforms))
    _report(whole.tiers, _bad_tier_names(whole.tiers))
    _report(whole.tiers, _floors_beyond_all(whole.tiers))
    for options in whole.gateway.models.values():
        _report(whole.gateway, _same_callers_and_rules(options))
        _report(whole.gateway, _unknown_tiers_of_callers(options, whole.tiers))
        _report(whole.gateway, _rules_named_as_other_limits(options, whole.routes, whole.tiers))
    _report(whole.routes, _limits_named_as_tiers(whole.routes, whole.tiers))


def _report(section: Section[Any], problems: Iterator[Problem]) -> None:
    for problem in problems:
        section.add(problem)


def _same_requests(routes: Section[Route]) -> Iterator[Problem]:
    """Two routes for one path and method; one for all methods leaves the named ones to others."""
    takers: dict[tuple[str, str], KeyPath] = {}
    for path, entry in routes.entries.items():
        if not (pattern := shape(text_at(entry, "path"))):
            continue
        methods = methods_of(entry) or ("",)
        others = [takers.setdefault((pattern, method), path) for method in methods]
        other = next((other for other in others if other != path), None)
        if other is not None:
            found = f"the path and method of another route{_place(routes, other)}"
            yield Problem((*path, "path"), found, "one route for a path and method")


def _same_names(section: Section[Any]) -> Iterator[Problem]:
    first: dict[str, KeyPath] = {}
    for path, name in section.names.items():
        other = first.setdefault(name, path)
        # Two routes that have no names of their own differ, or are for the same requests.
        if other != path and any(text_at(section.entries[each], "name") for each in (path, other)):
            found = f"the name of another {section.kind.noun}{_place(section, other)}"
            yield Problem((*path, "name"), found, "each name once")


def _place(section: Section[Any], path: KeyPath) -> str:
    position = section.document.position(path)
    return f" on line {position.line}" if position else ""


def _unknown_services(routes: Section[Route], services: Section[Service]) -> Iterator[Problem]:
    known = set(filter(None, services.names.values()))
    for path, entry in routes.entries.items() if services.readable else ():
        name = text_at(entry, "service")
        if name and name not in known:
            yield _unknown((*path, "service"), name, known, "service")


def _fallbacks(services: Section[Service]) -> dict[str, tuple[KeyPath, str]]:
    """The path of each sound service that has another to fall back to, and the name of that."""
    return {
        service.name: (path, service.circuit_breaker.fallback_service)
        for path, service in services.models.items()
        if service.circuit_breaker and service.circuit_breaker.fallback_service
    }


def _unknown_fallbacks(services: Section[Service]) -> Iterator[Problem]:
    known = set(filter(None, services.names.values()))
    for path, name in _fallbacks(services).values():
        if name not in known:
            yield _unknown((*path, *_FALLBACK_SERVICE), name, known, "service")


def _circular_fallbacks(services: Section[Service]) -> Iterator[Problem]:
    """Services that fall back to each other in a circle: told at each of them."""
    fallbacks = _fallbacks(services)
    for service, (path, name) in fallbacks.items():
        if _leads_to(service, name, fallbacks):
            found = f"{quoted(name)}, which leads back to {quoted(service)}"
            yield Problem((*path, *_FALLBACK_SERVICE), found, "a service outside of that circle")


def _leads_to(goal: str, name: str, fallbacks: Mapping[str, tuple[KeyPath, str]]) -> bool:
    """Whether one falls back to the other, over as many as there are."""
    for _ in fallbacks:
        if name == goal:
            return True
        if name not in fallbacks:
            return False
        _, name = fallbacks[name]
    return False


def _unknown_priorities(routes: Section[Route], tiers: Section[Tier]) -> Iterator[Problem]:
    known = {*tiers.names.values(), _INHERIT}
    for path, entry in routes.entries.items() if tiers.readable else ():
        name = text_at(entry, "priority")
        if name and name not in known:
            yield _unknown((*path, "priority"), name, known, "tier")


def _unknown_tiers_of_callers(options: GatewayOptions, tiers: Section[Tier]) -> Iterator[Problem]:
    known = set(tiers.names.values())
    callers: dict[str, Sequence[Client | ApiKey]] = {
        "clients": options.auth.clients,
        "api_keys": options.auth.api_keys,
    }
    for key, entries in callers.items() if tiers.readable else ():
        for index, entry in enumerate(entries):
            if entry.tier not in known:
                yield _unknown(("auth", key, index, "tier"), entry.tier, known, "tier")


def _unknown(path: KeyPath, name: str, known: set[str], noun: str) -> Problem:
    return Problem(path, f"{quoted(name)}, which is no {noun}", nearest(name, sorted(known)))


def _bad_tier_names(tiers: Section[Tier]) -> Iterator[Problem]:
    for path, name in tiers.names.items():
        try:
            _TIER_NAME.validate_python(name)
        except ValidationError:
            yield Problem(path, "a bad name", "up to 100 letters, digits, _ and - as a tier's name")
        if name == _INHERIT:
            yield Problem(
                path, "a bad name", f"another name: {_INHERIT} means the caller's own tier"
            )
    if tiers.readable and _DEFAULT_TIER not in tiers.names.values():
        yield Problem(
            (), f"no tier {_DEFAULT_TIER}", "that one among others: tokens without a tier have it"
        )


def _floors_beyond_all(tiers: Section[Tier]) -> Iterator[Problem]:
    floors = round(sum(tier.floor for tier in tiers.models.values()), 6)
    if floors > 1:
        yield Problem(
            (), f"floors that add up to {floors}", "at most 1: floors are parts of a whole"
        )


def _same_callers_and_rules(options: GatewayOptions) -> Iterator[Problem]:
    clients = [client.id for client in options.auth.clients]
    secrets = [client.secret_hash for client in options.auth.clients]
    keys = [key.id for key in options.auth.api_keys]
    hashes = [key.key_hash for key in options.auth.api_keys]
    rules = [rule.name for rule in options.rate_limits]
    for index in _repeated(clients):
        yield Problem(("auth", "clients", index, "id"), "the id of another client", "each id once")
    for index in _repeated(secrets):
        found = "the hash of another client's secret"
        yield Problem(("auth", "clients", index, "secret_hash"), found, "each secret once")
    for index in _repeated(keys):
        yield Problem(("auth", "api_keys", index, "id"), "the id of another key", "each id once")
    for index in _repeated(hashes):
        found = "the hash of another key"
        yield Problem(("auth", "api_keys", index, "key_hash"), found, "each key once")
    for index in _repeated(rules):
        yield Problem(("rate_limits", index, "name"), "the name of another rule", "each name once")


def _rules_named_as_other_limits(
    options: GatewayOptions, routes: Section[Route], tiers: Section[Tier]
) -> Iterator[Problem]:
    """Clients are told of all limits side by side, each by its name."""
    of_the_gateway = {_OF_THE_GATEWAY} if options.auth.clients else set()
    of_tiers = {name.lower() for name in tiers.names.values()}
    of_routes = {route.label for route in routes.models.values() if route.rate_limit}
    for index, rule in enumerate(options.rate_limits):
        for whose, names in (
            ("the limit of a tier", of_tiers),
            ("the limit of a route", of_routes),
            ("the gateway's own limit under /auth/", of_the_gateway),
        ):
            if rule.name in names:
                found = f"{quoted(rule.name)}, as {whose} is called"
                yield Problem(("rate_limits", index, "name"), found, "a name of its own")


def _limits_named_as_tiers(routes: Section[Route], tiers: Section[Tier]) -> Iterator[Problem]:
    known = {name.lower() for name in tiers.names.values()}
    for path, route in routes.models.items():
        if route.rate_limit and route.label in known:
            found = f"{quoted(route.label)}, as the limit of a tier is called"
            yield Problem((*path, "name"), found, "a name of its own, as it has a rate_limit")


def _repeated(names: list[str]) -> list[int]:
    first = {name: index for index, name in reversed(list(enumerate(names)))}
    return [index for index, name in enumerate(names) if first[name] != index]
