"""The way of one message, top to bottom.

In time? settled first? request transform, instance, call, response transform, reply.
"""

import logging
import time
from collections.abc import Callable, Collection

import msgspec

from broker.messages import Envelope, Executed, Headers, Problem, Reply
from broker.problems import PROBLEM_TYPES, ProblemType
from dispatcher.policies.load_balancing.balancer import Balancer
from dispatcher.policies.load_balancing.verdict import Verdict, of_error, of_status
from dispatcher.service_discovery import ServiceDiscovery
from dispatcher.settle import Answered, Expired, Outcome, Work
from dispatcher.transformation.transformation import Transformation
from dispatcher.upstream import (
    Caller,
    ConnectFailed,
    ConnectionLost,
    ConnectTimedOut,
    InvalidRequest,
    ProtocolError,
    ResponseTooLarge,
    TooManyCalls,
    UpstreamError,
    UpstreamRequest,
    UpstreamResponse,
    UpstreamTimeout,
)

logger = logging.getLogger(__name__)

NO_INSTANCE_RETRY_AFTER = 1  # seconds; an instance that returns is known about that soon

# Fixed words: what a client reads says nothing of addresses and connections behind the gateway.
_FAILURES: dict[type[UpstreamError], tuple[ProblemType, str]] = {
    InvalidRequest: (ProblemType.BAD_REQUEST, "The request can't be passed on unchanged."),
    ConnectFailed: (ProblemType.UPSTREAM_CONNECTION, "The service could not be reached."),
    ConnectTimedOut: (ProblemType.DEADLINE_EXCEEDED, "The service could not be reached in time."),
    TooManyCalls: (ProblemType.NO_INSTANCE, "Every connection to the service is in use."),
    ConnectionLost: (ProblemType.UPSTREAM_CONNECTION, "The service closed the connection."),
    ProtocolError: (ProblemType.UPSTREAM_PROTOCOL, "The service did not answer in valid HTTP."),
    ResponseTooLarge: (ProblemType.UPSTREAM_PROTOCOL, "The service's answer is too large."),
    UpstreamTimeout: (ProblemType.DEADLINE_EXCEEDED, "The service did not answer in time."),
}


class Try(msgspec.Struct, frozen=True, gc=False):
    """How one call ended: in a response, or in a problem."""

    response: UpstreamResponse | None
    problem: Problem | None
    instance: str = ""
    upstream_ms: float = 0.0


_NO_INSTANCE = Try(
    response=None,
    problem=Problem(
        ProblemType.NO_INSTANCE.slug,
        "No instance of the service is available.",
        "no",
        NO_INSTANCE_RETRY_AFTER,
    ),
)


class Pipeline:
    """What is done with each message of one service, and in which order.

    ``timeout`` is seconds for one try; ``now`` is Unix seconds, ``monotonic`` measures durations.
    """

    def __init__(
        self,
        client: Caller,
        discovery: ServiceDiscovery,
        balancer: Balancer,
        timeout: float,
        transformation: Transformation,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._discovery = discovery
        self._balancer = balancer
        self._timeout = timeout
        self._transformation = transformation
        self._now = now
        self._monotonic = monotonic

    async def handle(self, work: Work) -> Outcome:
        """Take one message from its turn to its outcome."""
        envelope = work.envelope
        taken_at = self._now()
        if taken_at >= envelope.deadline:
            return Expired()
        if not envelope.idempotent:
            work.settle_before_call()
        outgoing = await self._transformation.request(envelope)
        if isinstance(outgoing, Problem):
            return Answered(_reply(envelope, Try(None, outgoing), taken_at))
        last = await self._try_once(outgoing)
        last = await self._transformed(outgoing, last)
        return Answered(_reply(envelope, last, taken_at))

    async def _try_once(self, envelope: Envelope, avoid: Collection[str] = ()) -> Try:
        """Pick an instance, rather none of those to avoid, and call it."""
        instance = self._balancer.pick(self._discovery.instances, avoid)
        if instance is None:
            return _NO_INSTANCE
        remaining = envelope.deadline - self._now()
        request = UpstreamRequest(
            envelope.method, envelope.target, _headers(envelope, remaining), envelope.body
        )
        allowed = min(self._timeout, remaining)
        verdict = Verdict.UNKNOWN  # also of what is broken off
        self._balancer.began(instance)
        began = self._monotonic()
        try:
            response = await self._client.call(instance.address, request, allowed)
            problem, verdict = None, of_status(response.status)
        except UpstreamError as error:
            fields = {"request_id": envelope.id}
            logger.warning("call to %s failed: %s", instance.name, error, extra=fields)
            response, problem = None, _problem(error)
            verdict = of_error(error, allowed, self._timeout)
        finally:
            seconds = self._monotonic() - began
            self._balancer.ended(instance, verdict, seconds)
        return Try(response, problem, instance.name, seconds * 1000)

    async def _transformed(self, envelope: Envelope, last: Try) -> Try:
        """The last try with its response in the shape that clients were promised."""
        if last.response is None:
            return last
        answer = await self._transformation.response(envelope, last.response)
        if answer is last.response:
            return last
        if isinstance(answer, Problem):
            return Try(None, answer, last.instance, last.upstream_ms)
        return Try(answer, None, last.instance, last.upstream_ms)


def _headers(envelope: Envelope, remaining: float) -> Headers:
    """The headers to forward, and how long the upstream has, in whole milliseconds."""
    return (*envelope.headers, (b"X-Request-Deadline-Ms", b"%d" % (remaining * 1000)))


def _problem(error: UpstreamError) -> Problem:
    kind, detail = _FAILURES.get(type(error), _FAILURES[ConnectionLost])
    executed: Executed = "unknown" if error.sent else "no"
    return Problem(kind.slug, detail, executed, proxy_error=error.proxy_error)


def _reply(envelope: Envelope, last: Try, taken_at: float) -> Reply:
    """The last try as a reply."""
    queue_ms = max(0.0, taken_at - envelope.published_at) * 1000  # clocks may differ a little
    response = last.response
    if response is None:
        assert last.problem is not None  # noqa: S101 -- one of the two is always there
        return Reply(
            id=envelope.id,
            status=PROBLEM_TYPES[last.problem.type].status,
            problem=last.problem,
            queue_ms=queue_ms,
            upstream_ms=last.upstream_ms,
            attempts=1 if last.instance else 0,
            instance=last.instance,
        )
    return Reply(
        id=envelope.id,
        status=response.status,
        reason=response.reason,
        headers=response.headers,
        body=response.body,
        queue_ms=queue_ms,
        upstream_ms=last.upstream_ms,
        attempts=1,
        instance=last.instance,
    )
