"""An upstream that hangs or resets, behind a breaker: it is left alone, and nobody else notices."""

import asyncio
from pathlib import Path

import pytest

from tests.integration.commands import Running
from tests.integration.faults.accounting import Account, outcomes, problems, requests, whole
from tests.integration.faults.plant import Plan, plant, total
from tests.integration.faults.test_upstreams import hang, reset
from tests.integration.faults.waiting import eventually
from tests.integration.upstreams.scripted import Script, ScriptedUpstream

GUARDED = {"timeout": 0.5, "circuit_breaker": {"failure_threshold": 5, "reset_timeout": 3600}}


@pytest.mark.parametrize("script", [hang, reset], ids=["hang", "reset"])
async def test_no_calls_while_open(tmp_path: Path, amqp_url: str, script: Script) -> None:
    """After a few failures the breaker opens; then 0 calls are made, and other routes go on."""
    async with ScriptedUpstream(script) as ill:
        url = f"http://{ill.address.host}:{ill.address.port}"
        plan = Plan(services={"ill": url}, concurrency=4, settings={"ill": GUARDED})
        async with plant(tmp_path, amqp_url, plan) as built:
            crowd = await built.crowd()
            failed = await crowd.ask(requests(gets=5, posts=5, route="ill"), wait=20)
            await eventually(lambda: is_open(built.dispatchers), "the breaker is open")
            calls = ill.accepted
            well, refused = await asyncio.gather(
                crowd.ask(requests(gets=50, posts=50), wait=20),
                crowd.ask(requests(gets=50, posts=50, route="ill"), wait=20),
            )
            seen = built.ledger.seen

    assert 5 <= calls <= 8  # the calls of four slots may be under way when the fifth one fails
    assert ill.accepted == calls
    assert {status for _, status in outcomes(failed)} <= {502, 503, 504}
    assert {slug for slug, _ in problems(refused)} == {"circuit-open"}
    assert {executed for _, executed in problems(refused)} == {"no"}
    assert {status for _, status in outcomes(well)} == {200}
    assert Account.of([*well, *failed, *refused], seen) == whole(210)


async def is_open(dispatchers: list[Running]) -> bool:
    """Whether a breaker of theirs is."""
    return await total(dispatchers, "dispatcher_circuit_breaker_state") == 2
