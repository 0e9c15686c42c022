"""What DNS says of a service: addresses by A and AAAA, or addresses, ports and weights by SRV.

One lookup may take several queries: for each name of the search list (resolv.conf), again over TCP
where an answer was cut short, for AAAA where there is no A, for targets of SRV records that came
without their addresses. One deadline is for all of them.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.nameserver
import dns.rdataclass
import dns.rdatatype
import dns.resolver

DEADLINE = 5.0  # seconds for a lookup
_TARGETS_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address. SRV adds the ``target`` that has it, its port and its weight."""

    ip: str
    port: int = 0
    weight: int = 1
    target: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """At least one endpoint, and for how many seconds that may be relied on."""

    endpoints: Sequence[Endpoint]
    ttl: float


class LookupFailed(Exception):
    """There is no answer to rely on; ``reason`` is one of few words."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (dns.resolver.NXDOMAIN, "no_such_name"),
    (dns.resolver.NoAnswer, "no_records"),
    (dns.resolver.NoNameservers, "server_failure"),  # SERVFAIL, REFUSED, not to be reached
    (dns.resolver.NoResolverConfiguration, "no_nameserver"),
    (dns.exception.Timeout, "timeout"),
    (TimeoutError, "timeout"),
)


class DnsLookup:
    """Asks ``nameservers`` (addresses and ports), or else those of ``resolv_conf``.

    The search list and ``ndots`` are those of ``resolv_conf``. ``deadline`` is seconds for a whole
    lookup.
    """

    def __init__(
        self,
        nameservers: Sequence[tuple[str, int]] = (),
        *,
        resolv_conf: str = "/etc/resolv.conf",
        deadline: float = DEADLINE,
    ) -> None:
        self._nameservers = nameservers
        self._resolv_conf = resolv_conf
        self._deadline = deadline
        self._made: dns.asyncresolver.Resolver | None = None
        self._free = asyncio.Semaphore(_TARGETS_AT_ONCE)

    async def find(self, name: str, record: str | None) -> Found:
        """Look up a name. Raises LookupFailed.

        ``record`` is A, AAAA or SRV; None is A, or AAAA where there is no A.
        """
        try:
            async with asyncio.timeout(self._deadline):
                if record == "SRV":
                    return await self._services(name)
                return await self._addresses(name, (record,) if record else ("A", "AAAA"))
        except (dns.exception.DNSException, OSError, TimeoutError) as error:
            reasons = (reason for kind, reason in _REASONS if isinstance(error, kind))
            raise LookupFailed(next(reasons, "error"), str(error) or "no answer in time") from error

    async def _addresses(self, name: str, types: Sequence[str]) -> Found:
        for type_ in types[:-1]:
            try:
                return _found(await self._ask(name, type_))
            except dns.resolver.NoAnswer:
                continue
        return _found(await self._ask(name, types[-1]))

    async def _services(self, name: str) -> Found:
        """The targets of the lowest priority that have addresses (RFC 2782)."""
        answer = await self._ask(name, "SRV")
        for _, group in groupby(sorted(answer, key=attrgetter("priority")), attrgetter("priority")):
            # A target "." says that there is no such service here.
            targets = [record for record in group if record.target.labels != (b"",)]
            found = await asyncio.gather(*(self._target(answer, target) for target in targets))
            endpoints = [endpoint for each in found for endpoint in each.endpoints]
            if endpoints:
                ttls = (each.ttl for each in found if each.endpoints)
                return Found(endpoints, min(_ttl(answer), *ttls))
        raise LookupFailed("no_records", "none of the targets has an address")

    async def _target(self, answer: dns.resolver.Answer, record: Any) -> Found:
        """The addresses of one SRV record; none if they can't be had."""
        addresses = _beside(answer, record.target)
        if addresses is None:
            try:
                async with self._free:
                    addresses = await self._addresses(record.target.to_text(), ("A", "AAAA"))
            except dns.exception.DNSException:
                return Found((), 0.0)
        target, weight = record.target.to_text(omit_final_dot=True), max(1, record.weight)
        endpoints = [Endpoint(each.ip, record.port, weight, target) for each in addresses.endpoints]
        return Found(endpoints, addresses.ttl)

    async def _ask(self, name: str, type_: str) -> dns.resolver.Answer:
        return await self._resolver().resolve(name, type_, search=True, lifetime=self._deadline)

    def _resolver(self) -> dns.asyncresolver.Resolver:
        """Made when it is first needed, as there may be no nameserver to be found."""
        if self._made is None:
            resolver = dns.asyncresolver.Resolver(configure=False)
            try:
                resolver.read_resolv_conf(self._resolv_conf)
            except dns.resolver.NoResolverConfiguration:
                if not self._nameservers:
                    raise
            if self._nameservers:
                resolver.nameservers = [
                    dns.nameserver.Do53Nameserver(ip, port) for ip, port in self._nameservers
                ]
            self._made = resolver
        return self._made


def _found(answer: dns.resolver.Answer) -> Found:
    return Found([Endpoint(record.address) for record in answer], _ttl(answer))


def _beside(answer: dns.resolver.Answer, target: Any) -> Found | None:
    """The addresses of an SRV target that came with the answer."""
    for type_ in (dns.rdatatype.A, dns.rdatatype.AAAA):
        additional = answer.response.additional
        records = answer.response.get_rrset(additional, target, dns.rdataclass.IN, type_)
        if records:
            return Found([Endpoint(record.address) for record in records], float(records.ttl))
    return None


def _ttl(answer: dns.resolver.Answer) -> float:
    """The least of the records', and of those of all aliases on the way to them."""
    return float(answer.chaining_result.minimum_ttl)
