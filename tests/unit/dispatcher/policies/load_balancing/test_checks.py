"""Active health checks of a balancer that stands alone."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from dispatcher.policies.load_balancing import checks
from dispatcher.policies.load_balancing.balancer import Balancer
from dispatcher.policies.load_balancing.checks import HealthChecks, Probe
from dispatcher.policies.load_balancing.strategy import make_strategy
from tests.unit.dispatcher.policies.load_balancing.simulation import weighted


class Patients:
    """Answers probes as told, and counts them."""

    def __init__(self, answer: Callable[[], bool]) -> None:
        self.asked: list[str] = []
        self._answer = answer
        self._condition = asyncio.Condition()

    async def probe(self, name: str) -> bool:
        async with self._condition:
            self.asked.append(name)
            self._condition.notify_all()
        return self._answer()

    async def were_asked(self, count: int) -> None:
        """Wait for so many probes."""
        async with self._condition:
            await self._condition.wait_for(lambda: len(self.asked) >= count)


@asynccontextmanager
async def checked(probe: Probe) -> AsyncIterator[Balancer]:
    """A balancer of one instance that is probed all the time."""
    balancer = Balancer(make_strategy("round_robin"))
    instances = weighted(a=1)
    balancer.update(instances)
    async with HealthChecks(balancer, lambda: instances, probe, 0.001, lambda: 0.5):
        yield balancer


async def test_thresholds() -> None:
    """Three bad probes in a row make it unhealthy, two good ones healthy again."""
    answers = [False, False, True, False, False, False, True, False, True, True, True]
    states: list[str] = []
    given = iter(answers)
    balancer: Balancer

    def answer() -> bool:
        states.append(balancer.states()["a"])  # what the probes before have led to
        return next(given, True)

    patients = Patients(answer)
    async with checked(patients.probe) as balancer:
        await patients.were_asked(len(answers))

    assert states[: len(answers)] == [*["healthy"] * 6, *["unhealthy"] * 4, "warming"]


@pytest.mark.parametrize("error", [OSError("refused"), ValueError("our bug"), TimeoutError()])
async def test_a_probe_that_raises_is_a_bad_one(error: Exception) -> None:
    """And the next ones are asked all the same."""

    def fail() -> bool:
        raise error

    patients = Patients(fail)
    async with checked(patients.probe) as balancer:
        await patients.were_asked(4)
        assert balancer.states()["a"] == "unhealthy"


async def test_a_probe_that_hangs_is_a_bad_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is broken off, so that the next ones are asked."""
    monkeypatch.setattr(checks, "PROBE_TIMEOUT", 0.001)
    patients = Patients(lambda: True)

    async def hang(name: str) -> bool:
        await patients.probe(name)
        return await asyncio.Event().wait()

    async with checked(hang) as balancer:
        await patients.were_asked(4)
        assert balancer.states()["a"] == "unhealthy"


async def test_leaving_ends_the_checks() -> None:
    """Nothing is left running, also in the middle of a probe."""
    asked = asyncio.Event()

    async def hang(name: str) -> bool:
        asked.set()
        return await asyncio.Event().wait()

    async with checked(hang):
        await asked.wait()

    assert asyncio.all_tasks() == {asyncio.current_task()}
