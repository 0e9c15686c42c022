"""How one call ended: in a response, or in a problem; and what the policies make of it."""

import msgspec

from broker.messages import Executed, Problem
from broker.problems import ProblemType
from dispatcher.call_end import Verdict
from dispatcher.upstream import (
    BodyTooLarge,
    ConnectFailed,
    ConnectionLost,
    ConnectTimedOut,
    InvalidRequest,
    ProtocolError,
    ResponseTooLarge,
    TooManyCalls,
    UpstreamError,
    UpstreamResponse,
    UpstreamTimeout,
)

NO_INSTANCE_RETRY_AFTER = 1  # seconds; an instance that returns is known about that soon


class Attempt(msgspec.Struct, frozen=True, gc=False):
    """One of ``response`` and ``problem`` is there.

    ``verdict`` is about the service. ``repeatable``: another call may go better. ``configured``:
    the answer is the operator's own, in the shape that it is to have.
    """

    response: UpstreamResponse | None
    problem: Problem | None
    instance: str = ""
    upstream_ms: float = 0.0
    verdict: Verdict = Verdict.SUCCESS
    repeatable: bool = False
    configured: bool = False


# Fixed words: what a client reads says nothing of addresses and connections behind the gateway.
_FAILURES: dict[type[UpstreamError], tuple[ProblemType, str]] = {
    InvalidRequest: (ProblemType.BAD_REQUEST, "The request can't be passed on unchanged."),
    ConnectFailed: (ProblemType.UPSTREAM_CONNECTION, "The service could not be reached."),
    ConnectTimedOut: (ProblemType.DEADLINE_EXCEEDED, "The service could not be reached in time."),
    TooManyCalls: (ProblemType.NO_INSTANCE, "Every connection to the service is in use."),
    ConnectionLost: (ProblemType.UPSTREAM_CONNECTION, "The service closed the connection."),
    ProtocolError: (ProblemType.UPSTREAM_PROTOCOL, "The service did not answer in valid HTTP."),
    ResponseTooLarge: (ProblemType.UPSTREAM_PROTOCOL, "The service's answer is too large."),
    BodyTooLarge: (ProblemType.UPSTREAM_PROTOCOL, "The service's answer is too large."),
    UpstreamTimeout: (ProblemType.DEADLINE_EXCEEDED, "The service did not answer in time."),
}
_FINAL = (InvalidRequest, ResponseTooLarge)  # they would end the same way again

NO_INSTANCE = Attempt(
    response=None,
    problem=Problem(
        ProblemType.NO_INSTANCE.slug,
        "No instance of the service is available.",
        "no",
        NO_INSTANCE_RETRY_AFTER,
    ),
    verdict=Verdict.UNKNOWN,
)
TOO_LATE = Attempt(
    response=None,
    problem=Problem(
        ProblemType.DEADLINE_EXCEEDED.slug, "There was no time left to call the service.", "no"
    ),
    verdict=Verdict.UNKNOWN,
)


def responded(
    response: UpstreamResponse, instance: str, upstream_ms: float, verdict: Verdict
) -> Attempt:
    """The service answered."""
    return Attempt(response, None, instance, upstream_ms, verdict)


def failed(error: UpstreamError, instance: str, upstream_ms: float, verdict: Verdict) -> Attempt:
    """The service did not answer."""
    kind, detail = _FAILURES.get(type(error), _FAILURES[ConnectionLost])
    executed: Executed = "unknown" if error.sent else "no"
    problem = Problem(kind.slug, detail, executed, proxy_error=error.proxy_error)
    return Attempt(None, problem, instance, upstream_ms, verdict, not isinstance(error, _FINAL))
