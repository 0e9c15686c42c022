"""Upstreams that hang, reset, lie and drip, beside one that is well."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from tests.integration.faults.accounting import Account, outcomes, problems, requests, whole
from tests.integration.faults.plant import Plan, plant
from tests.integration.upstreams.scripted import Script, ScriptedUpstream, Wire, always, once

ECHO_OF_ANOTHER = b'{"path": "/open/another", "header": "another", "body": ""}'
SECOND = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (
    len(ECHO_OF_ANOTHER),
    ECHO_OF_ANOTHER,
)


async def hang(wire: Wire) -> None:
    """Read the request, and never answer."""
    await wire.request()
    await wire.gone()


async def reset(wire: Wire) -> None:
    """Read the request, and crash."""
    await wire.request()
    wire.reset()


async def reset_in_body(wire: Wire) -> None:
    """Crash with half of the answer sent."""
    await wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    wire.reset()


async def close(wire: Wire) -> None:
    """Read the request, and leave."""
    await wire.request()


async def drip(wire: Wire) -> None:
    """Promise much, and send a byte now and then."""
    await wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        await wire.send(b".")
        await asyncio.sleep(0.05)


FAULTS: dict[str, tuple[Script, str]] = {
    "hang": (hang, "deadline-exceeded"),
    "drip": (drip, "deadline-exceeded"),
    "reset": (reset, "upstream-connection"),
    "reset-in-body": (reset_in_body, "upstream-connection"),
    "close": (close, "upstream-connection"),
    "short": (once(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"), "upstream-connection"),
    "garbage": (always(b"\x16\x03\x01 no HTTP\r\n\r\n"), "upstream-protocol"),
    "two-lengths": (
        always(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!"),
        "upstream-protocol",
    ),
}


async def test_faulty_upstreams_harm_only_their_own_routes(tmp_path: Path, amqp_url: str) -> None:
    """Each fault is its clients' 502 or 504; meanwhile everybody else is served."""
    async with AsyncExitStack() as stack:
        services = {}
        for name, (script, _) in FAULTS.items():
            faulty = await stack.enter_async_context(ScriptedUpstream(script))
            services[name] = f"http://{faulty.address.host}:{faulty.address.port}"
        built = await stack.enter_async_context(
            plant(tmp_path, amqp_url, Plan(services=services, concurrency=8))
        )
        crowd = await built.crowd()
        ill = {
            name: asyncio.create_task(crowd.ask(requests(gets=10, posts=10, route=name), wait=3))
            for name in FAULTS
        }
        well = []
        while not ill["hang"].done():
            well += await crowd.ask(requests(gets=25, posts=25), wait=20)
        failed = {name: await task for name, task in ill.items()}
        seen = built.ledger.seen

    for name, (_, problem) in FAULTS.items():
        assert {slug for slug, _ in problems(failed[name])} == {problem}, name
    assert {status for _, status in outcomes(well)} == {200}
    everything = [*well, *(result for results in failed.values() for result in results)]
    assert Account.of(everything, seen) == whole(len(well) + 20 * len(FAULTS))


async def test_more_than_was_announced_is_nobodys_answer(tmp_path: Path, amqp_url: str) -> None:
    """A second response behind the first is not taken for the answer to the next request."""
    lie = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst" + SECOND
    async with ScriptedUpstream(always(lie)) as liar:
        url = f"http://{liar.address.host}:{liar.address.port}"
        plan = Plan(services={"liar": url}, concurrency=4)
        async with plant(tmp_path, amqp_url, plan) as built:
            crowd = await built.crowd()
            results = []
            for _ in range(10):
                results += await crowd.ask(requests(gets=10, posts=10, route="liar"), wait=20)

    bodies = {result.answer.body for result in results if result.answer}
    assert len(results) == 200
    assert ECHO_OF_ANOTHER not in bodies
    assert {status for _, status in outcomes(results)} <= {200, 502}
