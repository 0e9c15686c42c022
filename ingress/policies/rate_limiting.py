"""How much: the limits of the caller's tier, of the route, and of the operator's own rules.

The store that counts also knows whether the caller's session lasts, and tells both in one answer.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil

from broker.messages import Headers, Principal
from broker.problems import ProblemType
from config.models.routes import Route
from config.snapshot import Snapshot
from ingress.addresses import Address
from ingress.identity.session_store import NoSession, SessionRef, session_of
from ingress.limits.allowance import Allowance, Charge, Outcome, Store, StoreUnavailable
from ingress.limits.fields import legacy_fields, policy_field, quoted, state_field
from ingress.limits.keys import key
from ingress.limits.limiter import tier_allowance
from ingress.policies.authentication import DEFAULT_TIER, session_refusal
from ingress.policies.rate_rules import Caller, Rule, charges_of
from ingress.problems import Refused
from ingress.request import Request
from ingress.routing import CompiledRoute

_CACHE_SIZE = 4096

# What a plan is for; the rules are those that cover the path.
_Place = tuple[CompiledRoute, tuple[Rule, ...], Principal | None, Address | None]


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """What all requests of a caller on a route are counted under, and by whose leave.

    ``varying`` are the rules by which more is counted, by what each request says.
    """

    caller: Caller
    session: SessionRef | None
    varying: tuple[Rule, ...]
    charges: tuple[Charge, ...]
    policy: tuple[bytes, bytes]


class RateLimiting:
    """The limits of one snapshot; what has been used is in the ``store``, which outlives it.

    ``accountable`` tells the address of a client by the peer's and the header fields.
    ``must_hold`` is whether there are limits that admit nobody while the store is away.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        store: Store,
        accountable: Callable[[str, Headers], Address | None],
    ) -> None:
        self._store = store
        self._accountable = accountable
        self._tiers = snapshot.tiers
        self._session_ttl = snapshot.options.auth.refresh_ttl
        rules = [Rule(rule) for rule in snapshot.options.rate_limits]
        self._of_all_paths = tuple(rule for rule in rules if not rule.by_path)
        self._by_path = [rule for rule in rules if rule.by_path]
        self._by_address = any(rule.by_address for rule in rules)
        self._of_tiers = {name: tier_allowance(name, tier) for name, tier in self._tiers.items()}
        self._of_routes = {route.label: _route_allowance(route) for route in snapshot.routes}
        self._legacy = snapshot.options.x_ratelimit_fields
        limits = [*self._of_tiers.values(), *self._of_routes.values()]
        limits += [rule.allowance for rule in rules]
        for name, tier in self._tiers.items():
            limits += [tier_allowance(name, tier, customer) for customer in tier.customers.values()]
        self._limited = any(limits)
        self.must_hold = any(limit and limit.on_store_failure == "closed" for limit in limits)
        self._plans: dict[_Place, _Plan] = {}

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
        plan = self._plan(request, path, route, principal)
        charges, policy = plan.charges, plan.policy
        if plan.varying:
            charges += charges_of(plan.varying, plan.caller, principal, request.raw_headers)
            policy = policy_field(charges)
        if not charges and plan.session is None:
            return ()
        cost = route.config.rate_limit_cost
        return await count(
            self._store, charges, cost, session=plan.session, policy=policy, legacy=self._legacy
        )

    async def check_session(self, principal: Principal) -> None:
        """Only whether a caller's session lasts, if it has one. Raises Refused (401, 503)."""
        session = session_of(principal, self._session_ttl)
        if session is not None:
            await count(self._store, (), session=session)

    def _plan(
        self, request: Request, path: str, route: CompiledRoute, principal: Principal | None
    ) -> _Plan:
        rules = self._of_all_paths
        if self._by_path:
            rules += tuple([rule for rule in self._by_path if rule.covers(path)])
        address = None
        if principal is None or self._by_address:
            address = self._accountable(request.peer, request.raw_headers)
        place = (route, rules, principal, address)
        plan = self._plans.get(place)
        if plan is None:
            if len(self._plans) >= _CACHE_SIZE:
                self._plans.clear()
            plan = self._plans[place] = self._make_plan(*place)
        return plan

    def _make_plan(
        self,
        route: CompiledRoute,
        rules: tuple[Rule, ...],
        principal: Principal | None,
        address: Address | None,
    ) -> _Plan:
        caller = Caller.of(principal, address)
        charges = [*self._of_tier(principal, caller), *self._of_route(route, caller)]
        charges += charges_of([rule for rule in rules if not rule.by_header], caller, principal, ())
        return _Plan(
            caller,
            session_of(principal, self._session_ttl),
            tuple(rule for rule in rules if rule.by_header),
            tuple(charges),
            policy_field(charges),
        )

    def _of_route(self, route: CompiledRoute, caller: Caller) -> Iterator[Charge]:
        if (allowance := self._of_routes[route.label]) is not None:
            yield Charge(key(caller.home, caller.own, f"route:{route.label}"), allowance)

    def _of_tier(self, principal: Principal | None, caller: Caller) -> Iterator[Charge]:
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


async def count(
    store: Store,
    charges: Sequence[Charge],
    cost: int = 1,
    *,
    session: SessionRef | None = None,
    policy: tuple[bytes, bytes] | None = None,
    legacy: bool = False,
) -> Headers:
    """Count a request under all of its charges; the fields that tell what is left of each.

    ``policy`` is the field that names them, where it is known already. Raises Refused: 429; 401 if
    the session is over; 503 where the session, or a limit that must hold, can't be checked.
    """
    try:
        outcome = await store.check(charges, cost, session=session)
    except NoSession as error:
        raise session_refusal(error) from None
    except StoreUnavailable:
        detail = "The rate limits of this request can't be checked at the moment."
        raise Refused(ProblemType.LIMITS_UNAVAILABLE, detail) from None
    if not outcome.charges:
        return ()
    fields: Headers = (policy or policy_field(charges), state_field(outcome, cost))
    if legacy:
        fields += legacy_fields(outcome)
    if not outcome.allowed:
        raise _refusal(outcome, cost, fields)
    return fields


def _route_allowance(route: Route) -> Allowance | None:
    limit = route.rate_limit
    if limit is None:
        return None
    name = quoted(route.label)
    return Allowance(name, limit.requests_per_minute, limit.burst, limit.on_store_failure)


def _refusal(outcome: Outcome, cost: int, fields: Headers) -> Refused:
    """A 429 that names the limit which refuses for the longest time."""
    each = zip(outcome.charges, outcome.levels, strict=True)
    (_, limit), _ = max(each, key=lambda it: it[0].allowance.until_fits(it[1], cost))
    name, rate = limit.name.decode(), limit.per_minute
    seconds = ceil(outcome.retry_after(cost))
    detail = f"The allowance {name} of {rate} requests a minute is used up."
    return Refused(ProblemType.RATE_LIMITED, detail, headers=fields, retry_after=seconds)
