"""What ingress tells of itself: the events, and Prometheus as one who listens."""

from collections.abc import Callable

import msgspec
from prometheus_client import CollectorRegistry, Counter, Histogram

from broker.contract import Published
from broker.instruments import Instruments, Kept
from ingress.exchange import ExchangeListener
from ingress.identity.auth_listener import AuthListener, Credential
from ingress.limits.shared import LimitListener
from ingress.policies.validation import ValidationListener
from ingress.problems import ForbiddingPolicy

# Other methods are counted together: clients invent them.
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"))


class RequestFinished(msgspec.Struct, frozen=True, gc=False):
    """One request is over. What it did not get to know is empty; ``problem`` is the slug of one.

    Status 499 stands for a client that left before its answer.
    """

    request_id: str
    route: str
    service: str
    tier: str
    method: str
    status: int
    seconds: float
    problem: str


class IngressListener(ExchangeListener, LimitListener, ValidationListener, AuthListener):
    """Hears what happens to requests; metrics override what they count."""

    def request_finished(self, event: RequestFinished) -> None:
        """A request has its answer, or its client left."""

    def forbidden(self, route: str, policy: ForbiddingPolicy) -> None:
        """A request was answered with 403; without a route it did not come as far as that."""

    def keys_fetched(self, good: bool) -> None:
        """Keys were fetched from auth.jwks_url, or could not be."""


class IngressMetrics(IngressListener):
    """Counts for Prometheus. All labels come from the configuration or from closed sets."""

    def __init__(self, registry: CollectorRegistry) -> None:
        make = Instruments(registry)
        requests = make.counter(
            "ingress_requests",
            "Requests by where they went and how they ended; 499: the client left.",
            "route",
            "service",
            "tier",
            "method",
            "status",
        )
        seconds = make.seconds(
            "ingress_request_seconds",
            "Time from the head of a request to its answer.",
            "service",
            "tier",
        )
        problems = make.counter("ingress_problems", "Answers that were problems.", "problem")
        publishing = make.counter(
            "ingress_not_accepted",
            "Requests that the broker did not take, or may not have taken.",
            "result",
        )
        self._forbidden = make.counter(
            "ingress_forbidden",
            "Requests that were answered with 403, by the policy that refused them.",
            "route",
            "policy",
        )
        self._key_fetches = make.counter(
            "ingress_key_fetches",
            "Fetches of keys from auth.jwks_url; after a failed one the last good keys serve.",
            "result",
        )
        self._tokens_asked = make.counter(
            "ingress_token_requests",
            "Requests for tokens at /auth/token and /auth/refresh: opened, renewed, or the error.",
            "result",
        )
        self._failed = make.counter(
            "ingress_authentication_failures",
            "Secrets of clients, and keys and tokens of callers, that nobody gave out.",
            "credential",
            "result",
        )
        self._reused = make.counter(
            "ingress_refresh_tokens_reused",
            "Refresh tokens that were used twice, which ended their sessions.",
        )
        self._sessions_ended = make.counter(
            "ingress_sessions_ended",
            "Sessions that ended before their time: by their client, by reuse, to make room.",
            "reason",
        )
        self._pending = make.gauge("ingress_pending", "Requests that wait for their answers.")
        self._unmatched = make.counter(
            "ingress_replies_unmatched", "Replies that came too late, or twice."
        )
        self._again = make.counter(
            "ingress_published_again", "Requests sent once more, as the first copy may be lost."
        )
        self._not_shared = make.counter(
            "ingress_limits_not_shared",
            "Requests whose limits or session were not checked in Redis, as it could not be asked.",
        )
        invalid = make.counter(
            "ingress_validation_failures",
            "Requests that did not fit the schemas of their route; in the mode log they passed.",
            "route",
            "mode",
        )
        self._requests = Kept[tuple[str, str, str, str, int], Counter](
            lambda key: requests.labels(*key)
        )
        self._seconds = Kept[tuple[str, str], Histogram](lambda key: seconds.labels(*key))
        self._problems = Kept[str, Counter](problems.labels)
        self._invalid = Kept[tuple[str, str], Counter](lambda key: invalid.labels(*key))
        self._publishing = Kept[Published, Counter](lambda key: publishing.labels(key.name))

    def opened(self, pending: Callable[[], int]) -> None:
        """Read when somebody looks, so that it costs nothing per request."""
        self._pending.set_function(pending)

    def request_finished(self, event: RequestFinished) -> None:
        """Count it by all its labels, and its time by some."""
        method = event.method if event.method in _METHODS else "OTHER"
        key = (event.route, event.service, event.tier, method, event.status)
        self._requests[key].inc()
        if event.service:
            self._seconds[event.service, event.tier].observe(event.seconds)
        if event.problem:
            self._problems[event.problem].inc()

    def forbidden(self, route: str, policy: ForbiddingPolicy) -> None:
        """Count it by who refused, and where."""
        self._forbidden.labels(route, policy).inc()

    def keys_fetched(self, good: bool) -> None:
        """Count it by how it ended."""
        self._key_fetches.labels("good" if good else "failed").inc()

    def tokens_asked(self, result: str) -> None:
        """Count it by how it ended."""
        self._tokens_asked.labels(result).inc()

    def authentication_failed(self, credential: Credential, limited: bool) -> None:
        """Count it, apart where it was refused unheard."""
        self._failed.labels(credential, "limited" if limited else "refused").inc()

    def refresh_token_reused(self) -> None:
        """Count it."""
        self._reused.inc()

    def session_ended(self, reason: str) -> None:
        """Count it by what ended it."""
        self._sessions_ended.labels(reason).inc()

    def not_accepted(self, result: Published) -> None:
        """Count it by how publishing ended."""
        self._publishing[result].inc()

    def published_again(self) -> None:
        """Count it."""
        self._again.inc()

    def reply_unmatched(self) -> None:
        """Count it."""
        self._unmatched.inc()

    def limits_not_shared(self) -> None:
        """Count it."""
        self._not_shared.inc()

    def validation_failed(self, route: str, mode: str) -> None:
        """Count it by its route, and whether it was let pass."""
        self._invalid[route, mode].inc()
