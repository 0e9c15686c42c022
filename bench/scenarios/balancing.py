"""Three instances of which one is ten times slower: whether clients notice it."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from bench.nginx import BODY
from bench.processes import Processes
from bench.product import Product
from bench.report import Table, ratio
from bench.stage import Stage
from bench.target import Target, wait_until_serving
from bench.turns import take_turns
from bench.wrk import Measurement, measure
from tests.processes import free_port

_FAST, _SLOW = 0.010, 0.100  # seconds for an answer
_CONNECTIONS = 16
_HEALTHY = "balancing-healthy"


@dataclass(frozen=True)
class _Line:
    strategy: str
    delays: tuple[float, ...]


_LINES = {
    _HEALTHY: _Line("adaptive", (_FAST, _FAST)),
    "balancing-adaptive": _Line("adaptive", (_FAST, _FAST, _SLOW)),
    "balancing-least-connections": _Line("least_connections", (_FAST, _FAST, _SLOW)),
    "balancing-round-robin": _Line("round_robin", (_FAST, _FAST, _SLOW)),
}
ROWS = tuple(_LINES)


def run(stage: Stage, rows: Sequence[str]) -> list[Table]:
    """One table: each strategy, and the two healthy instances without the slow one."""
    outcome = take_turns(rows, stage.options.rounds, lambda row: _turn(stage, _LINES[row]))
    table = Table(
        "Balancing over instances of 10, 10 and 100 ms, embedded broker, 16 connections",
        ("", "req/s", "p50 ms", "p99 ms", "it/two healthy", "errors"),
        notes=outcome.notes,
        failures=outcome.failures,
    )
    medians = outcome.medians(lambda run: run.requests_per_second)
    healthy = medians.get(_HEALTHY)
    for row, it in medians.items():
        times = [f"{it.p50:.1f}", f"{it.p99:.1f}", ratio(it.p99, healthy.p99 if healthy else 0)]
        table.rows.append([row, f"{it.requests_per_second:,.0f}", *times, str(it.errors)])
        if it.errors:
            table.failures.append(f"{row}: {it.errors} errors")
    return [table]


def _turn(stage: Stage, line: _Line) -> Measurement:
    with stage.turn() as processes:
        instances = [_instance(processes, delay) for delay in line.delays]
        target = Product(
            stage, processes, instances, service={"strategy": line.strategy}
        ).embedded()
        wait_until_serving(target, BODY, processes)
        return measure(target, _CONNECTIONS, stage.options.seconds)


def _instance(processes: Processes, delay: float) -> str:
    port = free_port()
    process = processes.start(
        "paced-upstream",
        [sys.executable, "-m", "bench.peers.paced_upstream", str(port), str(delay)],
    )
    url = f"http://127.0.0.1:{port}"
    wait_until_serving(Target(url, {"back": process}), BODY, processes)
    return url
