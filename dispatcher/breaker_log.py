"""What the log tells of circuit breakers: one line for each change of state."""

import logging
from datetime import UTC, datetime

from dispatcher.policies.circuit_breaker import State, Transition

logger = logging.getLogger(__name__)


def log_change(service: str, transition: Transition, now: float) -> None:
    """Say which state, why, and in OPEN until when; ``now`` is Unix seconds."""
    if transition.state is State.OPEN:
        until = datetime.fromtimestamp(now + transition.reset_after, UTC)
        logger.warning(
            "circuit breaker of %s OPEN until %s: %s",
            service,
            until.isoformat(timespec="milliseconds"),
            transition.reason,
        )
    else:
        logger.info(
            "circuit breaker of %s %s: %s", service, transition.state.value, transition.reason
        )
