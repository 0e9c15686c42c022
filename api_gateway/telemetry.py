"""What leaves a process to be seen: log lines and metrics."""

import collections
import json
import logging
import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Literal, TextIO

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Metric,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from broker.contract import BrokerListener
from broker.problems import ProblemType
from dispatcher.upstream import ConnectionCounts
from ingress.server_state import ServerListener

LogFormat = Literal["json", "console"]

# What libraries may say: the loss of a broker, for one, is told once by this project's own lines,
# and at every attempt to connect by theirs.
_LIBRARIES = {
    **dict.fromkeys(("aio_pika", "aiormq"), logging.CRITICAL),
    **dict.fromkeys(("aiohttp", "asyncio", "opentelemetry", "urllib3"), logging.WARNING),
}


class Sparing(logging.Filter):
    """Lets one kind of line pass a number of times a second; an outage must not become a flood.

    Lines are of one kind when their template is. ``clock`` gives seconds.
    """

    def __init__(self, most: int = 20, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._most = most
        self._clock = clock
        self._second = 0
        self._passed: collections.Counter[str] = collections.Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line passes."""
        second = int(self._clock())
        if second != self._second:
            self._second = second
            self._passed.clear()
        self._passed[str(record.msg)] += 1
        return self._passed[str(record.msg)] <= self._most


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``time``, ``level``, ``logger``, ``message``, ``request_id``."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        request_id = getattr(record, "request_id", None)
        if request_id is not None:
            line["request_id"] = request_id
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class ConsoleFormatter(logging.Formatter):
    """A line for people; the request id, where known, at its end."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        """The line without a traceback."""
        line = super().formatMessage(record)
        request_id = getattr(record, "request_id", None)
        return line if request_id is None else f"{line} [{request_id}]"


def configure_logging(form: LogFormat, level: str, stream: TextIO | None = None) -> None:
    """Send all log records of this process to ``stream`` (standard error) in one format."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.addFilter(Sparing())
    handler.setFormatter(JsonFormatter() if form == "json" else ConsoleFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name, lowest in _LIBRARIES.items():
        logging.getLogger(name).setLevel(max(lowest, root.level))


def metrics_registry() -> CollectorRegistry:
    """A registry that has the process' own figures already."""
    disable_created_metrics()  # type: ignore[no-untyped-call]  # a second line for each counter, that few read
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


class BrokerMetrics(BrokerListener):
    """Counts what happens inside the carrier."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._replies_dropped = Counter(
            "broker_replies_dropped", "Replies that found nobody waiting.", registry=registry
        )
        self._dead_lettered = Counter(
            "broker_dead_lettered",
            "Messages that could not be handled.",
            ["queue"],
            registry=registry,
        )
        self._reconnects = Counter(
            "broker_reconnects", "Connections that were lost and stand again.", registry=registry
        )

    def reply_dropped(self, to: str, reply_id: str) -> None:
        """Count it."""
        self._replies_dropped.inc()

    def dead_lettered(self, queue: str, reason: str) -> None:
        """Count it by its queue."""
        self._dead_lettered.labels(queue).inc()

    def reconnected(self) -> None:
        """Count it."""
        self._reconnects.inc()


class UpstreamConnections(Collector):
    """What an upstream client has counted itself, read when somebody looks."""

    def __init__(self, counts: ConnectionCounts) -> None:
        self._counts = counts

    def collect(self) -> Iterable[Metric]:
        """Connections opened, requests sent on kept ones, and what was wrong with those."""
        counts = self._counts
        for name, documentation, value in (
            ("opened", "Connections to upstreams that were opened.", counts.opened),
            ("reused", "Calls on connections that were open already.", counts.reused),
            ("repeated", "Calls sent again: their open connection was dead.", counts.repeated),
            ("unsolicited", "Closed for bytes that nobody had asked for.", counts.unsolicited),
        ):
            family = f"dispatcher_upstream_connections_{name}"
            yield CounterMetricFamily(family, documentation, value)


class ServerMetrics(ServerListener):
    """Counts what happens at the public sockets."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._connections = Gauge("ingress_connections", "Open connections.", registry=registry)
        self._refused = Counter(
            "ingress_refused",
            "Requests that were answered before they could be handled.",
            ["problem"],
            registry=registry,
        )
        self._left = Counter(
            "ingress_clients_left", "Clients that left before their answer.", registry=registry
        )

    def serving(self, connections: Callable[[], int]) -> None:
        """Read when somebody looks."""
        self._connections.set_function(connections)

    def refused(self, problem_type: ProblemType) -> None:
        """Count it by its problem."""
        self._refused.labels(problem_type.slug).inc()

    def client_left(self) -> None:
        """Count it."""
        self._left.inc()
