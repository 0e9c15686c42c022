"""Where requests may come from: filters of addresses, and CORS. For all routes, or for one."""

from pydantic import ValidationInfo, field_validator

from config.models.base import Model
from config.networks import all_within
from config.values import Count, Flag, HeaderName, Method, Network, Origin, refusal


class IpFilter(Model):
    """Addresses that may enter (empty: all) and addresses that may not (wins over ``allow``)."""

    allow: tuple[Network, ...] = ()
    deny: tuple[Network, ...] = ()

    @field_validator("deny")
    @classmethod
    def _leaves_some(cls, value: tuple[Network, ...], info: ValidationInfo) -> tuple[Network, ...]:
        allow = info.data.get("allow", ())
        if allow and all_within(allow, value):
            raise refusal("networks that leave something of allow", "networks that cover allow")
        return value


class Cors(Model):
    """Cross-origin rules (Fetch standard); ``max_age`` in seconds.

    Without ``allow_methods`` all methods that have a route are allowed.
    """

    allow_origins: tuple[Origin, ...]
    allow_methods: tuple[Method, ...] = ()
    allow_headers: tuple[HeaderName, ...] = ()
    expose_headers: tuple[HeaderName, ...] = ()
    allow_credentials: Flag = False
    max_age: Count = 600
    allow_private_network: Flag = False

    @field_validator("allow_credentials")
    @classmethod
    def _no_wildcard_with_credentials(cls, value: bool, info: ValidationInfo) -> bool:
        """Fetch, "CORS protocol and credentials"; any site can make a page of the origin null."""
        for name in ("*", "null") if value else ():
            if name in info.data.get("allow_origins", ()):
                found = f'true beside the origin "{name}"'
                raise refusal("false, or origins by their names", found=found)
        for key in ("allow_headers", "expose_headers") if value else ():
            if "*" in info.data.get(key, ()):
                raise refusal("false, or header fields by their names", f'true beside "*" in {key}')
        return value
