"""Which route a request takes, in time that does not depend on how many routes there are.

A trie of path segments: a literal is tried before a ``{param}``, that before a trailing ``*``, and
what leads nowhere is backed out of. A GET route answers HEAD too. A trailing slash is significant.
"""

import re
from dataclasses import dataclass, field

from broker.problems import ProblemType
from config.models.routes import Delivery, Route
from config.paths import REST, pattern_parameters
from config.snapshot import Snapshot
from ingress.policies.cors import CorsPolicy, cors_policy
from ingress.policies.ip_filter import IpFilter, ip_filter
from ingress.policies.validation import Validator, validator
from ingress.problems import Refused
from ingress.request import HeaderLookup

Captured = tuple[str, ...]

# RFC 9110 section 9.2.2
_IDEMPOTENT_METHODS = frozenset(("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"))
_escapes = re.compile(r"%[0-9A-Fa-f]{2}").sub
_placeholders = re.compile(r"\{[^{}]+\}|\*").finditer


@dataclass(frozen=True, slots=True, eq=False)
class CompiledRoute:
    """A route with all that can be known about it before its first request.

    ``tier`` is None where the caller's decides. ``ip_filter``, ``cors`` and ``validator`` are
    the route's own, if it has them. ``template`` holds the parts of the upstream path,
    numbers for what was captured; None forwards the path as matched.
    """

    config: Route
    label: str
    service: str
    timeout: float
    retry_count: int
    max_body: int
    auth_required: bool
    tier: str | None
    ip_filter: IpFilter | None
    cors: CorsPolicy | None
    validator: Validator | None
    template: tuple[str | int, ...] | None

    def upstream_path(self, path: str, captured: Captured) -> str:
        """The path to ask the upstream for, given the matched one; nothing is decoded."""
        if self.template is None:
            return path
        return "".join([p if isinstance(p, str) else captured[p] for p in self.template])

    def is_idempotent(self, method: str, headers: HeaderLookup) -> bool:
        """Whether a request may be repeated: by the route's word, its method, or its key."""
        if self.config.delivery is Delivery.AUTO:
            return method in _IDEMPOTENT_METHODS or headers.get("Idempotency-Key") is not None
        return self.config.delivery is Delivery.AT_LEAST_ONCE


class Router:
    """All routes of one snapshot. Where two say the same, the first listed wins."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._root = _Node()
        self._exact: dict[str, _Endpoint] = {}
        for config in snapshot.routes:
            self._add(config, snapshot)

    def match(self, method: str, path: str) -> tuple[CompiledRoute, Captured]:
        """The route of a normalised path, and what its ``{param}`` and ``*`` stand for, in order.

        Raises Refused: 404, or 405 with Allow where only the method is wrong.
        """
        exact = self._exact.get(path)
        if exact is not None and (route := exact.find(method)) is not None:
            return route, ()
        segments = path.split("/")
        allowed: set[str] = set()
        ways: list[_Way] = [(self._root, 1, ())]  # before [0] is the first slash
        while ways:
            node, at, captured = ways.pop()
            if at < len(segments):
                node.add_ways(ways, segments, at, captured)
            elif (route := node.endpoint.find(method)) is not None:
                return route, captured
            else:
                allowed |= node.endpoint.methods()
        raise _no_match(allowed)

    def _add(self, config: Route, snapshot: Snapshot) -> None:
        pattern = _normal(config.path)
        node = self._root
        for segment in pattern.split("/")[1:]:
            node = node.child(segment)
        if not pattern_parameters(pattern):
            self._exact[pattern] = node.endpoint
        node.endpoint.add(_compile(config, snapshot))


@dataclass(slots=True, eq=False)
class _Endpoint:
    """The routes of one path, by method."""

    by_method: dict[str, CompiledRoute] = field(default_factory=dict)
    by_any: CompiledRoute | None = None

    def add(self, route: CompiledRoute) -> None:
        if route.config.methods is None:
            self.by_any = self.by_any or route
        for method in route.config.methods or ():
            self.by_method.setdefault(method, route)

    def find(self, method: str) -> CompiledRoute | None:
        route = self.by_method.get(method)
        if route is None and method == "HEAD":
            route = self.by_method.get("GET")
        return route or self.by_any

    def methods(self) -> set[str]:
        return {*self.by_method, "HEAD"} if "GET" in self.by_method else {*self.by_method}


@dataclass(slots=True, eq=False)
class _Node:
    """A place in the trie; what can follow, and the routes that end here."""

    literals: dict[str, "_Node"] = field(default_factory=dict)
    param: "_Node | None" = None
    rest: "_Node | None" = None
    endpoint: _Endpoint = field(default_factory=_Endpoint)

    def child(self, segment: str) -> "_Node":
        if segment == REST:
            self.rest = self.rest or _Node()
            return self.rest
        if segment.startswith("{"):
            self.param = self.param or _Node()
            return self.param
        return self.literals.setdefault(segment, _Node())

    def add_ways(
        self, ways: "list[_Way]", segments: list[str], at: int, captured: Captured
    ) -> None:
        """Add where the segments from ``at`` on may lead, the most specific last."""
        segment = segments[at]
        if self.rest is not None:
            ways.append((self.rest, len(segments), (*captured, "/".join(segments[at:]))))
        if self.param is not None and segment:
            ways.append((self.param, at + 1, (*captured, segment)))
        if (literal := self.literals.get(segment)) is not None:
            ways.append((literal, at + 1, captured))


_Way = tuple[_Node, int, Captured]  # a place, the segment to come, what was captured before


def _no_match(allowed: set[str]) -> Refused:
    if not allowed:
        return Refused(ProblemType.NO_ROUTE, "There is no route for this path.")
    allow = ", ".join(sorted(allowed)).encode()
    detail = f"The methods of this path are {allow.decode()}."
    return Refused(ProblemType.METHOD_NOT_ALLOWED, detail, headers=((b"Allow", allow),))


def _compile(config: Route, snapshot: Snapshot) -> CompiledRoute:
    service = snapshot.services[config.service]
    limits = snapshot.options.limits
    return CompiledRoute(
        config=config,
        label=config.label,
        service=config.service,
        timeout=config.timeout,
        retry_count=service.retry_count if config.retry_count is None else config.retry_count,
        max_body=limits.max_body if config.max_body is None else config.max_body,
        auth_required=config.auth_required,
        tier=None if config.priority == "inherit" else config.priority,
        ip_filter=ip_filter(config.ip_filter),
        cors=cors_policy(config.cors),
        validator=validator(config),
        template=_template(config),
    )


def _template(config: Route) -> tuple[str | int, ...] | None:
    if config.upstream_path is None:
        return None
    pattern = _normal(config.upstream_path)
    names = pattern_parameters(config.path)
    parts: list[str | int] = []
    end = 0
    for placeholder in _placeholders(pattern):
        parts += [pattern[end : placeholder.start()], names.index(placeholder[0].strip("{}"))]
        end = placeholder.end()
    return (*parts, pattern[end:])


def _normal(pattern: str) -> str:
    """The spelling that normalised paths have; a configured pattern lacks no more than this."""
    return _escapes(lambda escape: escape[0].upper(), pattern)
