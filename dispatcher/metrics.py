"""What a dispatcher tells of itself: the events, and Prometheus as one who listens."""

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from broker.messages import Envelope, Reply
from dispatcher.policies.circuit_breaker import CircuitBreaker, State, Transition

_STATE_VALUES = {State.CLOSED: 0, State.HALF_OPEN: 1, State.OPEN: 2}
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


Key = TypeVar("Key", bound=Hashable)
Child = TypeVar("Child")


class _Kept(dict[Key, Child]):
    """Children by their labels, made once each: ``labels()`` costs more than counting."""

    def __init__(self, make: Callable[[Key], Child]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, key: Key) -> Child:
        child = self[key] = self._make(key)
        return child


InstanceStates = Callable[[], Iterable[tuple[str, str, str]]]  # service, instance, state
Panics = Callable[[], Iterable[tuple[str, bool]]]  # service, whether all its instances are used


class DispatcherListener:
    """Hears what happens to messages and instances; metrics override what they count."""

    def consuming(
        self, service: str, in_flight: Callable[[], int], limit: Callable[[], int]
    ) -> None:
        """A service's messages are taken from now on.

        ``in_flight`` counts those under way, with those of services that fall back to it; ``limit``
        is how many may be.
        """

    def holding(self, service: str, held: Callable[[], int]) -> None:
        """``held`` counts, from now on, the service's messages that wait for its breaker."""

    def answered(self, envelope: Envelope, reply: Reply) -> None:
        """A reply went home."""

    def answered_late(self, envelope: Envelope, reply: Reply) -> None:
        """A reply was ready after the deadline and was not sent."""

    def expired(self, envelope: Envelope) -> None:
        """The deadline passed before the call, which was not made."""

    def redelivered(self, envelope: Envelope) -> None:
        """A message came that somebody may have taken before."""

    def dead_lettered(self, envelope: Envelope, reason: str) -> None:
        """A message could not be handled."""

    def balancing(self, states: InstanceStates, panics: Panics) -> None:
        """``states`` tells, from now on, in which state each instance of each service is.

        ``panics`` tells of which services all are used, as too few are healthy.
        """

    def instance_out(self, service: str, instance: str, reason: str) -> None:
        """An instance gets no more calls: it is ``ejected``, or found ``unhealthy`` by probes."""

    def instance_returned(self, service: str, instance: str) -> None:
        """It gets calls again."""

    def transformed(self, transform: str, ended: str) -> None:
        """A transform was applied, skipped a body that it can't change, or failed."""

    def guarding(self, service: str, breaker: CircuitBreaker) -> None:
        """A service has this circuit breaker from now on."""

    def unguarded(self, service: str) -> None:
        """A service has no circuit breaker any more."""

    def breaker_changed(self, service: str, transition: Transition) -> None:
        """A service's circuit breaker went over to another state."""

    def called(self, service: str, seconds: float) -> None:
        """A call of it ended after so long, however it ended."""

    def dropped(self, service: str) -> None:
        """A call was refused or not served in time: the service has too much to do, or is gone."""

    def retried(self, service: str) -> None:
        """A call is made once more."""

    def hedged(self, service: str) -> None:
        """A second call is made beside one that is late."""

    def retry_budget_exhausted(self, service: str) -> None:
        """A call would have been repeated, or hedged, but too many were."""

    def fell_back(self, service: str, to: str) -> None:
        """Answered while its breaker was open: by ``last_good``, ``service`` or ``response``."""

    def fallback_refused(self, service: str) -> None:
        """It was to be called instead of another service, and had no free slot."""


class DispatcherMetrics(DispatcherListener):
    """Counts for Prometheus."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._in_flight = Gauge(
            "dispatcher_in_flight", "Messages under way.", ["service"], registry=registry
        )
        self._held = Gauge(
            "dispatcher_held",
            "Messages that wait for a circuit breaker to close.",
            ["service"],
            registry=registry,
        )
        self._limit = Gauge(
            "dispatcher_concurrency_limit",
            "Messages that may be under way at once.",
            ["service"],
            registry=registry,
        )
        self._dropped = Counter(
            "dispatcher_calls_dropped",
            "Calls that timed out, got no connection or were refused (429, 503, 504).",
            ["service"],
            registry=registry,
        )
        requests = Counter(
            "dispatcher_requests",
            "Requests by the class of their answer (2xx..5xx), or how they ended without one.",
            ["service", "outcome"],
            registry=registry,
        )
        self._redelivered = Counter(
            "dispatcher_redelivered",
            "Messages that were delivered before.",
            ["service"],
            registry=registry,
        )
        # Without the instance: a counter's children stay, and instances come and go.
        self._instances_out = Counter(
            "dispatcher_instances_out",
            "How often an instance got no more calls: ejected after failed calls, or unhealthy.",
            ["service", "reason"],
            registry=registry,
        )
        self._instances_returned = Counter(
            "dispatcher_instances_returned",
            "How often an instance got calls again.",
            ["service"],
            registry=registry,
        )
        self._registry = registry
        queue_seconds = Histogram(
            "dispatcher_queue_seconds",
            "Time from publishing to being taken.",
            ["tier"],
            buckets=_SECONDS,
            registry=registry,
        )
        upstream_seconds = Histogram(
            "dispatcher_upstream_seconds",
            "Time of upstream calls.",
            ["service"],
            buckets=_SECONDS,
            registry=registry,
        )
        transforms = Counter(
            "dispatcher_transforms",
            "Transforms that were applied, skipped because the body is no JSON, or failed.",
            ["transform", "outcome"],
            registry=registry,
        )
        self._transforms_of = _Kept[tuple[str, str], Counter](lambda key: transforms.labels(*key))

        self._breaker_state = Gauge(
            "dispatcher_circuit_breaker_state",
            "0 is CLOSED, 1 HALF_OPEN, 2 OPEN, also when the next call would be tried.",
            ["service"],
            registry=registry,
        )
        self._breaker_changes = Counter(
            "dispatcher_circuit_breaker_transitions",
            "Changes of a circuit breaker's state.",
            ["service", "state"],
            registry=registry,
        )
        self._retries = Counter(
            "dispatcher_retries", "Calls that were repeated.", ["service"], registry=registry
        )
        self._hedges = Counter(
            "dispatcher_hedges", "Calls beside one that was late.", ["service"], registry=registry
        )
        self._budget_exhausted = Counter(
            "dispatcher_retry_budget_exhausted",
            "Calls that were not repeated because too many were.",
            ["service"],
            registry=registry,
        )
        self._fallbacks = Counter(
            "dispatcher_fallbacks",
            "Answers while a circuit breaker was open, by where they came from.",
            ["service", "to"],
            registry=registry,
        )
        self._fallbacks_refused = Counter(
            "dispatcher_fallbacks_refused",
            "Requests of other services that were not taken over: no free slot.",
            ["service"],
            registry=registry,
        )
        self._requests_of = _Kept[tuple[str, str | int], Counter](
            lambda key: requests.labels(
                key[0], f"{key[1]}xx" if isinstance(key[1], int) else key[1]
            )
        )
        self._queue_seconds_of = _Kept[str, Histogram](queue_seconds.labels)
        self._upstream_seconds_of = _Kept[str, Histogram](upstream_seconds.labels)

    def consuming(
        self, service: str, in_flight: Callable[[], int], limit: Callable[[], int]
    ) -> None:
        """Read when somebody looks, so that it costs nothing per message."""
        self._in_flight.labels(service).set_function(in_flight)
        self._limit.labels(service).set_function(limit)

    def holding(self, service: str, held: Callable[[], int]) -> None:
        """Read when somebody looks."""
        self._held.labels(service).set_function(held)

    def answered(self, envelope: Envelope, reply: Reply) -> None:
        """Count it by class, and how long it waited."""
        outcome = reply.problem.type if reply.problem else reply.status // 100
        self._requests_of[envelope.service, outcome].inc()
        self._queue_seconds_of[envelope.tier].observe(reply.queue_ms / 1000)

    def answered_late(self, envelope: Envelope, reply: Reply) -> None:
        """Count it apart: the call was made, but for nothing."""
        self._requests_of[envelope.service, "late"].inc()
        self._queue_seconds_of[envelope.tier].observe(reply.queue_ms / 1000)

    def expired(self, envelope: Envelope) -> None:
        """Count it."""
        self._requests_of[envelope.service, "expired"].inc()

    def redelivered(self, envelope: Envelope) -> None:
        """Count it."""
        self._redelivered.labels(envelope.service).inc()

    def dead_lettered(self, envelope: Envelope, reason: str) -> None:
        """Count it, next to the reply that went with it."""
        self._requests_of[envelope.service, "dead_lettered"].inc()

    def balancing(self, states: InstanceStates, panics: Panics) -> None:
        """Show them when somebody looks."""
        self._registry.register(_InstanceCollector(states, panics))

    def instance_out(self, service: str, instance: str, reason: str) -> None:
        """Count it by its reason."""
        self._instances_out.labels(service, reason).inc()

    def instance_returned(self, service: str, instance: str) -> None:
        """Count it."""
        self._instances_returned.labels(service).inc()

    def transformed(self, transform: str, ended: str) -> None:
        """Count it, by its name."""
        self._transforms_of[transform, ended].inc()

    def guarding(self, service: str, breaker: CircuitBreaker) -> None:
        """Read its state when somebody looks."""
        gauge = self._breaker_state.labels(service)
        gauge.set_function(lambda: _STATE_VALUES[breaker.state])

    def unguarded(self, service: str) -> None:
        """The last state would stand there for ever."""
        self._breaker_state.remove(service)

    def breaker_changed(self, service: str, transition: Transition) -> None:
        """Count it."""
        self._breaker_changes.labels(service, transition.state).inc()

    def called(self, service: str, seconds: float) -> None:
        """Observe its time."""
        self._upstream_seconds_of[service].observe(seconds)

    def dropped(self, service: str) -> None:
        """Count it."""
        self._dropped.labels(service).inc()

    def retried(self, service: str) -> None:
        """Count it."""
        self._retries.labels(service).inc()

    def hedged(self, service: str) -> None:
        """Count it."""
        self._hedges.labels(service).inc()

    def retry_budget_exhausted(self, service: str) -> None:
        """Count it."""
        self._budget_exhausted.labels(service).inc()

    def fell_back(self, service: str, to: str) -> None:
        """Count it."""
        self._fallbacks.labels(service, to).inc()

    def fallback_refused(self, service: str) -> None:
        """Count it."""
        self._fallbacks_refused.labels(service).inc()


class _InstanceCollector(Collector):
    """Samples for the instances and the services that there are now."""

    def __init__(self, states: InstanceStates, panics: Panics) -> None:
        self._states = states
        self._panics = panics

    def collect(self) -> Iterable[Metric]:
        """Of an instance always 1, for its state is a label."""
        family = GaugeMetricFamily(
            "dispatcher_instance_state",
            "1 for the state of each instance: healthy, warming, ejected or unhealthy.",
            labels=("service", "instance", "state"),
        )
        for labels in self._states():
            family.add_metric(labels, 1)
        yield family
        panic = GaugeMetricFamily(
            "dispatcher_panic",
            "1 where all instances are used, as under half of them are healthy.",
            labels=("service",),
        )
        for service, panicking in self._panics():
            panic.add_metric((service,), panicking)
        yield panic
