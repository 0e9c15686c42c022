"""Runs the scenarios, prints their tables, and keeps them in bench/results/."""

import argparse
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from bench.install import NotInstallableError
from bench.processes import Processes
from bench.report import Table, machine
from bench.scenarios import (
    balancing,
    calls,
    clients,
    door,
    http,
    memory,
    picking,
    request_reply,
    routes,
)
from bench.stage import Options, Stage

_RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Scenario:
    """Something to measure, in rows that can be chosen one by one."""

    rows: tuple[str, ...]
    run: Callable[[Stage, Sequence[str]], list[Table]]


SCENARIOS = {
    "http": Scenario(http.ROWS, http.run),
    "request-reply": Scenario(request_reply.ROWS, request_reply.run),
    "door": Scenario(door.ROWS, door.run),
    "calls": Scenario(calls.ROWS, calls.run),
    "clients": Scenario(clients.ROWS, clients.run),
    "routes": Scenario(routes.ROWS, routes.run),
    "memory": Scenario(memory.ROWS, memory.run),
    "balancing": Scenario(balancing.ROWS, balancing.run),
    "picking": Scenario(picking.ROWS, picking.run),
}


def main() -> int:
    """Exit status: 0, or 1 where something could not be measured as it should."""
    arguments = _parse()
    signal.signal(signal.SIGTERM, _interrupted)
    _raise_file_limit()
    seconds = 3 if arguments.quick else arguments.seconds
    options = Options(seconds, tuple(arguments.connections), arguments.rounds)
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as folder:
        try:
            with Processes(Path(folder)) as processes:
                tables = _run(Stage(Path(folder), processes, options), arguments.only)
        except KeyboardInterrupt:
            print("interrupted; every process is ended", file=sys.stderr)
            return 130
    _write(tables, options)
    return 1 if any(table.failures for table in tables) else 0


def _parse() -> argparse.Namespace:
    names = [*SCENARIOS, *dict.fromkeys(row for it in SCENARIOS.values() for row in it.rows)]
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="runs of 3 s")
    parser.add_argument("--seconds", type=int, default=10, help="length of a run (10)")
    parser.add_argument(
        "--rounds", type=int, default=1, help="turns of each row; the median is shown (1)"
    )
    parser.add_argument(
        "--connections",
        type=int,
        nargs="+",
        default=[64, 1],
        metavar="N",
        help="wrk's connections (64 1)",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=names,
        default=[],
        metavar="NAME",
        help="scenarios, or rows of them: " + ", ".join(names),
    )
    return parser.parse_args()


def _run(stage: Stage, only: Sequence[str]) -> list[Table]:
    tables: list[Table] = []
    for name, scenario in SCENARIOS.items():
        rows = _chosen(name, scenario, only)
        if not rows:
            continue
        try:
            made = scenario.run(stage, rows)
        except NotInstallableError as reason:
            made = [Table(name, (), failures=[str(reason)])]
        for table in made:
            print("\n" + table.markdown(), flush=True)
        tables += made
    return tables


def _chosen(name: str, scenario: Scenario, only: Sequence[str]) -> Sequence[str]:
    if not only or name in only:
        return scenario.rows
    return [row for row in scenario.rows if row in only]


def _write(tables: Sequence[Table], options: Options) -> None:
    head = [f"- {line}" for line in machine()]
    head += [
        f"- runs of {options.seconds} s, {options.rounds} round(s); CPU in microseconds per request"
    ]
    _RESULTS.mkdir(exist_ok=True)
    path = _RESULTS / time.strftime("%Y%m%d-%H%M%S.md")
    path.write_text("\n".join(["# Benchmarks", "", *head, "", *(t.markdown() for t in tables)]))
    print("\n".join(head) + f"\n- written to bench/results/{path.name}")


def _raise_file_limit() -> None:
    """Ten thousand connections want as many file descriptors, here and in the children."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _interrupted(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
