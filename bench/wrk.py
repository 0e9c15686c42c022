"""The load: wrk, one thread."""

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.target import Target

_MILLISECONDS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}
_WARM_UP = 2


@dataclass(frozen=True)
class Measurement:
    """One run: latencies in milliseconds, CPU in microseconds per request."""

    requests: int
    requests_per_second: float
    p50: float
    p99: float
    errors: int
    cpu: Mapping[str, float]


def measure(
    target: Target, connections: int, seconds: int, script: Path | None = None
) -> Measurement:
    """Warm up, then load the target and read its parts' CPU before and after."""
    _run(target, connections, _WARM_UP, script)
    before = target.cpu()
    report = _run(target, connections, seconds, script)
    after = target.cpu()
    return _read(report, {part: after[part] - before[part] for part in before})


def _run(target: Target, connections: int, seconds: int, script: Path | None) -> str:
    command = ["wrk", "--threads", "1", "--connections", str(connections), "--latency"]
    command += ["--duration", f"{seconds}s", "--timeout", "10s"]
    for name, value in target.headers.items():
        command += ["--header", f"{name}: {value}"]
    if script is not None:
        command += ["--script", str(script)]
    return subprocess.run([*command, target.url], check=True, capture_output=True, text=True).stdout


def _read(report: str, cpu: Mapping[str, float]) -> Measurement:
    requests = int(_find(r"(\d+) requests in", report))
    return Measurement(
        requests=requests,
        requests_per_second=float(_find(r"Requests/sec:\s+([\d.]+)", report)),
        p50=_latency("50%", report),
        p99=_latency("99%", report),
        errors=_errors(report),
        cpu={part: seconds / max(requests, 1) * 1e6 for part, seconds in cpu.items()},
    )


def _find(pattern: str, report: str) -> str:
    found = re.search(pattern, report)
    if found is None:
        raise ValueError(f"wrk printed no {pattern!r}:\n{report}")
    return found[1]


def _latency(percentile: str, report: str) -> float:
    found = re.search(rf"{percentile}\s+([\d.]+)(us|ms|s|m)\b", report)
    if found is None:
        raise ValueError(f"wrk printed no {percentile} latency:\n{report}")
    return float(found[1]) * _MILLISECONDS[found[2]]


def _errors(report: str) -> int:
    """Answers outside 2xx and 3xx, and connections that failed."""
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", report)
    socket_errors = re.search(r"Socket errors: (.*)", report)
    counts = re.findall(r"\d+", socket_errors[1]) if socket_errors else []
    return sum(map(int, counts)) + (int(refused[1]) if refused else 0)
