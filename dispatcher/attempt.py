"""How one call ended: in a response, or in a problem; and what the policies make of it."""

from enum import Enum, auto

import msgspec

from broker.messages import Problem
from broker.problems import ProblemType
from dispatcher.upstream import (
    ConnectFailed,
    ConnectionLost,
    InvalidRequest,
    ProtocolError,
    ResponseTooLarge,
    UpstreamError,
    UpstreamResponse,
    UpstreamTimeout,
)

NO_INSTANCE_RETRY_AFTER = 1  # seconds; an instance that returns is known about that soon


class Health(Enum):
    """What an ending says of the service."""

    WELL = auto()
    FAILING = auto()
    UNKNOWN = auto()


class Attempt(msgspec.Struct, frozen=True, gc=False):
    """One of ``response`` and ``problem`` is there. ``repeatable``: another call may go better."""

    response: UpstreamResponse | None
    problem: Problem | None
    instance: str = ""
    upstream_ms: float = 0.0
    health: Health = Health.WELL
    repeatable: bool = False


# Fixed words: what a client reads says nothing of addresses and connections behind the gateway.
_FAILURES: dict[type[UpstreamError], tuple[ProblemType, str]] = {
    InvalidRequest: (ProblemType.BAD_REQUEST, "The request can't be passed on unchanged."),
    ConnectFailed: (ProblemType.UPSTREAM_CONNECTION, "The service could not be reached."),
    ConnectionLost: (ProblemType.UPSTREAM_CONNECTION, "The service closed the connection."),
    ProtocolError: (ProblemType.UPSTREAM_PROTOCOL, "The service did not answer in valid HTTP."),
    ResponseTooLarge: (ProblemType.UPSTREAM_PROTOCOL, "The service's answer is too large."),
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
    health=Health.UNKNOWN,
)


def responded(response: UpstreamResponse, instance: str, upstream_ms: float) -> Attempt:
    """The service answered. Any 5xx says that it is not well, as Envoy's consecutive_5xx has it."""
    health = Health.WELL if response.status < 500 else Health.FAILING
    return Attempt(response, None, instance, upstream_ms, health)


def failed(error: UpstreamError, instance: str, upstream_ms: float, patient: bool) -> Attempt:
    """The service did not answer. ``patient``: it had enough time to, so that a timeout counts."""
    kind, detail = _FAILURES.get(type(error), _FAILURES[ConnectionLost])
    problem = Problem(kind.slug, detail, "unknown" if error.sent else "no")
    silent = isinstance(error, UpstreamTimeout) and not patient
    unknown = silent or isinstance(error, InvalidRequest)
    health = Health.UNKNOWN if unknown else Health.FAILING
    repeatable = not isinstance(error, _FINAL)
    return Attempt(None, problem, instance, upstream_ms, health, repeatable)
