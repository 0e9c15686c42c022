"""How much of the gateway's own endpoints, which have no route: the operator's rules.

And one of the gateway's own, so that no client can keep the store of sessions busy.
"""

from collections.abc import Callable, Sequence

from broker.messages import Headers, Principal
from config.models.gateway import GatewayOptions
from ingress.addresses import Address
from ingress.identity.session_store import SessionRef
from ingress.limits.allowance import Allowance, Charge, Store
from ingress.limits.keys import key
from ingress.policies.rate_limiting import count
from ingress.policies.rate_rules import Caller, Rule, charges_of
from ingress.request import Request

# Of a subject: 3,000 at once, which is three for each of its sessions, and then 50 a second.
_PER_MINUTE = 3000


class EndpointLimits:
    """The rules for requests that belong to no route; each of those costs one.

    ``accountable`` tells the address of a client by the peer's and the header fields.
    """

    def __init__(
        self,
        options: GatewayOptions,
        store: Store,
        accountable: Callable[[str, Headers], Address | None],
    ) -> None:
        rules = [Rule(rule) for rule in options.rate_limits]
        self._of_all = [rule for rule in rules if not rule.asks_who]
        self._of_callers = [rule for rule in rules if rule.asks_who]
        self._store = store
        self._accountable = accountable
        self._of_each = Allowance(b'"auth"', _PER_MINUTE)
        self._legacy = options.x_ratelimit_fields

    async def check(self, request: Request, path: str) -> Headers:
        """Count a request, whoever makes it; the fields that tell what is left.

        Raises Refused: 429; 503 where a limit that must hold can't be checked.
        """
        if not self._of_all:
            return ()
        charges = self._charges(self._of_all, self._caller(request), request, path, None)
        return await self._count(charges)

    async def check_caller(
        self,
        request: Request,
        path: str,
        principal: Principal | None,
        session: SessionRef | None = None,
    ) -> Headers:
        """The same by what is for subjects, customers and roles, as soon as it is known who asks.

        Who is nobody is counted by address. Raises Refused: also 401 if there is a session that is
        over, 503 where that can't be told.
        """
        caller = self._caller(request, principal)
        charges = self._charges(self._of_callers, caller, request, path, principal)
        if principal is not None:
            charges += (Charge(key(caller.home, caller.own, "auth:requests"), self._of_each),)
        return await self._count(charges, session)

    def _caller(self, request: Request, principal: Principal | None = None) -> Caller:
        return Caller.of(principal, self._accountable(request.peer, request.raw_headers))

    def _charges(
        self,
        rules: Sequence[Rule],
        caller: Caller,
        request: Request,
        path: str,
        principal: Principal | None,
    ) -> tuple[Charge, ...]:
        covering = [rule for rule in rules if rule.covers(path)]
        return charges_of(covering, caller, principal, request.raw_headers)

    async def _count(self, charges: Sequence[Charge], session: SessionRef | None = None) -> Headers:
        if not charges and session is None:
            return ()
        return await count(self._store, charges, session=session, legacy=self._legacy)
