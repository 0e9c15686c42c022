"""What the end of a call says about the instance that was called."""

from enum import Enum

from dispatcher.upstream import (
    BodyTooLarge,
    ConnectTimedOut,
    InvalidRequest,
    TooManyCalls,
    UpstreamError,
    UpstreamTimeout,
)

# What Envoy counts as gateway failures. A 500 or 501 is the application's own answer, which every
# other instance would give to the same request, too.
_GATEWAY_FAILURES = frozenset({502, 503, 504})


class Verdict(Enum):
    """Whether the instance did its work; UNKNOWN where the call was broken off from this side."""

    SUCCESS = "success"
    FAILURE = "failure"
    UNKNOWN = "unknown"


def of_status(status: int) -> Verdict:
    """Of a response: gateway failures (502, 503, 504) speak against the instance."""
    return Verdict.FAILURE if status in _GATEWAY_FAILURES else Verdict.SUCCESS


def of_error(error: UpstreamError, *, patient: bool) -> Verdict:
    """Of a call that got no response.

    ``patient``: it had time enough. Who leaves a call less says more about himself: a client in a
    hurry must not get healthy instances ejected, nor a breaker opened. Neither must one who asks
    for a large body: the service can do that, and only the gateway won't pass it on.
    """
    match error:
        case InvalidRequest() | BodyTooLarge() | TooManyCalls():
            return Verdict.UNKNOWN
        case UpstreamTimeout() | ConnectTimedOut() if not patient:
            return Verdict.UNKNOWN
    return Verdict.FAILURE
