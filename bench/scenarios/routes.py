"""Whether 1,000 routes cost more than 10: all in one process, so that routing weighs most."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.nginx import BODY
from bench.product import Product
from bench.report import Table, ratio
from bench.stage import Stage
from bench.target import wait_until_serving
from bench.turns import take_turns
from bench.wrk import Measurement, measure

# Routes in the configuration, and how many of them are asked for: those that are not must cost
# nothing, those that are cost at least the processor's cache.
_NUMBERS = {"routes-10": (10, 10), "routes-1000": (1000, 10), "routes-1000-all": (1000, 1000)}
ROWS = tuple(_NUMBERS)
_CONNECTIONS = 64

# Asks for one route after the other.
_SCRIPT = """\
local number, at = {number}, 0
request = function()
  at = (at + 1) % number
  return wrk.format("GET", "/api/r" .. at .. "/items/" .. at)
end
"""


def run(stage: Stage, rows: Sequence[str]) -> list[Table]:
    """One table: a row for each number of routes."""
    outcome = take_turns(rows, stage.options.rounds, lambda row: _turn(stage, *_NUMBERS[row]))
    table = Table(
        "Routes, embedded broker, 64 connections",
        ("", "req/s", "10 routes/it", "CPU us", "10 routes/it", "errors"),
        notes=outcome.notes,
        failures=outcome.failures,
    )
    medians = outcome.medians(lambda run: run.requests_per_second)
    few = medians.get("routes-10")
    for row, it in medians.items():
        rate, cpu = it.requests_per_second, it.cpu["front"]
        rates = [f"{rate:,.0f}", ratio(few.requests_per_second if few else None, rate)]
        cpus = [f"{cpu:.0f}", ratio(few.cpu["front"] if few else None, cpu)]
        table.rows.append([row, *rates, *cpus, str(it.errors)])
        if it.errors:
            table.failures.append(f"{row}: {it.errors} errors")
    return [table]


def _turn(stage: Stage, number: int, asked: int) -> Measurement:
    with stage.turn() as processes:
        product = Product(stage, processes, stage.upstream, _routes(number))
        target = product.embedded("/api/r0/items/0")
        wait_until_serving(target, BODY, processes)
        script = _script(stage.folder, asked)
        return measure(target, _CONNECTIONS, stage.options.seconds, script)


def _routes(number: int) -> list[dict[str, Any]]:
    """Half of them exact, half with a parameter."""
    return [
        {"path": f"/api/r{n}/items/{n if n % 2 else '{id}'}", "service": "items"}
        for n in range(number)
    ]


def _script(folder: Path, number: int) -> Path:
    script = folder / f"routes-{number}.lua"
    script.write_text(_SCRIPT.format(number=number))
    return script
