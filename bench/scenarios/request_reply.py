"""Request and reply over RabbitMQ without any HTTP: 64 in flight, bodies of 256 bytes."""

import json
import sys
from collections.abc import Sequence

from bench.meter import Rate, load
from bench.report import Table, ratio
from bench.stage import Stage
from bench.turns import take_turns

_LANE = "carrier-with-lane"
# Each row: its program in bench.peers, and what the program wants to know.
_PROGRAMS: dict[str, tuple[str, list[str]]] = {
    _LANE: ("echo_gateway", ["on"]),
    "carrier-without-lane": ("echo_gateway", ["off"]),
    "plain-aio-pika": ("echo_aio_pika", []),
}
ROWS = tuple(_PROGRAMS)
_PARTS = ("client", "server", "broker")
_START_TIMEOUT = 30.0


def run(stage: Stage, rows: Sequence[str]) -> list[Table]:
    """One table: rate and CPU of both sides."""
    outcome = take_turns(rows, stage.options.rounds, lambda row: _turn(stage, row))
    columns = ("", "per second", "lane/it", *(f"{part} us" for part in _PARTS))
    title = "Request and reply over RabbitMQ, 64 in flight, 256 bytes"
    table = Table(title, columns, notes=outcome.notes, failures=outcome.failures)
    medians = outcome.medians(lambda rate: rate.per_second)
    base = medians[_LANE].per_second if _LANE in medians else None
    for row, rate in medians.items():
        cpu = [f"{rate.cpu[part]:.0f}" for part in _PARTS]
        table.rows.append([row, f"{rate.per_second:,.0f}", ratio(base, rate.per_second), *cpu])
    return [table]


def _turn(stage: Stage, row: str) -> Rate:
    program, arguments = _PROGRAMS[row]
    command = [sys.executable, "-m", f"bench.peers.{program}"]
    url, broker = stage.rabbitmq
    result = stage.folder / f"{row}.json"
    with stage.turn() as processes:
        server = processes.start(f"{row}-server", [*command, "server", url, *arguments])
        pids = {"server": server.pid, "broker": broker.pid}
        order = {"seconds": stage.options.seconds, "pids": pids, "result": str(result)}
        client = processes.start(
            f"{row}-client", [*command, "client", url, *arguments, json.dumps(order)]
        )
        client.wait(_START_TIMEOUT + stage.options.seconds)
        server.check()
    return load(result)
