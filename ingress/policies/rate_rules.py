"""The operator's own limits: whom each counts, and which requests."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from broker.messages import Headers, Principal
from config.header_fields import FOLD
from config.models.gateway import RateLimitRule
from config.paths import REST
from ingress.addresses import Address
from ingress.limits.allowance import Allowance, Charge
from ingress.limits.fields import quoted
from ingress.limits.keys import address_identity, home_of, identity, key


@dataclass(frozen=True, slots=True, eq=False)
class Caller:
    """Who is counted, as parts of keys; ``home`` is the customer's, or else the caller's own."""

    home: str
    own: str
    ip: str
    customer: str | None

    @classmethod
    def of(cls, principal: Principal | None, address: Address | None) -> "Caller":
        """The caller that came from there."""
        ip = address_identity(address)
        if principal is None:
            return cls(ip, ip, ip, None)
        own = identity("sub", principal.subject)
        customer = identity("org", principal.customer) if principal.customer else None
        return cls(home_of(principal), own, ip, customer)


class Rule:
    """A custom rule, made ready.

    ``by_path`` tells whether it is for some paths only, ``by_header`` whether it may count requests
    of one caller apart, ``by_address`` whether it wants to know the address, ``asks_who`` whether
    it wants to know anything else of the caller.
    """

    def __init__(self, rule: RateLimitRule) -> None:
        self._what = f"rule:{rule.name}"
        self._by, _, header = rule.key.partition(":")
        self._field = header.encode().translate(FOLD)
        self._roles = frozenset(rule.match.roles or ())
        self._matches = _path_matcher(rule.match.path) if rule.match.path else None
        self.allowance = Allowance(
            quoted(rule.name), rule.requests_per_minute, rule.burst, rule.on_store_failure
        )
        self.by_address = self._by == "ip"
        self.by_path = self._matches is not None
        self.by_header = bool(header)
        self.asks_who = bool(self._roles) or self._by in ("subject", "customer")

    def covers(self, path: str) -> bool:
        """Whether it is for requests of this path."""
        return self._matches is None or self._matches(path) is not None

    def charge(
        self, caller: Caller, principal: Principal | None, headers: Headers
    ) -> Charge | None:
        """What a request is counted under, if the rule is for its caller; ``headers`` are raw."""
        if self._roles and (principal is None or self._roles.isdisjoint(principal.roles)):
            return None
        return Charge(self._key(caller, headers), self.allowance)

    def _key(self, caller: Caller, headers: Headers) -> bytes:
        """Who has no customer, or no such field, is counted as the caller that it is."""
        if self._by == "ip":
            return key(caller.ip, caller.ip, self._what)
        if self._by == "customer" and caller.customer:
            return key(caller.home, caller.customer, self._what)
        if self._by == "header" and (value := self._value(headers)) is not None:
            who = identity("field", value)
            return key(who, who, self._what)
        return key(caller.home, caller.own, self._what)

    def _value(self, headers: Headers) -> str | None:
        """All that the field says, however its name is spelt (RFC 9110 section 5.3)."""
        values = [value for name, value in headers if name.translate(FOLD) == self._field]
        return b", ".join(values).decode("latin-1") if values else None


def charges_of(
    rules: Iterable[Rule], caller: Caller, principal: Principal | None, headers: Headers
) -> tuple[Charge, ...]:
    """What a request is counted under by those rules that are for its caller."""
    found = [rule.charge(caller, principal, headers) for rule in rules]
    return tuple(charge for charge in found if charge is not None)


def _path_matcher(pattern: str) -> Callable[[str], re.Match[str] | None]:
    """Of normalised paths: ``{param}`` is one segment, ``*`` at the end the rest."""
    front = pattern.removesuffix(REST)
    segments = ["[^/]+" if part.startswith("{") else re.escape(part) for part in front.split("/")]
    return re.compile("/".join(segments) + (".*" if front != pattern else "")).fullmatch
