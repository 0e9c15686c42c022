"""Roles and scopes open a route, or the answer says which are missing."""

import pytest

from broker.messages import Principal
from config.models.routes import Route
from ingress.policies.authorization import missing_rights

CALLER = Principal("u", "FREE", roles=("support",), scopes=("users:read",))


def route(**demands: object) -> Route:
    return Route.model_validate({"path": "/a", "service": "s", **demands})


@pytest.mark.parametrize(
    "demands",
    [
        {},
        {"roles": {"any": ["admin", "support"]}},
        {"roles": {"all": ["support"]}, "scopes": {"any": ["users:read", "users:write"]}},
    ],
)
def test_enough(demands: dict[str, object]) -> None:
    """Who holds what is demanded may pass."""
    assert missing_rights(route(**demands), CALLER) is None


@pytest.mark.parametrize(
    ("demands", "missing"),
    [
        ({"roles": {"any": ["admin", "owner"]}}, "role that the caller lacks: admin, owner."),
        ({"roles": {"all": ["support", "admin"]}}, "role that the caller lacks: admin."),
        ({"scopes": {"all": ["users:write", "users:read"]}}, "scope that the caller lacks: users:"),
    ],
)
def test_missing(demands: dict[str, object], missing: str) -> None:
    """A 403 names what is missing."""
    refused = missing_rights(route(**demands), CALLER)
    assert refused is not None
    assert refused.problem_type.status == 403
    assert missing in refused.detail


def test_missing_scope_is_challenged() -> None:
    """RFC 6750 wants insufficient_scope and the scope in the challenge."""
    refused = missing_rights(route(scopes={"all": ["a", "users:read", "b"]}), CALLER)
    assert refused is not None
    assert refused.headers == (
        (
            b"WWW-Authenticate",
            b'Bearer realm="api-gateway", error="insufficient_scope", scope="a b"',
        ),
    )
