"""What can be used, but is doubtful, is told."""

from typing import Any

import pytest

from config.doubts import doubts
from config.models import GatewayOptions, Route, Service
from config.snapshot import Snapshot


def told(*routes: dict[str, Any], **options: Any) -> list[str]:
    made = tuple(Route.model_validate({"service": "s", **each}) for each in routes)
    services = {
        name: Service.model_validate({"name": name, "base_url": f"http://{name}"})
        for name in ("s", "other")
    }
    return doubts(Snapshot(made, services, options=GatewayOptions.model_validate(options)))


ADMIN = {"path": "/admin/*", "roles": {"any": ["admin"]}}


@pytest.mark.parametrize("network", ["0.0.0.0/0", "::/0"])
def test_proxies_that_are_everybody(network: str) -> None:
    """Each client could say what its address is."""
    [line] = told(trusted_proxies=["10.0.0.0/8", network])
    assert line.startswith(f"gateway.yaml: trusted_proxies: {network} trusts everybody")
    assert told(trusted_proxies=["10.0.0.0/8"]) == told(trusted_proxies=2) == []


@pytest.mark.parametrize(
    "wide",
    [
        {"path": "/*"},
        {"path": "/*", "auth_required": False},
        {"path": "/*", "roles": {"any": ["user"]}, "methods": ["GET"]},
        {"path": "/{tenant}/*"},
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


def test_what_else_protects() -> None:
    """A caller, scopes, and addresses; not for methods that the other does not take."""
    wide = {"path": "/*", "auth_required": False, "methods": ["GET", "PUT"]}
    for narrow in (
        {"path": "/a"},
        {"path": "/a", "scopes": {"all": ["read"]}},
        {"path": "/a", "auth_required": False, "ip_filter": {"allow": ["10.0.0.0/8"]}},
        {"path": "/a", "methods": ["PUT", "POST"]},
    ):
        assert len(told(wide, narrow)) == 1
    assert told(wide, {"path": "/a", "methods": ["POST"]}) == []
    assert told(wide, {"path": "/a", "auth_required": False}) == []
