"""From where: the networks that may enter, and those that may not."""

from config.models import origins as configured
from ingress.addresses import Address, Networks
from ingress.problems import Forbidden


class IpFilter:
    """Lets addresses pass that ``allow`` has (all, where it is empty) and ``deny`` has not."""

    def __init__(self, rules: configured.IpFilter) -> None:
        self._allow = Networks(rules.allow) if rules.allow else None
        self._deny = Networks(rules.deny)

    def check(self, address: Address | None) -> None:
        """Raise Refused (403) unless the address may pass; one that nobody knows may not.

        The answer is the same for all reasons: it tells nothing of the networks.
        """
        if address is None or address in self._deny or not self._allows(address):
            detail = "This address may not make this request."
            raise Forbidden("ip_filter", detail, who=str(address or "an unknown address"))

    def _allows(self, address: Address) -> bool:
        return self._allow is None or address in self._allow


def ip_filter(rules: configured.IpFilter | None) -> IpFilter | None:
    """The filter for these rules, or None where they let everybody pass."""
    return IpFilter(rules) if rules and (rules.allow or rules.deny) else None
