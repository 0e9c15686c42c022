"""What a dispatcher tells Prometheus."""

from functools import partial

import pytest
from prometheus_client import CollectorRegistry

from broker.messages import Reply
from dispatcher.metrics import DispatcherMetrics
from dispatcher.policies.circuit_breaker import CircuitBreaker
from tests.unit.dispatcher.doubles import Clock, envelope


@pytest.fixture
def registry() -> CollectorRegistry:
    """A registry of its own for every test."""
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> DispatcherMetrics:
    """Metrics in that registry."""
    return DispatcherMetrics(registry)


def requests(registry: CollectorRegistry, outcome: str) -> float | None:
    """How many requests of the service ended so."""
    labels = {"service": "users", "outcome": outcome}
    return registry.get_sample_value("dispatcher_requests_total", labels)


def test_answers_are_counted_by_class(
    metrics: DispatcherMetrics, registry: CollectorRegistry
) -> None:
    """Each answer counts for its service and the class of its status."""
    for status in (200, 204, 404, 503):
        metrics.answered(envelope(), Reply(id="r1", status=status))

    assert requests(registry, "2xx") == 2
    assert requests(registry, "4xx") == 1
    assert requests(registry, "5xx") == 1


def test_times_are_observed_in_seconds(
    metrics: DispatcherMetrics, registry: CollectorRegistry
) -> None:
    """The wait is observed by tier, each call by the service that was called."""
    metrics.called("users", 0.25)
    metrics.called("backup", 1.0)
    metrics.answered(
        envelope(), Reply(id="r1", status=200, queue_ms=1500, upstream_ms=1000, attempts=2)
    )

    tier, service = {"tier": "FREE"}, {"service": "users"}
    assert registry.get_sample_value("dispatcher_queue_seconds_sum", tier) == 1.5
    assert registry.get_sample_value("dispatcher_upstream_seconds_sum", service) == 0.25


def test_without_a_call_there_is_no_time_of_one(
    metrics: DispatcherMetrics, registry: CollectorRegistry
) -> None:
    """An answer that needed no upstream call does not make the upstream look fast."""
    metrics.answered(envelope(), Reply(id="r1", status=503))

    service = {"service": "users"}
    assert registry.get_sample_value("dispatcher_upstream_seconds_count", service) is None


def test_held_messages_are_counted_when_somebody_looks(
    metrics: DispatcherMetrics, registry: CollectorRegistry
) -> None:
    """A gauge for each service."""
    waiting = [1, 2, 3]
    metrics.holding("users", waiting.__len__)
    waiting.pop()
    assert registry.get_sample_value("dispatcher_held", {"service": "users"}) == 2


def test_other_ends_are_counted(metrics: DispatcherMetrics, registry: CollectorRegistry) -> None:
    """Late, expired, dead-lettered and redelivered ones each have their count."""
    metrics.answered_late(envelope(), Reply(id="r1", status=200))
    metrics.expired(envelope())
    metrics.dead_lettered(envelope(), "why")
    metrics.redelivered(envelope())

    assert requests(registry, "late") == 1
    assert requests(registry, "expired") == 1
    assert requests(registry, "dead_lettered") == 1
    redelivered = registry.get_sample_value("dispatcher_redelivered_total", {"service": "users"})
    assert redelivered == 1


def test_transforms_are_counted_by_name(
    metrics: DispatcherMetrics, registry: CollectorRegistry
) -> None:
    """And by how they ended."""
    for ended in ("applied", "applied", "skipped", "failed"):
        metrics.transformed("t", ended)

    def count(outcome: str) -> float | None:
        labels = {"transform": "t", "outcome": outcome}
        return registry.get_sample_value("dispatcher_transforms_total", labels)

    assert (count("applied"), count("skipped"), count("failed")) == (2, 1, 1)


def test_in_flight_is_read_when_somebody_looks(
    metrics: DispatcherMetrics, registry: CollectorRegistry
) -> None:
    """The gauge shows the present, without an update per message."""
    under_way = [1, 2, 3]
    metrics.consuming("users", lambda: len(under_way), lambda: 8)
    service = {"service": "users"}
    assert registry.get_sample_value("dispatcher_in_flight", service) == 3
    assert registry.get_sample_value("dispatcher_concurrency_limit", service) == 8

    under_way.pop()

    assert registry.get_sample_value("dispatcher_in_flight", service) == 2


def test_dropped_calls_are_counted(metrics: DispatcherMetrics, registry: CollectorRegistry) -> None:
    """By service."""
    metrics.dropped("users")

    service = {"service": "users"}
    assert registry.get_sample_value("dispatcher_calls_dropped_total", service) == 1


def test_instances_are_shown_as_they_are_now(
    metrics: DispatcherMetrics, registry: CollectorRegistry
) -> None:
    """Each instance has one sample with its state; one that is gone has none."""
    states = [("users", "http://a", "healthy"), ("users", "http://b", "ejected")]
    panics = [("users", True), ("orders", False)]
    metrics.balancing(lambda: states, lambda: panics)

    def shown(instance: str, state: str) -> float | None:
        labels = {"service": "users", "instance": instance, "state": state}
        return registry.get_sample_value("dispatcher_instance_state", labels)

    assert (shown("http://a", "healthy"), shown("http://b", "ejected")) == (1, 1)

    states[:] = [("users", "http://b", "warming")]

    assert shown("http://a", "healthy") is None
    assert (shown("http://b", "ejected"), shown("http://b", "warming")) == (None, 1)
    assert registry.get_sample_value("dispatcher_panic", {"service": "users"}) == 1
    assert registry.get_sample_value("dispatcher_panic", {"service": "orders"}) == 0


def test_instances_that_go_out_and_return_are_counted(
    metrics: DispatcherMetrics, registry: CollectorRegistry
) -> None:
    """By service and reason, without their names, of which there may come ever more."""
    for number in range(3):
        metrics.instance_out("users", f"http://{number}", "ejected")
    metrics.instance_out("users", "http://a", "unhealthy")
    metrics.instance_returned("users", "http://a")

    def counted(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"dispatcher_instances_{name}_total", labels)

    assert counted("out", service="users", reason="ejected") == 3
    assert counted("out", service="users", reason="unhealthy") == 1
    assert counted("returned", service="users") == 1


def test_breakers_retries_and_fallbacks(
    metrics: DispatcherMetrics, registry: CollectorRegistry
) -> None:
    """State and transitions of each breaker; how often calls were repeated, hedged, replaced."""

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"dispatcher_{name}", {"service": "users", **labels})

    clock = Clock()
    breaker = CircuitBreaker(1, 60, listener=partial(metrics.breaker_changed, "users"), clock=clock)
    metrics.guarding("users", breaker)
    states = [value("circuit_breaker_state")]
    permit = breaker.acquire()
    assert permit is not None
    breaker.failed(permit)
    states.append(value("circuit_breaker_state"))
    clock.now += 60
    breaker.acquire()
    states.append(value("circuit_breaker_state"))
    metrics.retried("users")
    metrics.hedged("users")
    metrics.retry_budget_exhausted("users")
    metrics.fell_back("users", "last_good")
    metrics.fallback_refused("users")

    metrics.unguarded("users")

    assert states == [0, 2, 1]
    assert value("circuit_breaker_state") is None
    assert value("circuit_breaker_transitions_total", state="OPEN") == 1
    assert value("circuit_breaker_transitions_total", state="HALF_OPEN") == 1
    assert value("retries_total") == value("hedges_total") == 1
    assert value("retry_budget_exhausted_total") == 1
    assert value("fallbacks_total", to="last_good") == 1
    assert value("fallbacks_refused_total") == 1
