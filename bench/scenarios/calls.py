"""What the dispatcher's policies cost: none of them, all of them, and all with a transform."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.nginx import BODY
from bench.product import ROUTES, Product
from bench.report import Table
from bench.stage import Stage
from bench.target import wait_until_serving
from bench.turns import take_turns
from bench.wrk import Measurement, measure

_CONNECTIONS = 64
_BARE = "calls-none"
_SERVICE: Mapping[str, Any] = {
    "strategy": "adaptive",
    "retry_count": 3,
    "circuit_breaker": {
        "failure_threshold": 5,
        "reset_timeout": 60,
        "failure_rate": 0.5,
        "slow_call_rate": 0.5,
        "slow_call_duration": 1.0,
        "fallback_response": {"error": "Service temporarily unavailable"},
    },
}
# As in the example that the documentation gives.
_TRANSFORM: Mapping[str, Any] = {
    "name": "user",
    "condition": {"path": "/api/users/*", "method": "GET"},
    "response_transform": {
        "jsonpath": {"user_id": "$.id", "email": "$.email"},
        "template": {"full_name": "{{ name }} ({{ id }})"},
    },
}
_TRANSFORMED = (
    b'{"user_id":"18f3a5e","email":"ada.lovelace@example.com","full_name":"Ada Lovelace (18f3a5e)"}'
)


@dataclass(frozen=True)
class _Case:
    service: Mapping[str, Any] = field(default_factory=dict)
    transforms: Sequence[Mapping[str, Any]] = ()
    answer: bytes = BODY


_CASES = {
    _BARE: _Case(),
    "calls-policies": _Case(_SERVICE),
    "calls-all": _Case(_SERVICE, [_TRANSFORM], _TRANSFORMED),
}
ROWS = tuple(_CASES)


def run(stage: Stage, rows: Sequence[str]) -> list[Table]:
    """One table: the dispatcher's CPU in each row, and how much more that is than without."""
    outcome = take_turns(rows, stage.options.rounds, lambda row: _turn(stage, _CASES[row]))
    table = Table(
        "The dispatcher: GET of 137 bytes, 64 connections",
        ("", "req/s", "p99 ms", "dispatcher us", "more", "errors"),
        notes=outcome.notes,
        failures=outcome.failures,
    )
    medians = outcome.medians(lambda run: run.requests_per_second)
    bare = medians.get(_BARE)
    for row, it in medians.items():
        back = it.cpu["back"]
        more = f"{back - bare.cpu['back']:+.0f}" if bare else "-"
        rates = [f"{it.requests_per_second:,.0f}", f"{it.p99:.2f}"]
        table.rows.append([row, *rates, f"{back:.0f}", more, str(it.errors)])
        if it.errors:
            table.failures.append(f"{row}: {it.errors} errors")
    return [table]


def _turn(stage: Stage, case: _Case) -> Measurement:
    with stage.turn() as processes:
        product = Product(
            stage,
            processes,
            stage.upstream,
            ROUTES,
            service=case.service,
            transforms=case.transforms,
        )
        target = product.separate()
        wait_until_serving(target, case.answer, processes)
        return measure(target, _CONNECTIONS, stage.options.seconds)
