"""What requests of 1 KiB cost a process while a slow upstream keeps them waiting.

The ingress, of which 10,000 wait, and the dispatcher, which has 1,000 of them under way.
"""

import asyncio
import resource
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import aio_pika

from bench.crowd import Crowd
from bench.nginx import BODY
from bench.processes import resident_bytes
from bench.product import TIER, Product
from bench.report import Table
from bench.stage import Stage
from bench.target import Target, wait_until_serving
from bench.turns import take_turns
from broker.topology import RequestQueue
from tests.processes import free_port

_BODY = b"x" * 1024
_SERVICE = "slow"
_PATH = "/slow"
_MIB = 1024**2
_ANSWER_TIMEOUT = 120.0
_SETTLE_TIMEOUT = 60.0


@dataclass(frozen=True)
class Case:
    """Whose memory, how many requests, and how many of them are under way to the upstream."""

    part: str
    requests: int
    calls: int


_CASES = {"memory": Case("front", 10_000, 64), "memory-dispatcher": Case("back", 1_000, 1_000)}
ROWS = tuple(_CASES)


@dataclass(frozen=True)
class Memory:
    """Resident bytes of a process before, while all wait, and after; how they were answered."""

    requests: int
    queued: int
    before: int
    waiting: int
    after: int
    statuses: Mapping[str, int]


def run(stage: Stage, rows: Sequence[str]) -> list[Table]:
    """One table: the resident memory of one process in three states."""
    outcome = take_turns(rows, 1, lambda row: _turn(stage, _CASES[row]))
    table = Table(
        "Memory of ingress, and of the dispatcher; requests of 1 KiB waiting for a slow upstream",
        (
            "",
            "waiting",
            "in the queue",
            "before MiB",
            "waiting MiB",
            "after MiB",
            "KiB each",
            "200s",
        ),
        notes=outcome.notes,
        failures=outcome.failures,
    )
    for row, runs in outcome.results.items():
        for it in runs:
            table.rows.append(_cells(row, it))
            if it.statuses != {"200": it.requests}:
                table.failures.append(
                    f"{row}: {it.requests} requests were answered {dict(it.statuses)}"
                )
    return [table]


def _cells(row: str, it: Memory) -> list[str]:
    each = (it.waiting - it.before) / it.requests / 1024
    sizes = [f"{size / _MIB:.1f}" for size in (it.before, it.waiting, it.after)]
    return [
        row,
        f"{it.requests:,}",
        f"{it.queued:,}",
        *sizes,
        f"{each:.1f}",
        f"{it.statuses.get('200', 0):,}",
    ]


def _turn(stage: Stage, case: Case) -> Memory:
    port = free_port()
    with stage.turn() as processes:
        upstream = processes.start(
            "slow-upstream", [sys.executable, "-m", "bench.peers.slow_upstream", str(port)]
        )
        routes = ({"path": _PATH, "service": _SERVICE},)
        product = Product(stage, processes, f"http://127.0.0.1:{port}", routes, case.calls)
        target = product.separate(path=_PATH)
        wait_until_serving(target, BODY, processes)
        url, _ = stage.rabbitmq
        return asyncio.run(_hold(target, case, url, lambda: upstream.signal(signal.SIGUSR1)))


async def _hold(target: Target, case: Case, amqp_url: str, release: Callable[[], None]) -> Memory:
    process = target.parts[case.part].pid
    before = resident_bytes(process)
    crowd = Crowd(target.url, target.headers, _BODY, _affordable(case.requests))
    await crowd.send()
    queued = await _settled_depth(amqp_url)
    waiting = resident_bytes(process)
    release()
    await crowd.all_answered(_ANSWER_TIMEOUT)
    return Memory(crowd.size, queued, before, waiting, resident_bytes(process), crowd.statuses)


def _affordable(requests: int) -> int:
    """As many of them as the limit on open files allows."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(requests, soft - 500)


async def _settled_depth(amqp_url: str) -> int:
    """Messages in the slow service's queue, once their number has stayed the same for 2 s."""
    name = RequestQueue(_SERVICE, TIER, 0).name
    depths: list[int] = []
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        async with asyncio.timeout(_SETTLE_TIMEOUT):
            while len(depths) < 4 or len(set(depths[-4:])) > 1:
                await asyncio.sleep(0.5)
                queue = await channel.declare_queue(name, passive=True)
                depths.append(queue.declaration_result.message_count or 0)
    return depths[-1]
