"""What ingress tells of itself: the events, and Prometheus as one who listens."""

from collections.abc import Callable, Hashable
from typing import TypeVar

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from broker.contract import Published
from ingress.exchange import ExchangeListener
from ingress.identity.auth_listener import AuthListener, Credential
from ingress.limits.shared import LimitListener
from ingress.policies.validation import ValidationListener

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
# Other methods are counted together: clients invent them.
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"))

Key = TypeVar("Key", bound=Hashable)
Child = TypeVar("Child")


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

    def keys_fetched(self, good: bool) -> None:
        """Keys were fetched from auth.jwks_url, or could not be."""


class _Kept(dict[Key, Child]):
    """Children by their labels, made once each: ``labels()`` costs more than counting."""

    def __init__(self, make: Callable[[Key], Child]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, key: Key) -> Child:
        child = self[key] = self._make(key)
        return child


class IngressMetrics(IngressListener):
    """Counts for Prometheus. All labels come from the configuration or from closed sets."""

    def __init__(self, registry: CollectorRegistry) -> None:
        requests = Counter(
            "ingress_requests",
            "Requests by where they went and how they ended; 499: the client left.",
            ["route", "service", "tier", "method", "status"],
            registry=registry,
        )
        seconds = Histogram(
            "ingress_request_seconds",
            "Time from the head of a request to its answer.",
            ["service", "tier"],
            buckets=_SECONDS,
            registry=registry,
        )
        problems = Counter(
            "ingress_problems", "Answers that were problems.", ["problem"], registry=registry
        )
        publishing = Counter(
            "ingress_not_accepted",
            "Requests that the broker did not take, or may not have taken.",
            ["result"],
            registry=registry,
        )
        self._key_fetches = Counter(
            "ingress_key_fetches",
            "Fetches of keys from auth.jwks_url; after a failed one the last good keys serve.",
            ["result"],
            registry=registry,
        )
        self._tokens_asked = Counter(
            "ingress_token_requests",
            "Requests for tokens at /auth/token and /auth/refresh: opened, renewed, or the error.",
            ["result"],
            registry=registry,
        )
        self._failed = Counter(
            "ingress_authentication_failures",
            "Secrets of clients, and keys and tokens of callers, that nobody gave out.",
            ["credential", "result"],
            registry=registry,
        )
        self._reused = Counter(
            "ingress_refresh_tokens_reused",
            "Refresh tokens that were used twice, which ended their sessions.",
            registry=registry,
        )
        self._sessions_ended = Counter(
            "ingress_sessions_ended",
            "Sessions that ended before their time: by their client, by reuse, to make room.",
            ["reason"],
            registry=registry,
        )
        self._pending = Gauge(
            "ingress_pending", "Requests that wait for their answers.", registry=registry
        )
        self._unmatched = Counter(
            "ingress_replies_unmatched",
            "Replies that came too late, or twice.",
            registry=registry,
        )
        self._again = Counter(
            "ingress_published_again",
            "Requests sent once more, as the first copy may be lost.",
            registry=registry,
        )
        self._not_shared = Counter(
            "ingress_limits_not_shared",
            "Requests whose limits or session were not checked in Redis, as it could not be asked.",
            registry=registry,
        )
        invalid = Counter(
            "ingress_validation_failures",
            "Requests that did not fit the schemas of their route; in the mode log they passed.",
            ["route", "mode"],
            registry=registry,
        )
        self._requests = _Kept[tuple[str, str, str, str, int], Counter](
            lambda key: requests.labels(*key)
        )
        self._seconds = _Kept[tuple[str, str], Histogram](lambda key: seconds.labels(*key))
        self._problems = _Kept[str, Counter](problems.labels)
        self._invalid = _Kept[tuple[str, str], Counter](lambda key: invalid.labels(*key))
        self._publishing = _Kept[Published, Counter](lambda key: publishing.labels(key.name))

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
