"""Retries, hedges, breakers and held requests of real processes, with upstreams that misbehave."""

import asyncio
import json
import signal
import socket
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web

from tests.integration.commands import Running, configuration, launched, started, upstream
from tests.integration.faults.waiting import eventually
from tests.integration.upstreams.scripted import ScriptedUpstream, Wire


class Service:
    """An upstream that is well, or not, as the test has it; it counts what it is asked."""

    def __init__(self) -> None:
        self.status = 200
        self.asked: Counter[str] = Counter()

    async def answer(self, request: web.BaseRequest) -> web.Response:
        self.asked[request.path] += 1
        attempt = request.headers.get("X-Request-Attempt", "")
        return web.Response(status=self.status, text=request.path, headers={"X-Attempt": attempt})


def configured(folder: Path, routes: list[dict[str, Any]], services: list[dict[str, Any]]) -> str:
    """A configuration with these routes and services, all open to everybody."""
    open_to_all = [{"auth_required": False, "timeout": 30, **route} for route in routes]
    directory = Path(configuration(folder, "http://unused", open_to_all))
    (directory / "routes.yaml").write_text(yaml.safe_dump(open_to_all))
    (directory / "services.yaml").write_text(yaml.safe_dump(services))
    return str(directory)


async def ask(
    session: aiohttp.ClientSession, url: str, method: str = "GET"
) -> tuple[int, str, dict[str, str]]:
    async with session.request(method, url) as response:
        return response.status, await response.text(), dict(response.headers)


async def breakers(running: Running) -> list[dict[str, Any]]:
    """What the admin listener shows."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(running.admin + "/breakers") as response,
    ):
        return list((await response.json())["breakers"])


async def reset(wire: Wire) -> None:
    """Read the request, and crash."""
    await wire.request()
    wire.reset()


async def test_a_retry_goes_to_the_instance_that_is_well(tmp_path: Path) -> None:
    """With one of two instances crashing at each request, every GET is answered, no POST twice.

    No more of them than the budget of retries has at least.
    """
    service = Service()
    async with upstream(service.answer) as good, ScriptedUpstream(reset) as bad:
        instances = [{"url": str(bad.address)}, {"url": good}]
        config = configured(
            tmp_path,
            [{"path": "/r/*", "service": "users", "retry_count": 2}],
            [{"name": "users", "instances": instances}],
        )
        async with started(tmp_path, "up", "--config", config) as up, aiohttp.ClientSession() as s:
            gets = [await ask(s, f"{up.public}/r/get{n}") for n in range(3)]
            posts = [await ask(s, f"{up.public}/r/post{n}", "POST") for n in range(2)]
            metrics = await up.metrics()

    assert {status for status, _, _ in gets} == {200}
    assert "2" in {headers["X-Attempt"] for _, _, headers in gets}
    assert [status for status, _, _ in posts] in ([200, 502], [502, 200])
    assert set(service.asked.values()) == {1}
    assert metrics['dispatcher_retries_total{service="users"}'] == bad.accepted - 1


async def every_second_is_lost(wire: Wire) -> None:
    """Answer the first request of each connection, and crash at the next."""
    await wire.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    await wire.request()
    wire.reset()


async def test_a_get_that_must_not_happen_twice_does_not(tmp_path: Path) -> None:
    """Under `delivery: at_most_once` it is not even sent again where a kept connection is dead."""
    route = {"path": "/r/*", "service": "users", "delivery": "at_most_once", "retry_count": 2}
    async with ScriptedUpstream(every_second_is_lost) as bad:
        config = configured(tmp_path, [route], [{"name": "users", "base_url": str(bad.address)}])
        async with started(tmp_path, "up", "--config", config) as up, aiohttp.ClientSession() as s:
            statuses = [(await ask(s, f"{up.public}/r/{n}"))[0] for n in range(4)]
        assert statuses == [200, 502, 200, 502]
        assert bad.requests == 4


async def test_dead_connections_do_not_multiply_the_calls(tmp_path: Path) -> None:
    """What is sent once more on a fresh connection is paid from the budget of retries."""
    async with ScriptedUpstream(every_second_is_lost) as bad:
        config = configured(
            tmp_path,
            [{"path": "/r/*", "service": "users"}],
            [{"name": "users", "base_url": str(bad.address)}],
        )
        async with started(tmp_path, "up", "--config", config) as up, aiohttp.ClientSession() as s:
            statuses = [(await ask(s, f"{up.public}/r/{n}"))[0] for n in range(40)]
            metrics = await up.metrics()
        repeated = bad.requests - 40
    assert set(statuses) == {200, 502}
    assert 3 <= repeated <= 8
    assert metrics["dispatcher_upstream_connections_repeated_total"] == repeated
    assert metrics['dispatcher_retry_budget_exhausted_total{service="users"}'] >= 1


async def test_a_hedge_overtakes_an_instance_that_hangs(tmp_path: Path) -> None:
    """The answer is that of the other instance, and the connection to the first one is closed."""
    service = Service()
    let_go = asyncio.Event()

    async def hang(wire: Wire) -> None:
        await wire.request()
        await wire.gone()
        let_go.set()

    async with upstream(service.answer) as good, ScriptedUpstream(hang) as bad:
        instances = [{"url": str(bad.address)}, {"url": good}]
        config = configured(
            tmp_path,
            [{"path": "/h/*", "service": "users", "hedge": {"delay": 0.05}}],
            [{"name": "users", "instances": instances}],
        )
        async with started(tmp_path, "up", "--config", config) as up, aiohttp.ClientSession() as s:
            answers = [await ask(s, f"{up.public}/h/{n}") for n in range(3)]
            await asyncio.wait_for(let_go.wait(), 20)
            metrics = await up.metrics()

    assert [(status, text) for status, text, _ in answers] == [(200, f"/h/{n}") for n in range(3)]
    assert metrics['dispatcher_hedges_total{service="users"}'] == bad.accepted > 0


async def test_held_requests_outlive_an_outage(tmp_path: Path, amqp_url: str) -> None:
    """They wait and take no slot: others are refused at once; when it is over, all are served."""
    service = Service()
    async with upstream(service.answer) as url:
        config = configured(
            tmp_path,
            [
                {"path": "/hold/*", "service": "users", "when_open": "hold"},
                {"path": "/fail/*", "service": "users", "when_open": "fail"},
            ],
            [
                {
                    "name": "users",
                    "base_url": url,
                    "concurrency": {"limit": 16},
                    "circuit_breaker": {"failure_threshold": 1, "reset_timeout": 5},
                }
            ],
        )
        async with (
            started(tmp_path, "up", "--config", config, amqp_url=amqp_url) as up,
            aiohttp.ClientSession() as session,
        ):
            service.status = 500
            assert (await ask(session, f"{up.public}/fail/first"))[0] == 500
            service.status = 200
            held = [
                asyncio.create_task(
                    ask(session, f"{up.public}/hold/{n}", "POST" if n % 2 else "GET")
                )
                for n in range(16)
            ]
            await eventually(lambda: pending(up, 16), "16 requests wait")
            refused = [await ask(session, f"{up.public}/fail/{n}") for n in range(5)]
            waiting = sum(not task.done() for task in held)
            shown = await breakers(up)
            metrics = await up.metrics()
            answers = await asyncio.gather(*held)

    assert {status for status, _, _ in refused} == {503}
    assert int(refused[0][2]["Retry-After"]) <= 5
    assert waiting == 16
    assert [(each["service"], each["state"], each["failures"]) for each in shown] == [
        ("users", "OPEN", 1)
    ]
    assert shown[0]["probe_due"] is False
    assert metrics['dispatcher_held{service="users"}'] == 16
    assert {status for status, _, _ in answers} == {200}
    assert service.asked == {"/fail/first": 1, **{f"/hold/{n}": 1 for n in range(16)}}


async def test_what_was_held_when_its_dispatcher_was_killed(tmp_path: Path, amqp_url: str) -> None:
    """Another one calls the GET; of the POST nobody knows whether it was called: it is not now."""
    service = Service()
    async with upstream(service.answer) as url, AsyncExitStack() as stack:
        breaker = {"failure_threshold": 1, "reset_timeout": 300}
        config = configured(
            tmp_path,
            [{"path": "/*", "service": "users", "when_open": "hold"}],
            [{"name": "users", "base_url": url, "circuit_breaker": breaker}],
        )
        options = ("--config", config)
        killed = await stack.enter_async_context(
            launched(tmp_path, "dispatcher", *options, amqp_url=amqp_url)
        )
        ingress = await stack.enter_async_context(
            started(tmp_path, "ingress", *options, amqp_url=amqp_url)
        )
        await killed.ready()
        session = await stack.enter_async_context(aiohttp.ClientSession())
        service.status = 500
        await ask(session, f"{ingress.public}/first")
        service.status = 200
        held = [
            asyncio.create_task(ask(session, f"{ingress.public}/{method}", method))
            for method in ("GET", "POST")
        ]

        async def both_wait() -> bool:
            return (await killed.metrics())['dispatcher_held{service="users"}'] == 2

        await eventually(both_wait, "both are held")
        killed.signal(signal.SIGKILL)
        await killed.ended()
        await stack.enter_async_context(
            started(tmp_path, "dispatcher", *options, amqp_url=amqp_url)
        )
        (got, _, _), (posted, problem, _) = await asyncio.gather(*held)

    assert got == 200
    assert (posted, json.loads(problem)["executed"]) == (502, "unknown")
    assert service.asked == {"/first": 1, "/GET": 1}


async def test_a_fallback_is_not_flooded(tmp_path: Path) -> None:
    """It is called within its own slots; what comes beyond is answered with the other fallback."""
    under_way = most = 0
    all_came = asyncio.Event()

    async def slow(request: web.BaseRequest) -> web.Response:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await all_came.wait()
        under_way -= 1
        return web.Response(text="backup")

    async with ScriptedUpstream(reset) as bad, upstream(slow) as backup:
        breaker = {
            "failure_threshold": 1,
            "fallback_service": "backup",
            "fallback_response": {"away": True},
            "fallback_status": 203,
        }
        config = configured(
            tmp_path,
            [{"path": "/r/*", "service": "users"}],
            [
                {"name": "users", "base_url": str(bad.address), "circuit_breaker": breaker},
                {"name": "backup", "base_url": backup, "concurrency": {"limit": 2}},
            ],
        )
        async with started(tmp_path, "up", "--config", config) as up, aiohttp.ClientSession() as s:
            assert (await ask(s, f"{up.public}/r/first"))[0] == 502
            asked = [asyncio.create_task(ask(s, f"{up.public}/r/{n}")) for n in range(20)]
            await eventually(lambda: pending(up, 2), "all but two are answered")
            all_came.set()
            statuses = Counter([status for status, _, _ in await asyncio.gather(*asked)])
            metrics = await up.metrics()

    assert (most, statuses) == (2, {200: 2, 203: 18})
    assert metrics['dispatcher_fallbacks_refused_total{service="backup"}'] == 18
    assert metrics['dispatcher_upstream_seconds_count{service="backup"}'] == 2
    assert metrics['dispatcher_upstream_seconds_count{service="users"}'] == 1


async def pending(up: Running, count: int) -> bool:
    """Whether so many clients wait for their answers."""
    return (await up.metrics())["ingress_pending"] == count


async def test_a_dispatcher_hears_of_anothers_breaker(tmp_path: Path, amqp_url: str) -> None:
    """Also one that starts later: then a single failure of its own is enough for it to open."""
    service = Service()
    service.status = 500
    async with upstream(service.answer) as url, AsyncExitStack() as stack:
        breaker = {"failure_threshold": 1, "reset_timeout": 300}
        config = configured(
            tmp_path,
            [{"path": "/a/*", "service": "users"}],
            [{"name": "users", "base_url": url, "circuit_breaker": breaker}],
        )
        options = ("--config", config)
        pair = await stack.enter_async_context(
            launched(tmp_path, "dispatcher", *options, "--processes", "2", amqp_url=amqp_url)
        )
        ingress = await stack.enter_async_context(
            launched(tmp_path, "ingress", *options, amqp_url=amqp_url)
        )
        await asyncio.gather(pair.ready(), ingress.ready())
        session = await stack.enter_async_context(aiohttp.ClientSession())
        assert (await ask(session, f"{ingress.public}/a/1"))[0] == 500

        async def states(running: Running) -> list[str]:
            return sorted(each["state"] for each in await breakers(running))

        async def knows(running: Running, *expected: str) -> bool:
            return await states(running) == list(expected)

        await eventually(lambda: knows(pair, "HALF_OPEN", "OPEN"), "both processes know")
        late = await stack.enter_async_context(
            started(tmp_path, "dispatcher", *options, amqp_url=amqp_url)
        )
        await eventually(lambda: knows(late, "HALF_OPEN"), "the late one knows")
        shown = [*await breakers(pair), *await breakers(late)]
        answers = [await ask(session, f"{ingress.public}/a/{n}") for n in range(12)]
        at_last = [*await states(pair), *await states(late)]

    assert [each.get("process") for each in shown] == ["0", "1", None]
    reasons = {each["state"]: each["reason"] for each in shown}
    assert reasons["OPEN"] == "failures in a row: 1"
    assert reasons["HALF_OPEN"].startswith(f"that of {socket.gethostname()}-")
    assert Counter(status for status, _, _ in answers) == {500: 2, 503: 10}
    assert at_last == ["OPEN"] * 3
    assert service.asked.total() == 3


async def test_an_ill_dispatcher_harms_its_own_share_only(tmp_path: Path, amqp_url: str) -> None:
    """One that can't reach the service opens its breaker again and again; the other never does."""
    service = Service()
    async with upstream(service.answer) as url, AsyncExitStack() as stack:
        async with ScriptedUpstream(reset) as gone:
            nowhere = str(gone.address)

        def at(place: str, base_url: str) -> str:
            (tmp_path / place).mkdir()
            breaker = {"failure_threshold": 5, "reset_timeout": 0.1}
            users = {"name": "users", "base_url": base_url, "circuit_breaker": breaker}
            return configured(tmp_path / place, [{"path": "/a/*", "service": "users"}], [users])

        async def launch(role: str, config: str) -> Running:
            return await stack.enter_async_context(
                started(tmp_path, role, "--config", config, amqp_url=amqp_url)
            )

        well, ill = at("well", url), at("ill", nowhere)
        healthy, ingress = await launch("dispatcher", well), await launch("ingress", well)
        cut_off = await launch("dispatcher", ill)
        session = await stack.enter_async_context(aiohttp.ClientSession())
        opened = 'dispatcher_circuit_breaker_transitions_total{service="users",state="OPEN"}'
        answers: Counter[int] = Counter()

        async def opens_again() -> bool:
            answers.update([(await ask(session, f"{ingress.public}/a/1"))[0] for _ in range(10)])
            return (await cut_off.metrics()).get(opened, 0) >= 4

        await eventually(opens_again, "it opens for the fourth time")
        [shown] = await breakers(healthy)
        changes = [name for name in await healthy.metrics() if "breaker_transitions" in name]

    assert (shown["state"], shown["reason"]) == ("CLOSED", "")
    assert changes == []
    assert answers[200] >= 0.4 * answers.total()
