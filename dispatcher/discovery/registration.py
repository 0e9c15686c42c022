"""What an instance says of itself, and which addresses may be said."""

import ipaddress
from collections.abc import Sequence
from typing import Annotated

import msgspec
from pydantic import Field, HttpUrl

from config.models.services import Instance
from config.values import Network, Number

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Ttl = Annotated[Number, Field(ge=3, le=3600, description="a number of seconds from 3 to 3600")]
_HEARTBEATS_PER_TTL = 3  # two may be lost


class Registration(Instance):
    """The body of a registration. It is over ``ttl`` seconds later, unless it comes again."""

    zone: Annotated[str, Field(max_length=100)] | None = None
    ttl: _Ttl = 30.0


class Lease(msgspec.Struct, frozen=True):
    """A registration as it is kept; ``url`` without a slash at its end is the instance's identity.

    ``ttl`` is seconds.
    """

    url: str
    ttl: float
    weight: int = 1
    zone: str | None = None

    @classmethod
    def of(cls, registration: Registration) -> "Lease":
        """The lease that a registration asks for."""
        url = str(registration.url).rstrip("/")
        return cls(url, registration.ttl, registration.weight, registration.zone)

    @property
    def heartbeat(self) -> float:
        """In how many seconds it wants to come again."""
        return self.ttl / _HEARTBEATS_PER_TTL


def may_be_called(url: str, allow: Sequence[Network]) -> bool:
    """Whether a registered URL may be called; ``allow`` are the networks it must be of, if any.

    Without any, names and all addresses that a service can have: not those of this link, where
    clouds tell machines their secrets, nor of groups, nor none at all. Names pass only without any,
    as nobody knows where they will lead.
    """
    address = _address(HttpUrl(url).host or "")
    if address is None:
        return not allow
    if allow:
        return any(address in network for network in allow)
    return not (address.is_link_local or address.is_multicast or address.is_unspecified)


def _address(host: str) -> _Address | None:
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
