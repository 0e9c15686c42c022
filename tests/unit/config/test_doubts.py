"""What can be used, but is doubtful, is told."""

from typing import Any

import pytest

from config.doubts import doubts
from config.models.gateway import GatewayOptions
from config.models.routes import Route
from config.models.services import Service
from config.snapshot import Snapshot


def told(*routes: dict[str, Any], s: Any = None, other: Any = None, **options: Any) -> list[str]:
    """What is doubtful about routes to two services, each somewhere else unless said otherwise."""
    made = tuple(Route.model_validate({"service": "s", **each}) for each in routes)
    where = {"s": s or {"base_url": "http://s"}, "other": other or {"base_url": "http://other"}}
    services = {
        name: Service.model_validate({"name": name, **place}) for name, place in where.items()
    }
    return doubts(Snapshot(made, services, options=GatewayOptions.model_validate(options)))


ADMIN = {"path": "/admin/*", "roles": {"any": ["admin"]}}


@pytest.mark.parametrize(
    ("networks", "every"),
    [
        (["0.0.0.0/0"], "0.0.0.0/0"),
        (["::/0"], "::/0"),
        (["::ffff:0:0/96"], "0.0.0.0/0"),
        (["0.0.0.0/1", "128.0.0.0/1"], "0.0.0.0/0"),
    ],
)
def test_proxies_that_are_everybody(networks: list[str], every: str) -> None:
    """Each client could say what its address is, however the networks are written."""
    [line] = told(trusted_proxies=["10.0.0.0/8", *networks])
    assert line.startswith(f"gateway.yaml: trusted_proxies: all of {every} is trusted")
    assert told(trusted_proxies=["10.0.0.0/8"]) == told(trusted_proxies=2) == []


@pytest.mark.parametrize(
    "wide",
    [
        {"path": "/*"},
        {"path": "/*", "auth_required": False},
        {"path": "/*", "roles": {"any": ["user"]}, "methods": ["GET"]},
        {"path": "/{tenant}/*"},
        {"path": "/{page}"},
    ],
)
def test_wildcards_over_what_is_better_protected(wide: dict[str, Any]) -> None:
    """They take other spellings of its paths to the same service."""
    [line] = told(wide, ADMIN)
    assert line.startswith("routes.yaml: ")
    assert "ANY /admin/*" in line


@pytest.mark.parametrize(
    "wide",
    [
        {"path": "/*", "roles": {"any": ["admin"]}},
        {"path": "/*", "service": "other"},
        {"path": "/public/*"},
        {"path": "/admin"},
        {"path": "/*", "upstream_path": "/public/*"},
    ],
)
def test_wildcards_that_are_no_way_around(wide: dict[str, Any]) -> None:
    """They demand the same, or lead elsewhere."""
    assert told(wide, ADMIN) == []


@pytest.mark.parametrize(
    ("s", "other"),
    [
        ({"base_url": "http://A:80"}, {"base_url": "http://a/"}),
        ({"base_url": "http://b"}, {"instances": [{"url": "http://a"}, {"url": "http://b"}]}),
        (
            {"discovery": {"type": "dns", "name": "_http._tcp.a.test", "record": "SRV"}},
            {"discovery": {"type": "dns", "name": "_http._tcp.a.test", "record": "SRV"}},
        ),
        (
            {"base_url": "http://x:81", "discovery": {"type": "dns", "name": "a.test"}},
            {"base_url": "http://a.test:81"},
        ),
    ],
)
def test_two_names_of_one_service(s: dict[str, Any], other: dict[str, Any]) -> None:
    """What leads to the same place leads around, whatever the service is called there."""
    [line] = told(ADMIN, {"path": "/*", "service": "other"}, s=s, other=other)
    assert "ANY /admin/*" in line
    routes = {"path": "/login"}, {"path": "/*", "service": "other"}
    [line] = told(*routes, rate_limits=rule("/login"), s=s, other=other)
    assert 'rule "r" does not count what ANY /* takes' in line


@pytest.mark.parametrize("url", ["http://s:81", "http://s/v2", "https://s"])
def test_two_services_side_by_side(url: str) -> None:
    """Another port or path of the same host is another service."""
    assert told(ADMIN, {"path": "/*", "service": "other"}, other={"base_url": url}) == []


def test_what_else_protects() -> None:
    """Who, from where, what and how much; not for methods that the other does not take."""
    wide = {"path": "/*", "auth_required": False, "methods": ["GET", "PUT"]}
    open_to_all = {"path": "/a", "auth_required": False}
    narrows: dict[str, dict[str, Any]] = {
        "auth_required": {"path": "/a", "methods": ["PUT", "POST"]},
        "auth_required, scopes": {"path": "/a", "scopes": {"all": ["read"]}},
        "ip_filter": {**open_to_all, "ip_filter": {"allow": ["10.0.0.0/8"]}},
        "validate": {**open_to_all, "validate": {"body": {"type": "object"}}},
        "rate_limit, rate_limit_cost": {**open_to_all, "rate_limit": 5, "rate_limit_cost": 5},
    }
    for lacking, narrow in narrows.items():
        [line] = told(wide, narrow)
        assert f"does not demand the same ({lacking};" in line
    assert told(wide, {"path": "/a", "methods": ["POST"]}) == []
    assert told(wide, open_to_all) == []
    tried = {"body": {"type": "object"}, "mode": "log"}
    assert told(wide, {**open_to_all, "validate": tried}) == []


def rule(path: str) -> list[dict[str, Any]]:
    return [{"name": "r", "key": "ip", "match": {"path": path}, "requests_per_minute": 2}]


@pytest.mark.parametrize(
    ("path", "routes"),
    [
        ("/login", ["/*"]),
        ("/login", ["/login", "/*"]),
        ("/login", ["/login", "/{page}"]),
        ("/api/*", ["/api/users", "/*"]),
        ("/api/*", ["/{x}/{y}"]),
    ],
)
def test_rules_that_other_spellings_dodge(path: str, routes: list[str]) -> None:
    """They are not counted, and go to the same service."""
    [line] = told(*({"path": each} for each in routes), rate_limits=rule(path))
    assert line.startswith('gateway.yaml: rate_limits: rule "r" does not count what ANY ')
    assert routes[-1] in line


@pytest.mark.parametrize(
    ("path", "routes"),
    [
        ("/login", [{"path": "/login"}, {"path": "/users/*"}]),
        ("/login", [{"path": "/login"}, {"path": "/*", "service": "other"}]),
        ("/*", [{"path": "/*"}, {"path": "/{page}"}]),
        ("/auth/*", [{"path": "/*"}]),
    ],
)
def test_rules_that_nothing_dodges(path: str, routes: list[dict[str, Any]]) -> None:
    """Nothing else takes them, or all is counted, or they lead to the gateway itself."""
    assert told(*routes, rate_limits=rule(path)) == []


@pytest.mark.parametrize("origin", ["https://*.com", "http://*.dev:8080", "https://*.locale"])
def test_pages_that_are_everybodys(origin: str) -> None:
    """Whoever buys a name would be trusted with the credentials of others."""
    cors = {"allow_origins": ["https://a.example", origin], "allow_credentials": True}
    [line] = told(cors=cors)
    assert line.startswith(f"gateway.yaml: cors: {origin} trusts everybody")
    [line] = told({"path": "/a", "cors": cors})
    assert line.startswith(f'routes.yaml: route "ANY /a": cors: {origin} ')
    assert told(cors={**cors, "allow_credentials": False}) == []


@pytest.mark.parametrize(
    "origin", ["https://*.a.example", "https://*.test", "http://*.localhost:1"]
)
def test_pages_of_names_that_one_owner_has(origin: str) -> None:
    """Names below a domain, and those that nobody can register."""
    assert told(cors={"allow_origins": [origin], "allow_credentials": True}) == []
