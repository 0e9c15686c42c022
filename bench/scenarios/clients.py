"""What a call to an upstream costs by itself: the gateway's own client, and aiohttp's."""

import json
import sys
from collections.abc import Sequence

from bench.meter import Rate, load
from bench.report import Table, ratio
from bench.stage import Stage
from bench.turns import take_turns

ROWS = ("clients-lean", "clients-aiohttp")
_LEAN = ROWS[0]
_START_TIMEOUT = 30.0


def run(stage: Stage, rows: Sequence[str]) -> list[Table]:
    """One table: rate and CPU; the row ``calls-all`` is to be seen beside it."""
    outcome = take_turns(rows, stage.options.rounds, lambda row: _turn(stage, row))
    table = Table(
        "An upstream client alone: GET of 137 bytes, 64 in flight",
        ("", "per second", "client us", "it/lean"),
        notes=outcome.notes,
        failures=outcome.failures,
    )
    medians = outcome.medians(lambda rate: rate.per_second)
    base = medians.get(_LEAN)
    for row, rate in medians.items():
        cpu = rate.cpu["client"]
        more = ratio(cpu, base.cpu["client"]) if base else "-"
        table.rows.append([row, f"{rate.per_second:,.0f}", f"{cpu:.0f}", more])
    return [table]


def _turn(stage: Stage, row: str) -> Rate:
    result = stage.folder / f"{row}.json"
    order = {"seconds": stage.options.seconds, "result": str(result)}
    which = row.removeprefix("clients-")
    program = [sys.executable, "-m", "bench.peers.upstream_client"]
    with stage.turn() as processes:
        client = processes.start(row, [*program, which, stage.upstream, json.dumps(order)])
        client.wait(_START_TIMEOUT + stage.options.seconds)
    return load(result)
