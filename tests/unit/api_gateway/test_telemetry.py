"""Log lines and the metrics registry."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from api_gateway.telemetry import (
    BrokerMetrics,
    Sparing,
    UpstreamConnections,
    configure_logging,
    metrics_registry,
)
from dispatcher.upstream import ConnectionCounts


@pytest.fixture(autouse=True)
def _restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_json_line_is_one_object_with_the_request_id() -> None:
    """Each record is one line of JSON, even when its message holds a line break."""
    stream = io.StringIO()
    configure_logging("json", "info", stream)

    logging.getLogger("ingress").warning("two\nlines", extra={"request_id": "r1"})

    lines = stream.getvalue().splitlines()
    assert len(lines) == 1
    line = json.loads(lines[0])
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "warning",
        "logger": "ingress",
        "message": "two\nlines",
        "request_id": "r1",
    }


def test_a_json_line_holds_the_traceback() -> None:
    """An exception is in the same object, not on lines of its own."""
    stream = io.StringIO()
    configure_logging("json", "info", stream)

    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("ingress").exception("failed")

    (line,) = stream.getvalue().splitlines()
    assert "ValueError: broken" in json.loads(line)["exception"]


def test_a_console_line_ends_with_the_request_id() -> None:
    """People see message and request id on one line."""
    stream = io.StringIO()
    configure_logging("console", "info", stream)

    logging.getLogger("ingress").info("hello", extra={"request_id": "r1"})
    logging.getLogger("ingress").info("bye")

    hello, bye = stream.getvalue().splitlines()
    assert hello.endswith("INFO    ingress: hello [r1]")
    assert bye.endswith("INFO    ingress: bye")


def test_records_below_the_level_are_dropped() -> None:
    """The level counts for this project's loggers, and libraries speak only when it matters."""
    stream = io.StringIO()
    configure_logging("console", "warning", stream)
    logging.getLogger("ingress").info("quiet")
    configure_logging("console", "debug", stream)
    logging.getLogger("aiormq").info("chatter")

    assert stream.getvalue() == ""


def test_the_registry_holds_the_process() -> None:
    """The page shows memory and processor time of the process."""
    page = generate_latest(metrics_registry()).decode()

    assert "process_resident_memory_bytes" in page
    assert "process_cpu_seconds_total" in page


def test_what_happens_inside_the_carrier_is_counted() -> None:
    """Dropped replies, dead letters by queue, and reconnects are on the page."""
    registry = CollectorRegistry()
    metrics = BrokerMetrics(registry)
    metrics.reply_dropped("gateway.replies.a", "r1")
    metrics.dead_lettered("gateway.requests.users.FREE", "undecodable")
    metrics.reconnected()

    page = generate_latest(registry).decode()

    assert "broker_replies_dropped_total 1.0" in page
    assert 'broker_dead_lettered_total{queue="gateway.requests.users.FREE"} 1.0' in page
    assert "broker_reconnects_total 1.0" in page


def test_upstream_connections_are_read_when_somebody_looks() -> None:
    """The page has the client's figures of that moment."""
    registry = CollectorRegistry()
    counts = ConnectionCounts()
    registry.register(UpstreamConnections(counts))
    counts.opened, counts.reused = 2, 40

    page = generate_latest(registry).decode()

    assert "dispatcher_upstream_connections_opened_total 2.0" in page
    assert "dispatcher_upstream_connections_reused_total 40.0" in page


def test_an_outage_is_no_flood_of_lines() -> None:
    """Of one kind of line some pass each second; other kinds are not held up by it."""
    now = 0.0
    sparing = Sparing(most=2, clock=lambda: now)

    def passes(message: str) -> bool:
        return bool(sparing.filter(logging.LogRecord("x", 30, "", 0, message, (), None)))

    assert [passes("%s: failed") for _ in range(4)] == [True, True, False, False]
    assert passes("another kind")
    now = 1.0
    assert passes("%s: failed")
