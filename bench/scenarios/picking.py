"""What it costs the dispatcher to choose an instance and to hear how the call went."""

import timeit
from collections.abc import Callable, Sequence
from typing import get_args

from bench.report import Table
from bench.stage import Stage
from bench.turns import take_turns
from dispatcher.call_end import Verdict
from dispatcher.policies.load_balancing.balancer import Balancer
from dispatcher.policies.load_balancing.strategy import StrategyName, make_strategy
from dispatcher.service_discovery import Instance
from dispatcher.upstream import Address

ROWS = tuple(f"picking-{name.replace('_', '-')}" for name in get_args(StrategyName))
_STRATEGIES: dict[str, StrategyName] = dict(zip(ROWS, get_args(StrategyName), strict=True))
_SERVICES, _INSTANCES = 100, 20
_LOOPS, _REPEATS = 100, 5


def run(stage: Stage, rows: Sequence[str]) -> list[Table]:
    """One table: microseconds for each strategy, first tries and retries."""
    outcome = take_turns(rows, stage.options.rounds, lambda row: _turn(_STRATEGIES[row]))
    table = Table(
        f"Picking, {_SERVICES} services with {_INSTANCES} instances each",
        ("", "us", "us, retry"),
        notes=[*outcome.notes, "one pick, with feedback when the call begins and when it ends"],
        failures=outcome.failures,
    )
    for row, (first, retry) in outcome.medians(lambda run: -run[0]).items():
        table.rows.append([row, f"{first:.1f}", f"{retry:.1f}"])
    return [table]


def _turn(strategy: StrategyName) -> tuple[float, float]:
    services = [_service(strategy, number) for number in range(_SERVICES)]

    def calls(position: int | None) -> Callable[[], None]:
        def each_service() -> None:
            for balancer, instances in services:
                avoid = () if position is None else (instances[position].name,)
                picked = balancer.pick(instances, avoid)
                assert picked is not None
                balancer.began(picked)
                balancer.ended(picked, Verdict.SUCCESS, 0.005)

        return each_service

    return _microseconds(calls(None)), _microseconds(calls(7))


def _service(strategy: StrategyName, number: int) -> tuple[Balancer, tuple[Instance, ...]]:
    instances = tuple(
        Instance(
            f"http://10.0.{number}.{host}:8080", Address("http", f"10.0.{number}.{host}", 8080)
        )
        for host in range(_INSTANCES)
    )
    return Balancer(make_strategy(strategy)), instances


def _microseconds(calls: Callable[[], None]) -> float:
    calls()
    best = min(timeit.repeat(calls, number=_LOOPS, repeat=_REPEATS))
    return best / _LOOPS / _SERVICES * 1e6
