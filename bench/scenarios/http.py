"""HTTP in, one upstream call, HTTP out: the product and every peer, under wrk."""

from collections.abc import Mapping, Sequence

from bench.install import command
from bench.lineup import LINEUP, PRODUCT
from bench.nginx import BODY
from bench.report import Table, ratio
from bench.stage import Stage
from bench.target import wait_until_serving
from bench.turns import Outcome, take_turns
from bench.wrk import Measurement, measure

ROWS = tuple(LINEUP)
_COLUMNS = (
    "",
    "req/s",
    "product/it",
    "p50 ms",
    "product/it",
    "p99 ms",
    "product/it",
    "broker us",
    "front us",
    "back us",
    "errors",
)

_Turn = Mapping[int, Measurement]  # by number of connections


def run(stage: Stage, rows: Sequence[str]) -> list[Table]:
    """A table for each number of connections."""
    command("wrk", "wrk")
    command("nginx", "nginx")
    outcome = take_turns(rows, stage.options.rounds, lambda row: _turn(stage, row))
    return [_table(outcome, connections) for connections in stage.options.connections]


def _turn(stage: Stage, row: str) -> _Turn:
    with stage.turn() as processes:
        target = LINEUP[row](stage, processes)
        wait_until_serving(target, BODY, processes)
        return {
            connections: measure(target, connections, stage.options.seconds)
            for connections in stage.options.connections
        }


def _table(outcome: Outcome[_Turn], connections: int) -> Table:
    medians = outcome.medians(lambda turn: turn[connections].requests_per_second)
    title = f"HTTP through the gateway, {connections} connection{'s' * (connections > 1)}"
    table = Table(title, _COLUMNS, notes=outcome.notes, failures=outcome.failures)
    product = medians[PRODUCT][connections] if PRODUCT in medians else None
    for row, turn in medians.items():
        it = turn[connections]
        table.rows.append(_cells(row, it, product))
        if it.errors:
            table.failures.append(f"{row}: {it.errors} errors in {it.requests} requests")
    return table


def _cells(row: str, it: Measurement, product: Measurement | None) -> list[str]:
    cells = [row]
    for name, form in (("requests_per_second", ",.0f"), ("p50", ".2f"), ("p99", ".2f")):
        base = getattr(product, name) if product else None
        cells += [format(getattr(it, name), form), ratio(base, getattr(it, name))]
    cells += [
        f"{it.cpu[part]:.0f}" if part in it.cpu else "" for part in ("broker", "front", "back")
    ]
    return [*cells, str(it.errors)]
