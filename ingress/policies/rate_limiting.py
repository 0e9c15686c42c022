"""How much: the limits of the caller's tier, of the route, and of the operator's own rules.

The store that counts also knows whether the caller's session lasts, and tells both in one answer.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil

from broker.messages import Headers, Principal
from broker.problems import ProblemType
from config.models import RateLimitRule, Route
from config.paths import REST
from config.snapshot import Snapshot
from ingress.addresses import Address
from ingress.identity.session_store import NoSession, SessionRef, session_of
from ingress.limits.allowance import Allowance, Charge, Outcome, Store, StoreUnavailable
from ingress.limits.fields import legacy_fields, policy_field, quoted, state_field
from ingress.limits.keys import address_identity, home_of, identity, key
from ingress.limits.limiter import tier_allowance
from ingress.policies.authentication import DEFAULT_TIER, session_refusal
from ingress.problems import Refused
from ingress.request import HeaderLookup, Request
from ingress.routing import CompiledRoute

_CACHE_SIZE = 4096


@dataclass(frozen=True, slots=True, eq=False)
class _Caller:
    """Who is counted, as parts of keys; ``home`` is the customer's, or else the caller's own."""

    home: str
    own: str
    ip: str
    customer: str | None

    @classmethod
    def of(cls, principal: Principal | None, address: Address | None) -> "_Caller":
        ip = address_identity(address)
        if principal is None:
            return cls(ip, ip, ip, None)
        own = identity("sub", principal.subject)
        customer = identity("org", principal.customer) if principal.customer else None
        return cls(home_of(principal), own, ip, customer)


class _Rule:
    """A custom rule, made ready."""

    def __init__(self, rule: RateLimitRule) -> None:
        self._what = f"rule:{rule.name}"
        self._by, _, self._header = rule.key.partition(":")
        self._roles = frozenset(rule.match.roles)
        self._matches = _path_matcher(rule.match.path) if rule.match.path else None
        self._allowance = Allowance(
            quoted(rule.name), rule.requests_per_minute, rule.burst, rule.on_store_failure
        )
        self.by_address = self._by == "ip"
        self.varies = bool(self._matches or self._header)  # from request to request of a caller

    def charge(
        self, caller: _Caller, principal: Principal | None, path: str, headers: HeaderLookup
    ) -> Charge | None:
        """What a request is counted under, if the rule is for it."""
        if self._matches is not None and self._matches(path) is None:
            return None
        if self._roles and (principal is None or self._roles.isdisjoint(principal.roles)):
            return None
        return Charge(self._key(caller, headers), self._allowance)

    def _key(self, caller: _Caller, headers: HeaderLookup) -> bytes:
        """Who has no customer, or no such field, is counted as the caller that it is."""
        if self._by == "ip":
            return key(caller.ip, caller.ip, self._what)
        if self._by == "customer" and caller.customer:
            return key(caller.home, caller.customer, self._what)
        if self._by == "header" and (value := headers.get(self._header)) is not None:
            who = identity("field", value)
            return key(who, who, self._what)
        return key(caller.home, caller.own, self._what)


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """What all requests of a caller on a route are counted under, and by whose leave."""

    caller: _Caller
    session: SessionRef | None
    charges: tuple[Charge, ...]
    policy: tuple[bytes, bytes]


class RateLimiting:
    """The limits of one snapshot; what has been used is in the ``store``, which outlives it.

    ``client`` tells the address of a client by the peer's and the header fields; None if it can't.
    """

    def __init__(
        self, snapshot: Snapshot, store: Store, client: Callable[[str, Headers], Address | None]
    ) -> None:
        self._store = store
        self._client = client
        self._tiers = snapshot.tiers
        self._session_ttl = snapshot.options.auth.refresh_ttl
        rules = [_Rule(rule) for rule in snapshot.options.rate_limits]
        self._rules = [rule for rule in rules if not rule.varies]
        self._varying = [rule for rule in rules if rule.varies]
        self._by_address = any(rule.by_address for rule in rules)
        self._of_tiers = {name: tier_allowance(name, tier) for name, tier in self._tiers.items()}
        self._of_routes = {route.label: _route_allowance(route) for route in snapshot.routes}
        self._legacy = snapshot.options.x_ratelimit_fields
        limits = (*self._of_tiers.values(), *self._of_routes.values(), *rules)
        self._limited = any(limits) or any(tier.customers for tier in self._tiers.values())
        self._plans: dict[tuple[CompiledRoute, Principal | None, Address | None], _Plan] = {}

    def concerns(self, principal: Principal | None) -> bool:
        """Whether there may be something to check for a caller: any limit at all, or a session."""
        return self._limited or (principal is not None and principal.session is not None)

    async def check(
        self, request: Request, path: str, route: CompiledRoute, principal: Principal | None
    ) -> Headers:
        """Count a request under all limits that are for it; the fields that tell what is left.

        Raises Refused: 429; 401 if the caller's session is over; 503 where the session, or a limit
        that must hold, can't be checked.
        """
        plan = self._plan(request, route, principal)
        charges, policy = plan.charges, plan.policy
        if self._varying:
            found = [r.charge(plan.caller, principal, path, request.headers) for r in self._varying]
            charges += tuple(charge for charge in found if charge is not None)
            policy = policy_field(charges)
        if not charges and plan.session is None:
            return ()
        cost = route.config.rate_limit_cost
        try:
            outcome = await self._store.check(charges, cost, session=plan.session)
        except NoSession as error:
            raise session_refusal(error) from None
        except StoreUnavailable:
            detail = "The rate limits of this request can't be checked at the moment."
            raise Refused(ProblemType.LIMITS_UNAVAILABLE, detail) from None
        if not outcome.charges:
            return ()
        fields: Headers = (policy, state_field(outcome, cost))
        if self._legacy:
            fields += legacy_fields(outcome)
        if not outcome.allowed:
            raise _refusal(outcome, cost, fields)
        return fields

    def _plan(self, request: Request, route: CompiledRoute, principal: Principal | None) -> _Plan:
        address = None
        if principal is None or self._by_address:
            address = self._client(request.peer, request.raw_headers)
        of_whom = (route, principal, address)
        plan = self._plans.get(of_whom)
        if plan is None:
            caller = _Caller.of(principal, address)
            charges = tuple(self._charges(request, route, principal, caller))
            if len(self._plans) >= _CACHE_SIZE:
                self._plans.clear()
            session = session_of(principal, self._session_ttl)
            plan = _Plan(caller, session, charges, policy_field(charges))
            self._plans[of_whom] = plan
        return plan

    def _charges(
        self, request: Request, route: CompiledRoute, principal: Principal | None, caller: _Caller
    ) -> Iterator[Charge]:
        yield from self._of_tier(principal, caller)
        if (allowance := self._of_routes[route.label]) is not None:
            yield Charge(key(caller.home, caller.own, f"route:{route.label}"), allowance)
        for rule in self._rules:
            if (charge := rule.charge(caller, principal, "", request.headers)) is not None:
                yield charge

    def _of_tier(self, principal: Principal | None, caller: _Caller) -> Iterator[Charge]:
        """The tier's limit; of a customer that it names, the one that all its callers share."""
        name = principal.tier if principal else DEFAULT_TIER
        customer = principal.customer if principal else None
        special = self._tiers[name].customers.get(customer) if customer is not None else None
        if special is None:
            allowance, who = self._of_tiers[name], caller.own
        else:
            allowance, who = tier_allowance(name, self._tiers[name], special), caller.home
        if allowance is not None:
            yield Charge(key(caller.home, who, "tier"), allowance)


def _route_allowance(route: Route) -> Allowance | None:
    limit = route.rate_limit
    if limit is None:
        return None
    name = quoted(route.label)
    return Allowance(name, limit.requests_per_minute, limit.burst, limit.on_store_failure)


def _path_matcher(pattern: str) -> Callable[[str], re.Match[str] | None]:
    """Of normalised paths: ``{param}`` is one segment, ``*`` at the end the rest."""
    front = pattern.removesuffix(REST)
    segments = ["[^/]+" if part.startswith("{") else re.escape(part) for part in front.split("/")]
    return re.compile("/".join(segments) + (".*" if front != pattern else "")).fullmatch


def _refusal(outcome: Outcome, cost: int, fields: Headers) -> Refused:
    """A 429 that names the limit which refuses for the longest time."""
    each = zip(outcome.charges, outcome.levels, strict=True)
    (_, limit), _ = max(each, key=lambda it: it[0].allowance.until_fits(it[1], cost))
    name, rate = limit.name.decode(), limit.per_minute
    seconds = ceil(outcome.retry_after(cost))
    detail = f"The allowance {name} of {rate} requests a minute is used up."
    return Refused(ProblemType.RATE_LIMITED, detail, headers=fields, retry_after=seconds)
