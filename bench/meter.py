"""Measures a load generator that counts its own answers, and the processes that answer it."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

from bench.processes import cpu_seconds

_WARM_UP = 2.0


@dataclass(frozen=True)
class Rate:
    """Answers per second, and CPU in microseconds per answer of each process."""

    per_second: float
    cpu: Mapping[str, float]


async def measure_rate(
    answered: Callable[[], int], pids: Mapping[str, int], seconds: float
) -> Rate:
    """Warm up, then read answers and CPU twice, ``seconds`` apart; RuntimeError if none came."""
    await asyncio.sleep(_WARM_UP)
    count, cpu, start = answered(), _cpu(pids), perf_counter()
    await asyncio.sleep(seconds)
    answers, elapsed = answered() - count, perf_counter() - start
    if not answers:
        raise RuntimeError("no answer within the time of measurement")
    used = {name: after - cpu[name] for name, after in _cpu(pids).items()}
    return Rate(answers / elapsed, {n: s / answers * 1e6 for n, s in used.items()})


def save(rate: Rate, file: Path) -> None:
    """Leave the result for the process that started this one."""
    file.write_text(json.dumps(asdict(rate)))


def load(file: Path) -> Rate:
    """Read what ``save`` wrote."""
    return Rate(**json.loads(file.read_text()))


def _cpu(pids: Mapping[str, int]) -> dict[str, float]:
    return {name: cpu_seconds(pid) for name, pid in pids.items()}
