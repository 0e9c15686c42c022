"""The answers that ingress itself makes: ``application/problem+json`` (RFC 9457).

A step of the way in raises Refused; whoever stands outermost turns it into a response. The table of
what can be answered is in broker.problems; what it means to a client is in the pages below.
"""

from typing import Literal

import msgspec

from broker.messages import Executed, Headers
from broker.problems import PROBLEM_TYPES, ProblemType
from ingress.request import Response

PAGES = "/problems/"
ForbiddingPolicy = Literal["ip_filter", "cors", "roles", "scopes", "sessions"]
_RETRY_AFTER = 1  # seconds; where nobody knows better: every 503 says when to come back


class FieldError(msgspec.Struct, frozen=True, rename={"part": "in"}):
    """One thing that is wrong: in which part of the request, where (RFC 6901), and what."""

    part: str
    pointer: str
    detail: str


class Refused(Exception):
    """The gateway answers a request itself, with a problem.

    ``headers`` go into the answer (Allow, WWW-Authenticate ...), ``retry_after`` is seconds,
    ``executed`` says whether the request may have had an effect, ``close`` ends the connection,
    ``errors`` are the fields at fault.
    """

    def __init__(
        self,
        problem_type: ProblemType,
        detail: str,
        *,
        headers: Headers = (),
        executed: Executed | None = "no",
        retry_after: int | None = None,
        close: bool = False,
        errors: tuple[FieldError, ...] = (),
    ) -> None:
        super().__init__(detail)
        self.problem_type = problem_type
        self.detail = detail
        self.headers = headers
        self.executed = executed
        self.retry_after = retry_after
        self.close = close
        self.errors = errors

    def response(self, *, request_id: str, instance: str, service: str | None = None) -> Response:
        """The answer to the request of that id and path."""
        return problem_response(
            self.problem_type,
            self.detail,
            request_id=request_id,
            instance=instance,
            headers=self.headers,
            executed=self.executed,
            retry_after=self.retry_after,
            service=service,
            close=self.close,
            errors=self.errors,
        )


class Forbidden(Refused):
    """A 403, by one of the policies that answer so; ``who`` is for the log alone."""

    def __init__(
        self, policy: ForbiddingPolicy, detail: str, *, who: str = "", headers: Headers = ()
    ) -> None:
        super().__init__(ProblemType.FORBIDDEN, detail, headers=headers)
        self.policy = policy
        self.who = who


class _Body(msgspec.Struct, omit_defaults=True):
    """Members of the problem details object, in the order in which they are written."""

    type: str
    title: str
    status: int
    detail: str = ""
    instance: str = ""
    request_id: str = ""
    executed: Executed | None = None
    queue_ms: float | None = None
    attempts: int | None = None
    service: str | None = None
    errors: tuple[FieldError, ...] = ()


_encode = msgspec.json.Encoder().encode


def problem_response(
    problem_type: ProblemType,
    detail: str,
    *,
    request_id: str,
    instance: str = "",
    headers: Headers = (),
    executed: Executed | None = None,
    retry_after: int | None = None,
    queue_ms: float | None = None,
    attempts: int | None = None,
    service: str | None = None,
    close: bool = False,
    errors: tuple[FieldError, ...] = (),
) -> Response:
    """A problem as a response; ``instance`` is the path asked for, ``retry_after`` seconds."""
    body = _Body(
        type=PAGES + problem_type.slug,
        title=problem_type.title,
        status=problem_type.status,
        detail=_encodable(detail),
        instance=_encodable(instance),
        request_id=request_id,
        executed=executed,
        queue_ms=queue_ms,
        attempts=attempts,
        service=service,
        errors=errors,
    )
    if retry_after is None and problem_type.status == 503:
        retry_after = _RETRY_AFTER
    framed = (
        (b"Content-Type", b"application/problem+json"),
        (b"X-Request-ID", request_id.encode()),
        (b"Cache-Control", b"no-store"),
        *headers,
    )
    if retry_after is not None:
        framed += ((b"Retry-After", b"%d" % retry_after),)
    return Response(problem_type.status, framed, _encode(body), close=close)


def _encodable(text: str) -> str:
    """Bytes that were no UTF-8 arrive as lone surrogates, which JSON can't carry."""
    return text if text.isascii() else text.encode(errors="replace").decode()


# --- /problems/<slug> ---------------------------------------------------------------------------

_MEANINGS = {
    ProblemType.BAD_REQUEST: "It breaks the rules of HTTP. Change it.",
    ProblemType.INVALID: "It is not what the route expects. Its errors say where and why.",
    ProblemType.UNAUTHORIZED: "The route wants a valid token. WWW-Authenticate says what is wrong.",
    ProblemType.FORBIDDEN: "The caller, or its address, may not do this.",
    ProblemType.NO_ROUTE: "No route of the gateway matches the path.",
    ProblemType.METHOD_NOT_ALLOWED: "The path has a route, but for the methods in Allow only.",
    ProblemType.REQUEST_TIMEOUT: "Its head or its body took too long to arrive.",
    ProblemType.BODY_TOO_LARGE: "The body is larger than the route, or the message broker, allows.",
    ProblemType.URI_TOO_LONG: "The request target is longer than the gateway reads.",
    ProblemType.UNSUPPORTED_MEDIA_TYPE: "The route does not take a body of this type or coding.",
    ProblemType.EXPECTATION_FAILED: "The only expectation that is understood is 100-continue.",
    ProblemType.MISDIRECTED: "The request target names a scheme that is not served here.",
    ProblemType.RATE_LIMITED: "The allowance is used up. Retry-After says when there is more.",
    ProblemType.HEADERS_TOO_LARGE: "The header fields are too many, or together too large.",
    ProblemType.INTERNAL: "The gateway has a fault of its own. The request id leads to it.",
    ProblemType.NOT_IMPLEMENTED: "A method that is not known here, CONNECT, TRACE, or an upgrade.",
    ProblemType.UPSTREAM_CONNECTION: "The service was not reached, or the connection broke.",
    ProblemType.UPSTREAM_PROTOCOL: "What the service answered is no HTTP, or not of its length.",
    ProblemType.TRANSFORM_FAILED: "Request or answer lack what the named transform is made of.",
    ProblemType.OUTCOME_UNKNOWN: "It may have been executed. It was not repeated.",
    ProblemType.DELIVERY_LIMIT: "It was tried several times, and what handled it died each time.",
    ProblemType.KEYS_UNAVAILABLE: "No keys to check tokens with were fetched yet. Come back later.",
    ProblemType.QUEUE_FULL: "As many requests as may wait are waiting. Come back later.",
    ProblemType.BROKER_UNAVAILABLE: "Requests can't be passed on at the moment. Come back later.",
    ProblemType.CIRCUIT_OPEN: "The service has failed too often, so it is not called for a while.",
    ProblemType.NO_INSTANCE: "No instance of the service is known and well. Come back later.",
    ProblemType.LIMITS_UNAVAILABLE: "A limit that must hold can't be checked now. Come back later.",
    ProblemType.SESSIONS_UNAVAILABLE: "Whether the token was revoked is unknown. Come back later.",
    ProblemType.TOO_MANY_CONNECTIONS: "This node has all the connections that it may have.",
    ProblemType.SHUTTING_DOWN: "This node takes no more requests. Another one does.",
    ProblemType.DEADLINE_EXCEEDED: "There was no answer in the time that route or client allow.",
}


def problem_page(slug: str, *, request_id: str) -> Response | None:
    """What a problem type's URI shows, or None where there is no such type."""
    problem_type = PROBLEM_TYPES.get(slug)
    if problem_type is None:
        return None
    text = f"{problem_type.status} {problem_type.title}\n\n{_MEANINGS[problem_type]}\n"
    headers = (
        (b"Content-Type", b"text/plain; charset=utf-8"),
        (b"X-Request-ID", request_id.encode()),
    )
    return Response(200, headers, text.encode())
