"""A reply from the other side of the queue as the response that the client gets."""

from broker.messages import Headers, Reply
from broker.problems import PROBLEM_TYPES, ProblemType, ProxyError
from ingress.problems import problem_response
from ingress.request import Response

_NAME = b"api-gateway"  # of this proxy, in Via and in Proxy-Status
_VIA = (b"Via", b"1.1 " + _NAME)
_REQUEST_ID = b"x-request-id"

# Where the dispatcher tells no more than the type of its problem.
_PROXY_ERRORS = {
    ProblemType.UPSTREAM_CONNECTION: ProxyError.CONNECTION_TERMINATED,
    ProblemType.UPSTREAM_PROTOCOL: ProxyError.HTTP_PROTOCOL_ERROR,
    ProblemType.CIRCUIT_OPEN: ProxyError.DESTINATION_UNAVAILABLE,
    ProblemType.NO_INSTANCE: ProxyError.DESTINATION_UNAVAILABLE,
    ProblemType.DEADLINE_EXCEEDED: ProxyError.HTTP_RESPONSE_TIMEOUT,
    ProblemType.TRANSFORM_FAILED: ProxyError.PROXY_INTERNAL_ERROR,
    ProblemType.OUTCOME_UNKNOWN: ProxyError.PROXY_INTERNAL_ERROR,
    ProblemType.DELIVERY_LIMIT: ProxyError.PROXY_INTERNAL_ERROR,
}
_FAILED: dict[str | None, Headers] = {
    error.value: ((b"Proxy-Status", _NAME + b";error=" + error.encode()),) for error in ProxyError
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
        headers=_proxy_status(kind, problem.proxy_error if problem else None),
        executed=problem.executed if problem else "unknown",
        retry_after=problem.retry_after if problem else None,
        queue_ms=reply.queue_ms or None,
        attempts=reply.attempts or None,
        service=service,
    )


def _proxy_status(kind: ProblemType, error: str | None) -> Headers:
    """RFC 9209; none for what did not fail behind the gateway."""
    return _FAILED.get(error) or _FAILED.get(_PROXY_ERRORS.get(kind), ())


def _without_request_id(headers: Headers) -> Headers:
    size = len(_REQUEST_ID)
    return tuple(pair for pair in headers if len(pair[0]) != size or pair[0].lower() != _REQUEST_ID)
