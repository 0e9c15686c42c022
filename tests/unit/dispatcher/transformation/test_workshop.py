"""Where a body is changed, and until when."""

import asyncio
import json
import threading
from collections.abc import Sequence

import pytest

from config.models.transforms import BodyTransform
from dispatcher.transformation import workshop
from dispatcher.transformation.bodies import TransformExpired, TransformFailed, changed
from dispatcher.transformation.budget import Budget
from dispatcher.transformation.rules import LARGE, Rules
from dispatcher.transformation.sandbox import Sandbox
from dispatcher.transformation.workshop import BodyWork, Workshop
from tests.unit.dispatcher.doubles import NOW, Clock, settled

COSTLY = "{% for a in s %}{% for b in s %}{% endfor %}{% endfor %}"
LARGE_BODY = json.dumps({"old": "x" * LARGE}).encode()


def rules(template: str = "{{ 1 }}") -> Rules:
    return Rules("t", BodyTransform.model_validate({"template": {"x": template}}), Sandbox())


def work(rule: Rules, body: bytes = b'{"old":1}') -> BodyWork:
    return BodyWork(body, b"", [rule], 10**7)


class Placed:
    """Notes on which threads bodies are changed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.on_the_loop: list[bool] = []
        monkeypatch.setattr(workshop, "changed", self._changed)

    def _changed(
        self, body: bytes, coding: bytes, rules: Sequence[Rules], limit: int, budget: Budget
    ) -> bytes:
        self.on_the_loop.append(threading.current_thread() is threading.main_thread())
        return changed(body, coding, rules, limit, budget)


async def test_a_small_body_is_changed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large one by a thread."""
    placed, bench = Placed(monkeypatch), Workshop(Clock())
    assert await bench.changed(work(rules()), "a", NOW + 10) == b'{"x":"1"}'
    assert await bench.changed(work(rules(), LARGE_BODY), "a", NOW + 10) == b'{"x":"1"}'
    assert placed.on_the_loop == [True, False]


async def test_a_costly_body_goes_to_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the loop has tried for a moment; the next like it goes there straight away."""
    placed, bench, rule = Placed(monkeypatch), Workshop(Clock()), rules(COSTLY)
    body = json.dumps({"s": "x" * 20_000}).encode()
    for _ in range(2):
        with pytest.raises(TransformFailed, match=r"0\.05 s"):
            await bench.changed(work(rule, body), "a", NOW + 10)
    assert placed.on_the_loop == [True, False, False]


def test_what_turns_out_cheap_comes_back_to_the_loop() -> None:
    """A machine that was busy once does not send it away for ever."""
    rule = rules()
    one = work(rule, b"x" * 1000)
    one.learn(0.02)
    assert not one.is_small
    one.learn(0.0001)
    assert one.is_small
    assert not work(rule, b"x" * 2000).is_small


async def test_nobody_waits_beyond_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has not begun by then is not begun."""
    begun = list[bytes]()
    go_on = threading.Event()

    def held(body: bytes, *_: object) -> bytes:
        begun.append(body)
        go_on.wait(10)
        return b"{}"

    monkeypatch.setattr(workshop, "changed", held)
    bench, rule = Workshop(Clock()), rules()
    first = asyncio.create_task(bench.changed(work(rule, LARGE_BODY), "a", NOW + 10))
    await settled()
    try:
        with pytest.raises(TransformExpired):
            await bench.changed(work(rule, LARGE_BODY + b" "), "a", NOW + 0.05)
        with pytest.raises(TransformExpired):
            await bench.changed(work(rule, LARGE_BODY + b" "), "a", NOW)
    finally:
        go_on.set()
    assert await first == b"{}"
    assert await bench.changed(work(rule, LARGE_BODY), "a", NOW + 10) == b"{}"
    assert begun == [LARGE_BODY, LARGE_BODY]
