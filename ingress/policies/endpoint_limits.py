"""How much of the gateway's own endpoints: the operator's rules, where there is no route."""

from collections.abc import Callable, Sequence

from broker.messages import Headers, Principal
from config.models import GatewayOptions
from ingress.addresses import Address
from ingress.limits.allowance import Store
from ingress.policies.rate_limiting import count
from ingress.policies.rate_rules import Caller, Rule, charges_of
from ingress.request import Request


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
        self._legacy = options.x_ratelimit_fields

    async def check(self, request: Request, path: str) -> Headers:
        """Count a request, whoever makes it; the fields that tell what is left.

        Raises Refused: 429; 503 where a limit that must hold can't be checked.
        """
        return await self._check(self._of_all, request, path, None)

    async def check_caller(
        self, request: Request, path: str, principal: Principal | None
    ) -> Headers:
        """The same by the rules for subjects, customers and roles, as soon as it is known who asks.

        Who is nobody is counted by address. Raises Refused.
        """
        return await self._check(self._of_callers, request, path, principal)

    async def _check(
        self, rules: Sequence[Rule], request: Request, path: str, principal: Principal | None
    ) -> Headers:
        if not rules:
            return ()
        caller = Caller.of(principal, self._accountable(request.peer, request.raw_headers))
        covering = [rule for rule in rules if rule.covers(path)]
        charges = charges_of(covering, caller, principal, request.raw_headers)
        return await count(self._store, charges, legacy=self._legacy) if charges else ()
