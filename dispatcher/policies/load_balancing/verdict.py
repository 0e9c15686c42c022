"""What the end of a call says about the instance that was called."""

from enum import Enum

from dispatcher.upstream import InvalidRequest, ResponseTooLarge, UpstreamError, UpstreamTimeout

# What Envoy counts as gateway failures. A 500 or 501 is the application's own answer, which every
# other instance would give to the same request, too.
_GATEWAY_FAILURES = frozenset({502, 503, 504})

# Seconds. Who lets a call have less of its service's timeout says more about himself: a client in
# a hurry must not get healthy instances ejected.
_TELLING_TIME = 1.0


class Verdict(Enum):
    """Whether the instance did its work; UNKNOWN where the call was broken off from this side."""

    SUCCESS = "success"
    FAILURE = "failure"
    UNKNOWN = "unknown"


def of_status(status: int) -> Verdict:
    """Of a response: gateway failures (502, 503, 504) speak against the instance."""
    return Verdict.FAILURE if status in _GATEWAY_FAILURES else Verdict.SUCCESS


def of_error(error: UpstreamError, allowed: float, timeout: float) -> Verdict:
    """Of a call that got no response in ``allowed`` seconds, or failed otherwise.

    ``timeout`` is what the service may take, in seconds. A call that ran out of time speaks against
    the instance if it had all of that, or a second at least.
    """
    match error:
        case InvalidRequest() | ResponseTooLarge():
            return Verdict.UNKNOWN
        case UpstreamTimeout():
            telling = allowed >= min(timeout, _TELLING_TIME)
            return Verdict.FAILURE if telling else Verdict.UNKNOWN
    return Verdict.FAILURE
