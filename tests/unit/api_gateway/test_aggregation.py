"""Metrics of several processes on one page."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from api_gateway.aggregation import Aggregation


def page(requests: int, in_flight: int, latencies: tuple[float, ...] = ()) -> str:
    """What one process would show."""
    registry = CollectorRegistry()
    Counter("requests", "Requests.", ["status"], registry=registry).labels("200").inc(requests)
    Gauge("in_flight", "In flight.", registry=registry).set(in_flight)
    histogram = Histogram("latency_seconds", "Latency.", buckets=(0.1, 1.0), registry=registry)
    for latency in latencies:
        histogram.observe(latency)
    return generate_latest(registry).decode()


def merged(aggregation: Aggregation) -> list[str]:
    registry = CollectorRegistry()
    registry.register(aggregation)
    return generate_latest(registry).decode().splitlines()


def test_counters_and_histograms_add_up() -> None:
    """The page shows one counter and one histogram for all processes, with their sums."""
    aggregation = Aggregation()
    aggregation.update("0", page(3, 0, (0.05, 0.5)))
    aggregation.update("1", page(4, 0, (0.5, 5.0)))

    lines = merged(aggregation)

    assert 'requests_total{status="200"} 7.0' in lines
    assert 'latency_seconds_bucket{le="0.1"} 1.0' in lines
    assert 'latency_seconds_bucket{le="1.0"} 3.0' in lines
    assert 'latency_seconds_bucket{le="+Inf"} 4.0' in lines
    assert "latency_seconds_count 4.0" in lines
    assert "# TYPE requests_total counter" in lines


def test_gauges_are_kept_apart() -> None:
    """A gauge has one value for each process, told apart by a label."""
    aggregation = Aggregation()
    aggregation.update("0", page(0, 5))
    aggregation.update("1", page(0, 6))

    lines = merged(aggregation)

    assert 'in_flight{process="0"} 5.0' in lines
    assert 'in_flight{process="1"} 6.0' in lines


def test_a_newer_page_replaces_the_last_one() -> None:
    """Reading a process twice doesn't count its requests twice."""
    aggregation = Aggregation()
    aggregation.update("0", page(3, 0))
    aggregation.update("0", page(5, 0))

    assert 'requests_total{status="200"} 5.0' in merged(aggregation)


def test_sums_never_fall_when_a_process_is_replaced() -> None:
    """What an ended process had counted stays, its gauges go, and its successor adds to the sum."""
    aggregation = Aggregation()
    aggregation.update("0", page(3, 9, (0.05,)))
    aggregation.retire("0")
    gone = merged(aggregation)
    aggregation.update("0", page(2, 1))
    aggregation.retire("0")

    assert 'requests_total{status="200"} 3.0' in gone
    assert not any(line.startswith("in_flight{") for line in gone)
    assert 'requests_total{status="200"} 5.0' in merged(aggregation)
    assert "latency_seconds_count 1.0" in merged(aggregation)


def test_retiring_an_unknown_process_changes_nothing() -> None:
    """A process that ended before it was ever read has nothing to leave."""
    aggregation = Aggregation()
    aggregation.retire("0")

    assert merged(aggregation) == []
