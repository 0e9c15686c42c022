"""Who may: the roles and scopes that a route demands."""

from collections.abc import Collection
from typing import Literal

from broker.messages import Headers, Principal
from config.models.routes import AnyOrAll, Route
from ingress.problems import Forbidden, Refused


def missing_rights(route: Route, principal: Principal) -> Refused | None:
    """None for who has what the route demands, else the 403 that names what is missing."""
    if missing := _missing(route.roles, principal.roles):
        return _forbidden("roles", missing, ())
    if missing := _missing(route.scopes, principal.scopes):
        scope = " ".join(missing)
        # RFC 6750 section 3.1
        challenge = f'Bearer realm="api-gateway", error="insufficient_scope", scope="{scope}"'
        return _forbidden("scopes", missing, ((b"WWW-Authenticate", challenge.encode()),))
    return None


def _missing(demand: AnyOrAll | None, held: Collection[str]) -> list[str]:
    """Names that are demanded and not held; of ``any``, each of them would do."""
    if demand is None:
        return []
    if demand.all is not None:
        return [name for name in demand.all if name not in held]
    alternatives = list(demand.any or ())
    return [] if any(name in held for name in alternatives) else alternatives


def _forbidden(policy: Literal["roles", "scopes"], missing: list[str], headers: Headers) -> Refused:
    kind = policy.removesuffix("s")
    detail = f"This route wants a {kind} that the caller lacks: {', '.join(missing)}."
    return Forbidden(policy, detail, headers=headers)
