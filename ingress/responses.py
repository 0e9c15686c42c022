"""A reply from the other side of the queue as the response that the client gets."""

from broker.messages import Headers, Reply
from broker.problems import PROBLEM_TYPES, ProblemType
from ingress.problems import problem_response
from ingress.request import Response

_NAME = b"api-gateway"  # of this proxy, in Via and in Proxy-Status
_VIA = (b"Via", b"1.1 " + _NAME)
_REQUEST_ID = b"x-request-id"

# RFC 9209 section 2.3: what went wrong behind the gateway, in the terms of all proxies.
_PROXY_ERRORS = {
    ProblemType.UPSTREAM_CONNECTION: b"connection_terminated",
    ProblemType.UPSTREAM_PROTOCOL: b"http_protocol_error",
    ProblemType.CIRCUIT_OPEN: b"destination_unavailable",
    ProblemType.NO_INSTANCE: b"destination_unavailable",
    ProblemType.DEADLINE_EXCEEDED: b"http_response_timeout",
    ProblemType.OUTCOME_UNKNOWN: b"proxy_internal_error",
    ProblemType.DELIVERY_LIMIT: b"proxy_internal_error",
}
_FAILED = {
    kind: ((b"Proxy-Status", _NAME + b";error=" + error),) for kind, error in _PROXY_ERRORS.items()
}
_RECEIVED = {
    status: (_VIA, (b"Proxy-Status", _NAME + b";received-status=%d" % status))
    for status in range(200, 600)
}

# The answer is a fallback: no service gave it.
_FALLEN_BACK = (_VIA, (b"Proxy-Status", _NAME + b";error=destination_unavailable"))


def reply_response(
    reply: Reply, *, request_id: str, service: str | None = None, instance: str = ""
) -> Response:
    """The response for a reply, whether the upstream answered or there is a problem.

    The upstream's header pairs keep order, duplicates and spelling; X-Request-ID is ours.
    ``instance`` is the path that a problem speaks of.
    """
    if reply.problem is None and reply.status in _RECEIVED:
        told = _RECEIVED[reply.status] if reply.instance else _FALLEN_BACK
        identified = ((b"X-Request-ID", request_id.encode()), *told)
        headers = _without_request_id(reply.headers) + identified
        return Response(reply.status, headers, reply.body, reply.reason)
    return _problem(reply, request_id, service, instance)


def server_options(*, request_id: str) -> Response:
    """The answer to ``OPTIONS *``, which asks of the server as a whole (RFC 9110 section 9.3.7)."""
    headers = (
        (b"Allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
        (b"X-Request-ID", request_id.encode()),
    )
    return Response(204, headers)


def preflight_response(headers: Headers, *, request_id: str) -> Response:
    """The answer to a CORS preflight, with what ``headers`` allow."""
    return Response(204, (*headers, (b"X-Request-ID", request_id.encode())))


def _problem(reply: Reply, request_id: str, service: str | None, instance: str) -> Response:
    problem = reply.problem
    if problem is None:
        kind = ProblemType.UPSTREAM_PROTOCOL
        detail = f"The service answered with the status {reply.status}."
    else:
        kind = PROBLEM_TYPES.get(problem.type, ProblemType.INTERNAL)
        detail = problem.detail
    return problem_response(
        kind,
        detail,
        request_id=request_id,
        instance=instance,
        headers=_FAILED.get(kind, ()),
        executed=problem.executed if problem else "unknown",
        retry_after=problem.retry_after if problem else None,
        queue_ms=reply.queue_ms or None,
        attempts=reply.attempts or None,
        service=service,
    )


def _without_request_id(headers: Headers) -> Headers:
    size = len(_REQUEST_ID)
    return tuple(pair for pair in headers if len(pair[0]) != size or pair[0].lower() != _REQUEST_ID)
