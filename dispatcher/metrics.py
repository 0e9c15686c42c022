"""What a dispatcher counts, for Prometheus."""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from broker.instruments import Instruments, Kept
from broker.messages import Envelope, Reply
from dispatcher.listener import DispatcherListener, InstanceStates, Panics
from dispatcher.policies.circuit_breaker import CircuitBreaker, State, Transition

_STATE_VALUES = {State.CLOSED: 0, State.HALF_OPEN: 1, State.OPEN: 2}


class DispatcherMetrics(DispatcherListener):
    """Counts for Prometheus."""

    def __init__(self, registry: CollectorRegistry) -> None:
        make = Instruments(registry)
        self._in_flight = make.gauge("dispatcher_in_flight", "Messages under way.", "service")
        self._held = make.gauge(
            "dispatcher_held", "Messages that wait for a circuit breaker to close.", "service"
        )
        self._limit = make.gauge(
            "dispatcher_concurrency_limit", "Messages that may be under way at once.", "service"
        )
        self._dropped = make.counter(
            "dispatcher_calls_dropped",
            "Calls that timed out, got no connection or were refused (429, 503, 504).",
            "service",
        )
        requests = make.counter(
            "dispatcher_requests",
            "Requests by the class of their answer (2xx..5xx), or how they ended without one.",
            "service",
            "outcome",
        )
        self._redelivered = make.counter(
            "dispatcher_redelivered", "Messages that were delivered before.", "service"
        )
        # Without the instance: a counter's children stay, and instances come and go.
        self._instances_out = make.counter(
            "dispatcher_instances_out",
            "How often an instance got no more calls: ejected after failed calls, or unhealthy.",
            "service",
            "reason",
        )
        self._instances_returned = make.counter(
            "dispatcher_instances_returned", "How often an instance got calls again.", "service"
        )
        self._registry = registry
        queue_seconds = make.seconds(
            "dispatcher_queue_seconds", "Time from publishing to being taken.", "tier"
        )
        upstream_seconds = make.seconds(
            "dispatcher_upstream_seconds", "Time of upstream calls.", "service"
        )
        transforms = make.counter(
            "dispatcher_transforms",
            "Transforms that were applied, skipped because the body is no JSON, or failed.",
            "transform",
            "outcome",
        )
        self._transforms_of = Kept[tuple[str, str], Counter](lambda key: transforms.labels(*key))

        self._breaker_state = make.gauge(
            "dispatcher_circuit_breaker_state",
            "0 is CLOSED, 1 HALF_OPEN, 2 OPEN, also when the next call would be tried.",
            "service",
        )
        self._breaker_changes = make.counter(
            "dispatcher_circuit_breaker_transitions",
            "Changes of a circuit breaker's state.",
            "service",
            "state",
        )
        self._retries = make.counter("dispatcher_retries", "Calls that were repeated.", "service")
        self._hedges = make.counter(
            "dispatcher_hedges", "Calls beside one that was late.", "service"
        )
        self._budget_exhausted = make.counter(
            "dispatcher_retry_budget_exhausted",
            "Calls that were not repeated because too many were.",
            "service",
        )
        self._fallbacks = make.counter(
            "dispatcher_fallbacks",
            "Answers while a circuit breaker was open, by where they came from.",
            "service",
            "to",
        )
        self._fallbacks_refused = make.counter(
            "dispatcher_fallbacks_refused",
            "Requests of other services that were not taken over: no free slot.",
            "service",
        )
        self._requests_of = Kept[tuple[str, str | int], Counter](
            lambda key: requests.labels(
                key[0], f"{key[1]}xx" if isinstance(key[1], int) else key[1]
            )
        )
        self._queue_seconds_of = Kept[str, Histogram](queue_seconds.labels)
        self._upstream_seconds_of = Kept[str, Histogram](upstream_seconds.labels)

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
