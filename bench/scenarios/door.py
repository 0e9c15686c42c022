"""What the policies at the door cost: none of them, who asks, and all of them with Redis."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.nginx import BODY
from bench.product import TIER, Product
from bench.report import Table
from bench.stage import Stage
from bench.target import wait_until_serving
from bench.turns import take_turns
from bench.wrk import Measurement, measure

ROWS = ("door-none", "door-identity", "door-all")
_CONNECTIONS = 64
_MANY = 100_000_000  # requests a minute: counted, never refused

_SCHEMA = {
    "type": "object",
    "required": ["name", "email", "roles"],
    "additionalProperties": False,
    "properties": {
        "id": {"type": "string", "maxLength": 20},
        "name": {"type": "string", "minLength": 1, "maxLength": 100},
        "email": {"type": "string", "maxLength": 254},
        "roles": {"type": "array", "items": {"enum": ["user", "admin"]}, "maxItems": 10},
        "created": {"type": "string"},
        "active": {"type": "boolean"},
    },
}
_OPEN = {"path": "/api/users/{id}", "service": "users", "auth_required": False}
_CLOSED = {"path": "/api/users/{id}", "service": "users"}
_GUARDED = {
    **_CLOSED,
    "method": "POST",
    "roles": {"any": ["user", "admin"]},
    "rate_limit": _MANY,
    "ip_filter": {"allow": ["127.0.0.0/8"]},
    "validate": {"body": _SCHEMA, "query": {"properties": {"page": {"type": "integer"}}}},
}
_ALL: Mapping[str, Any] = {
    "ip_filter": {"deny": ["203.0.113.0/24", "2001:db8::/32"]},
    "cors": {"allow_origins": ["https://app.example"], "expose_headers": ["X-Request-ID"]},
    "rate_limits": [
        {"name": "customers", "key": "customer", "requests_per_minute": _MANY},
        {"name": "api", "match": {"path": "/api/*"}, "key": "ip", "requests_per_minute": _MANY},
    ],
}

_SCRIPT = """\
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Origin"] = "https://app.example"
wrk.body = '{body}'
"""


def run(stage: Stage, rows: Sequence[str]) -> list[Table]:
    """One table: CPU of each row, and how much more that is than without policies."""
    outcome = take_turns(rows, stage.options.rounds, lambda row: _turn(stage, row))
    table = Table(
        "The door: POST of 137 bytes, 64 connections",
        ("", "req/s", "p99 ms", "ingress us", "more", "redis us", "errors"),
        notes=outcome.notes,
        failures=outcome.failures,
    )
    medians = outcome.medians(lambda run: run.requests_per_second)
    bare = medians.get("door-none")
    for row, it in medians.items():
        front = it.cpu["front"]
        more = f"{front - bare.cpu['front']:+.0f}" if bare else "-"
        redis = f"{it.cpu['redis']:.0f}" if "redis" in it.cpu else ""
        rates = [f"{it.requests_per_second:,.0f}", f"{it.p99:.2f}"]
        table.rows.append([row, *rates, f"{front:.0f}", more, redis, str(it.errors)])
        if it.errors:
            table.failures.append(f"{row}: {it.errors} errors")
    return [table]


def _turn(stage: Stage, row: str) -> Measurement:
    with stage.turn() as processes:
        product = Product(stage, processes, stage.upstream, **_configuration(row))
        redis = stage.redis if row == "door-all" else None
        target = product.separate(redis=redis)
        wait_until_serving(target, BODY, processes)
        return measure(target, _CONNECTIONS, stage.options.seconds, _script(stage.folder))


def _configuration(row: str) -> dict[str, Any]:
    if row == "door-none":
        return {"routes": [_OPEN]}
    if row == "door-identity":
        return {"routes": [_CLOSED]}
    limited = {TIER: {"requests_per_minute": _MANY, "weight": 32, "queue_limit": 20_000}}
    return {"routes": [_CLOSED, _GUARDED], "gateway": _ALL, "tiers": limited}


def _script(folder: Path) -> Path:
    script = folder / "door.lua"
    script.write_text(_SCRIPT.format(body=BODY.decode()))
    return script
