"""What the end of a call says: of the instance, of its service, and of the service's load.

                                instance  service   load
    a response below 500        SUCCESS   SUCCESS   its time counts
    429                         SUCCESS   SUCCESS   too much
    500 and above               SUCCESS   FAILURE   -
    502                         FAILURE   FAILURE   -
    503, 504                    FAILURE   FAILURE   too much
    a timeout, if patient       FAILURE   FAILURE   too much
    no connection, or lost      FAILURE   FAILURE   too much
    no HTTP, a flood of fields  FAILURE   FAILURE   -
    our own limits, impatience  UNKNOWN   UNKNOWN   -
    broken off for a hedge      LATE      UNKNOWN   -

502, 503 and 504 are what Envoy counts as gateway failures: they speak against the instance. Any
other 5xx is the application's own answer, which every instance would give to the same request; that
the service is not well it says all the same (Envoy's consecutive_5xx).

A hedged call that was so late that another instance was asked, and is broken off for an answer that
came sooner, says little of its instance by itself: every twentieth call of a healthy one ends so.
"""

from enum import Enum
from typing import NamedTuple

from dispatcher.upstream import (
    BodyTooLarge,
    ConnectFailed,
    ConnectionLost,
    ConnectTimedOut,
    InvalidRequest,
    TooManyCalls,
    UpstreamError,
    UpstreamTimeout,
)


class Verdict(Enum):
    """Whether the instance, or the service, did its work; UNKNOWN where that can't be told."""

    SUCCESS = "success"
    FAILURE = "failure"
    UNKNOWN = "unknown"
    LATE = "late"  # an instance that had not answered yet, when another was asked in its place


class Load(Enum):
    """What the end of a call says about the load of the service."""

    SERVED = "served"  # its time counts
    IGNORED = "ignored"  # nothing: broken off from this side, or failed for another reason
    DROPPED = "dropped"  # too much: refused, or not served in time


class CallEnd(NamedTuple):
    """For whoever learns from how calls end: the balancer, the breaker, the concurrency limit."""

    instance: Verdict
    service: Verdict
    load: Load


BROKEN_OFF = CallEnd(Verdict.UNKNOWN, Verdict.UNKNOWN, Load.IGNORED)
OVERTAKEN = CallEnd(Verdict.LATE, Verdict.UNKNOWN, Load.IGNORED)

_SERVED = CallEnd(Verdict.SUCCESS, Verdict.SUCCESS, Load.SERVED)
_SERVICE_FAILED = CallEnd(Verdict.SUCCESS, Verdict.FAILURE, Load.IGNORED)
_FAILED = CallEnd(Verdict.FAILURE, Verdict.FAILURE, Load.IGNORED)
_OVERLOADED = CallEnd(Verdict.FAILURE, Verdict.FAILURE, Load.DROPPED)
_SPECIAL = {
    429: CallEnd(Verdict.SUCCESS, Verdict.SUCCESS, Load.DROPPED),
    502: _FAILED,
    503: _OVERLOADED,
    504: _OVERLOADED,  # a proxy before the service says so where the call would have timed out
}


def of_status(status: int) -> CallEnd:
    """Of a call that got a response."""
    if status < 500 and status != 429:
        return _SERVED
    return _SPECIAL.get(status, _SERVICE_FAILED)


def of_error(error: UpstreamError, *, patient: bool) -> CallEnd:
    """Of a call that got none.

    ``patient``: it had time enough. Who leaves a call less says more about himself: a client in a
    hurry must not get healthy instances ejected, nor a breaker opened, nor a limit lowered. Neither
    must one who asks for a large body: the service can do that, and only the gateway won't pass it
    on.
    """
    match error:
        case InvalidRequest() | BodyTooLarge() | TooManyCalls():
            return BROKEN_OFF
        case UpstreamTimeout() | ConnectTimedOut():
            return _OVERLOADED if patient else BROKEN_OFF
        case ConnectFailed() | ConnectionLost():
            return _OVERLOADED
    return _FAILED
