"""What the log says of requests that were answered with 403."""

import logging
from collections import Counter
from collections.abc import Callable

from ingress.problems import Forbidden, ForbiddingPolicy

log = logging.getLogger(__name__)

_EVERY = 10.0  # seconds; a policy is told of once in so long, as clients may cause any number


class ForbiddenLog:
    """Tells of each policy how much it has refused by now, and what the last of it was.

    ``monotonic`` gives seconds.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._refused = Counter[ForbiddingPolicy]()
        self._told: dict[ForbiddingPolicy, float] = {}

    def tell(self, refusal: Forbidden, where: str, request_id: str) -> None:
        """Count one, and say so unless that was said just now; ``where`` is a route or a path."""
        policy, now = refusal.policy, self._monotonic()
        self._refused[policy] += 1
        if now - self._told.get(policy, float("-inf")) < _EVERY:
            return
        self._told[policy] = now
        what = (policy, self._refused[policy], where, refusal.who or refusal.detail)
        fields = {"request_id": request_id}
        log.info("%s refused %d requests by now; the last: %.200s: %.200s", *what, extra=fields)
