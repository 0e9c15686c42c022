"""``/services/{service}/instances`` on the admin listener: what is known, and who reports to it.

An instance registers by POST, again before its TTL has run out (a heartbeat is nothing else), and
leaves by DELETE. It is known by its URL.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from aiohttp import web

from api_gateway.admin_access import AdminToken, problem
from config.faults import key_text
from config.models.services import Service
from config.validation import validate
from dispatcher.discovery.registration import Lease, Registration, may_be_called
from dispatcher.discovery.registry import (
    MOST_INSTANCES,
    Registry,
    RegistryFull,
    RegistryUnavailable,
)
from dispatcher.service_discovery import Instance

PATH = "/services/{service}/instances"

_RETRY_AFTER = "1"  # seconds


class InstancesApi:
    """Handlers for all services.

    ``services`` gives those of the configuration in use; ``known`` the instances that this process
    knows, where it has a dispatcher. ``registry`` is None where nobody would hear of what it keeps.
    """

    def __init__(
        self,
        token: AdminToken,
        services: Callable[[], Mapping[str, Service]],
        registry: Registry | None,
        known: Callable[[str], Sequence[Instance]] | None,
    ) -> None:
        self._token = token
        self._services = services
        self._registry = registry
        self._known = known

    @property
    def routes(self) -> list[web.RouteDef]:
        """Where they are served."""
        return [
            web.get(PATH, self._show),
            web.post(PATH, self._register),
            web.delete(PATH, self._remove),
        ]

    async def _show(self, request: web.Request) -> web.Response:
        name = request.match_info["service"]
        service = self._services().get(name)
        if service is None:
            return _no_service(name)
        if self._known is not None:
            shown = [_shown(each.name, each.weight, each.zone) for each in self._known(name)]
        elif isinstance(registry := self._registry_of(service), web.Response):
            return registry
        else:
            try:
                leases = await registry.registered(name)
            except RegistryUnavailable:
                return _unavailable()
            shown = [_shown(each.url, each.weight, each.zone) for each in leases]
        return web.json_response(
            {"service": name, "discovery": service.discovery.type, "instances": shown}
        )

    def _to_change(self, request: web.Request) -> tuple[Service, Registry] | web.Response:
        """What a change is for, or why it may not be made."""
        if (refusal := self._token.refusal(request)) is not None:
            return refusal
        name = request.match_info["service"]
        service = self._services().get(name)
        if service is None:
            return _no_service(name)
        registry = self._registry_of(service)
        return registry if isinstance(registry, web.Response) else (service, registry)

    async def _register(self, request: web.Request) -> web.Response:
        if isinstance(found := self._to_change(request), web.Response):
            return found
        service, registry = found
        name = service.name
        lease = _read(await request.read(), service)
        if isinstance(lease, web.Response):
            return lease
        try:
            new = await registry.register(name, lease)
        except RegistryUnavailable:
            return _unavailable()
        except RegistryFull:
            return problem(409, f"{name} has {MOST_INSTANCES} instances, which is the most.")
        return _registered(request, lease, new)

    async def _remove(self, request: web.Request) -> web.Response:
        if isinstance(found := self._to_change(request), web.Response):
            return found
        service, registry = found
        name = service.name
        url = request.query.get("id")
        if not url:
            return problem(400, "Say which by ?id= and the id that its registration was told.")
        try:
            removed = await registry.remove(name, url.rstrip("/"))
        except RegistryUnavailable:
            return _unavailable()
        if not removed:
            return problem(404, f"{name} has no such instance registered.")
        return web.Response(status=204)

    def _registry_of(self, service: Service) -> Registry | web.Response:
        if service.discovery.type != "registry":
            detail = f"The instances of {service.name} do not register: its discovery is of type "
            return problem(409, f"{detail}{service.discovery.type}.")
        if self._registry is None:
            return problem(503, "This process shares no registry: set GATEWAY_REDIS_URL.")
        return self._registry


def _read(body: bytes, service: Service) -> Lease | web.Response:
    try:
        data: Any = json.loads(body)
    except ValueError:  # of text that is no JSON, and of bytes that are no text
        return problem(400, "The body is no JSON.")
    except RecursionError:
        return problem(400, "The body is nested too deep.")
    if not isinstance(data, dict):
        return problem(400, 'The body is no object like {"url": "http://10.0.0.5:8080"}.')
    registration, problems = validate(Registration, data)
    if registration is None:
        faults = [
            {"key": key_text(each.path), "found": each.found, "allowed": each.allowed}
            for each in problems
        ]
        return problem(400, "The registration has faults.", faults=faults)
    lease = Lease.of(registration)
    if not may_be_called(lease.url, service.discovery.allow):
        return problem(403, f"{service.name} may not have instances at {registration.url.host}.")
    return lease


def _registered(request: web.Request, lease: Lease, new: bool) -> web.Response:
    """201 for a new one, 200 for a heartbeat; times are seconds."""
    content = {"id": lease.url, "ttl": lease.ttl, "heartbeat": lease.heartbeat}
    if not new:
        return web.json_response(content)
    location = f"{request.path}?id={quote(lease.url, safe='')}"
    return web.json_response(content, status=201, headers={"Location": location})


def _shown(url: str, weight: int, zone: str | None) -> dict[str, object]:
    return {"id": url, "url": url, "weight": weight, "zone": zone}


def _no_service(name: str) -> web.Response:
    return problem(404, f"There is no service {name!r:.100}.")


def _unavailable() -> web.Response:
    answer = problem(503, "The registry is away. What was registered stays known.")
    answer.headers["Retry-After"] = _RETRY_AFTER
    return answer
