"""Something that answers HTTP, and the processes whose CPU is counted while it does."""

import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.processes import Process, Processes, cpu_seconds

_START_TIMEOUT = 30.0


class NotServingError(RuntimeError):
    """A target did not give the right answer in time."""


@dataclass(frozen=True)
class Target:
    """Where to send requests, and who works for them: broker, front, back, or some of them."""

    url: str
    parts: Mapping[str, Process]
    headers: Mapping[str, str] = field(default_factory=dict)

    def cpu(self) -> dict[str, float]:
        """CPU seconds used so far by each part."""
        return {part: cpu_seconds(process.pid) for part, process in self.parts.items()}


def wait_until_serving(target: Target, expected: bytes, processes: Processes) -> None:
    """Return once a GET answers 200 and the expected body, or raise why not."""
    give_up = time.monotonic() + _START_TIMEOUT
    while True:
        found = _get(target)
        if found == (200, expected):
            return
        processes.check()
        if time.monotonic() > give_up:
            raise NotServingError(f"{target.url} answers {found!r}, expected 200 with {expected!r}")
        time.sleep(0.1)


def _get(target: Target) -> tuple[int, bytes] | str:
    request = urllib.request.Request(target.url, headers=dict(target.headers))
    try:
        with urllib.request.urlopen(request, timeout=2) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except (OSError, ValueError) as error:
        return repr(error)
