"""What the gateway itself can answer, in one table.

A problem's ``slug`` is the last part of its stable type URI, ``/problems/<slug>`` (RFC 9457). Both
sides of the queue name problems, so the table lives between them.
"""

from dataclasses import dataclass
from enum import Enum, StrEnum


@dataclass(frozen=True, slots=True)
class _Kind:
    slug: str
    status: int
    title: str


class ProblemType(Enum):
    """Every kind of problem, with its HTTP status and title."""

    BAD_REQUEST = _Kind("bad-request", 400, "Malformed request")
    INVALID = _Kind("invalid-request", 400, "Invalid request")
    UNAUTHORIZED = _Kind("unauthorized", 401, "Authentication required")
    FORBIDDEN = _Kind("forbidden", 403, "Not allowed")
    NO_ROUTE = _Kind("no-route", 404, "No such route")
    METHOD_NOT_ALLOWED = _Kind("method-not-allowed", 405, "Method not allowed")
    REQUEST_TIMEOUT = _Kind("request-timeout", 408, "The request did not arrive in time")
    BODY_TOO_LARGE = _Kind("body-too-large", 413, "Body too large")
    URI_TOO_LONG = _Kind("uri-too-long", 414, "URI too long")
    UNSUPPORTED_MEDIA_TYPE = _Kind("unsupported-media-type", 415, "Unsupported media type")
    EXPECTATION_FAILED = _Kind("expectation-failed", 417, "Expectation not supported")
    MISDIRECTED = _Kind("misdirected", 421, "Misdirected request")
    RATE_LIMITED = _Kind("rate-limited", 429, "Too many requests")
    HEADERS_TOO_LARGE = _Kind("headers-too-large", 431, "Header fields too large")
    INTERNAL = _Kind("internal", 500, "Internal error")
    NOT_IMPLEMENTED = _Kind("not-implemented", 501, "Not implemented")
    UPSTREAM_CONNECTION = _Kind("upstream-connection", 502, "The upstream connection failed")
    UPSTREAM_PROTOCOL = _Kind("upstream-protocol", 502, "The upstream broke the protocol")
    TRANSFORM_FAILED = _Kind("transform-failed", 502, "A transform could not be applied")
    OUTCOME_UNKNOWN = _Kind("outcome-unknown", 502, "The outcome of the request is unknown")
    DELIVERY_LIMIT = _Kind("delivery-limit", 502, "The request could not be handled")
    KEYS_UNAVAILABLE = _Kind("keys-unavailable", 503, "Tokens can't be checked at the moment")
    QUEUE_FULL = _Kind("queue-full", 503, "The queue is full")
    BROKER_UNAVAILABLE = _Kind("broker-unavailable", 503, "The message broker is unavailable")
    NO_INSTANCE = _Kind("no-instance", 503, "No instance of the service is available")
    CIRCUIT_OPEN = _Kind("circuit-open", 503, "The service is failing and is left alone")
    LIMITS_UNAVAILABLE = _Kind("limits-unavailable", 503, "Rate limits can't be checked")
    SESSIONS_UNAVAILABLE = _Kind("sessions-unavailable", 503, "Sessions can't be checked")
    TOO_MANY_CONNECTIONS = _Kind("too-many-connections", 503, "Too many connections")
    SHUTTING_DOWN = _Kind("shutting-down", 503, "Shutting down")
    DEADLINE_EXCEEDED = _Kind("deadline-exceeded", 504, "The deadline has passed")

    @property
    def slug(self) -> str:
        """Last part of the type URI."""
        return self.value.slug

    @property
    def status(self) -> int:
        """HTTP status code."""
        return self.value.status

    @property
    def title(self) -> str:
        """The same words for every problem of this type."""
        return self.value.title


PROBLEM_TYPES = {kind.slug: kind for kind in ProblemType}


class ProxyError(StrEnum):
    """What went wrong behind the gateway, in the words of all proxies (RFC 9209 section 2.3)."""

    DNS_TIMEOUT = "dns_timeout"
    DNS_ERROR = "dns_error"
    DESTINATION_UNAVAILABLE = "destination_unavailable"
    DESTINATION_IP_UNROUTABLE = "destination_ip_unroutable"
    CONNECTION_REFUSED = "connection_refused"
    CONNECTION_TERMINATED = "connection_terminated"
    CONNECTION_TIMEOUT = "connection_timeout"
    CONNECTION_READ_TIMEOUT = "connection_read_timeout"
    CONNECTION_LIMIT_REACHED = "connection_limit_reached"
    TLS_PROTOCOL_ERROR = "tls_protocol_error"
    TLS_CERTIFICATE_ERROR = "tls_certificate_error"
    TLS_ALERT_RECEIVED = "tls_alert_received"
    HTTP_REQUEST_ERROR = "http_request_error"
    HTTP_RESPONSE_INCOMPLETE = "http_response_incomplete"
    HTTP_RESPONSE_HEADER_SECTION_SIZE = "http_response_header_section_size"
    HTTP_RESPONSE_BODY_SIZE = "http_response_body_size"
    HTTP_RESPONSE_TRANSFER_CODING = "http_response_transfer_coding"
    HTTP_RESPONSE_TIMEOUT = "http_response_timeout"
    HTTP_PROTOCOL_ERROR = "http_protocol_error"
    PROXY_INTERNAL_ERROR = "proxy_internal_error"
