"""The better of two."""

from collections import Counter
from random import Random

import pytest

from dispatcher.call_end import Verdict
from tests.unit.dispatcher.policies.load_balancing.simulation import (
    SEED,
    Behaviour,
    Fleet,
    Load,
    weighted,
)

FAST, SLOW = 0.01, 0.1


def one_slow(name: str) -> tuple[float, Verdict]:
    """Instance a is ten times slower."""
    return (SLOW if name == "a" else FAST), Verdict.SUCCESS


def load(instances: dict[str, int], behaviour: Behaviour, at_once: int = 16) -> Load:
    """A fleet of these under load, after a while."""
    made = Load(Fleet("adaptive", weighted(**instances)), at_once, behaviour)
    made.run(1000)
    made.forget()
    return made


def shares(calls: Counter[str]) -> dict[str, float]:
    """The part of the calls that each had."""
    return {name: count / calls.total() for name, count in calls.items()}


@pytest.mark.parametrize("at_once", [1, 4, 16, 64, 256])
def test_a_slow_one_does_not_show(at_once: int) -> None:
    """With one of three ten times slower, 99 of 100 calls are as fast as without it."""
    found = load({"a": 1, "b": 1, "c": 1}, one_slow, at_once)
    found.run(20_000)

    assert found.p99() == FAST
    assert shares(found.calls).get("a", 0) < 0.01


def test_round_robin_beside_it() -> None:
    """Turns send a third of the calls to the slow one: what the adaptive strategy is for."""
    found = Load(Fleet("round_robin", weighted(a=1, b=1, c=1)), 16, one_slow)
    found.run(3000)

    assert found.p99() == SLOW


def test_equals_get_equal_parts() -> None:
    """Instances that perform alike have a third each, within a twentieth."""
    found = load({"a": 1, "b": 1, "c": 1}, lambda _: (FAST, Verdict.SUCCESS))
    found.run(20_000)

    assert shares(found.calls) == pytest.approx({"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}, rel=0.05)


def test_weights_count() -> None:
    """Under load, an instance of weight 3 has about three times the calls of one of weight 1."""
    found = load({"a": 3, "b": 1}, lambda _: (FAST, Verdict.SUCCESS), at_once=64)
    found.run(20_000)

    assert found.calls["a"] / found.calls["b"] == pytest.approx(3, rel=0.1)


def test_a_rise_is_seen_at_once_and_a_fall_by_and_by() -> None:
    """One slow answer moves the calls away; they are back within the window."""
    speed = {"a": FAST, "b": FAST}
    found = load({"a": 1, "b": 1}, lambda name: (speed[name], Verdict.SUCCESS), at_once=4)
    speed["a"] = 1.0
    found.run(1000)
    assert shares(found.calls)["b"] > 0.95

    speed["a"] = FAST
    while found.calls["a"] < found.calls["b"]:
        found.forget()
        found.run(1000)

    assert found._fleet.clock.now < 300


def test_a_pause_of_all_is_soon_forgotten() -> None:
    """When everybody was as slow as the slowest for a moment, 500 calls later that is over."""
    pause = [0.0]

    def behaviour(name: str) -> tuple[float, Verdict]:
        return max(pause[0], one_slow(name)[0]), Verdict.SUCCESS

    found = load({"a": 1, "b": 1, "c": 1}, behaviour)
    pause[0] = SLOW
    found.run(100)
    pause[0] = 0.0
    found.run(500)
    found.forget()
    found.run(2000)

    assert found.p99() == FAST


@pytest.mark.parametrize(("failing", "most"), [(0.5, 0.01), (0.05, 0.1), (0.01, 0.2)])
def test_who_fails_gets_less(failing: float, most: float) -> None:
    """An instance that fails fast draws no calls by its speed; how few depends on how often."""
    numbers = iter(range(1_000_000))

    def behaviour(name: str) -> tuple[float, Verdict]:
        if name == "a" and next(numbers) % round(1 / failing) == 0:
            return FAST / 10, Verdict.FAILURE
        return FAST, Verdict.SUCCESS

    found = load({"a": 1, "b": 1, "c": 1}, behaviour)
    found.run(20_000)

    assert shares(found.calls).get("a", 0) < most


def test_rare_failures_don_t_matter() -> None:
    """One failure in 5,000 calls leaves an instance nearly all of its part."""
    numbers = iter(range(1_000_000))

    def behaviour(name: str) -> tuple[float, Verdict]:
        if name == "a" and next(numbers) % 5000 == 4999:
            return FAST, Verdict.FAILURE
        return FAST, Verdict.SUCCESS

    found = load({"a": 1, "b": 1, "c": 1}, behaviour)
    found.run(50_000)

    assert shares(found.calls)["a"] == pytest.approx(1 / 3, rel=0.1)


def test_who_is_unknown_gets_one_call_first() -> None:
    """Until it has answered once, a new instance has one call, whatever the others have."""
    fleet = Fleet("adaptive", weighted(a=1, b=1))
    fleet.end("b", Verdict.SUCCESS)
    begun = []
    for _ in range(50):
        one = fleet.balancer.pick(fleet.instances)
        assert one is not None
        fleet.balancer.began(one)
        begun.append(one.name)

    assert Counter(begun) == {"a": 1, "b": 49}


def test_a_first_call_that_fails_fast() -> None:
    """Nobody takes an instance for a fast one because it refuses fast."""
    fleet = Fleet("adaptive", weighted(a=1, b=1))
    fleet.end("b", Verdict.SUCCESS, 0.1)
    fleet.end("a", Verdict.FAILURE, 0.0001)

    assert fleet.picks(10) == "b" * 10


def test_one_slow_answer_among_many() -> None:
    """Where all are alike but for one slow answer in a hundred, each keeps about its part."""
    random = Random(SEED)

    def behaviour(name: str) -> tuple[float, Verdict]:
        usual = FAST * random.lognormvariate(0, 0.5)
        return (SLOW if random.random() < 0.01 else usual), Verdict.SUCCESS

    found = load({"a": 1, "b": 1, "c": 1}, behaviour)
    found.run(20_000)

    assert shares(found.calls) == pytest.approx({"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}, rel=0.1)


@pytest.mark.parametrize("at_once", [8, 16, 64])
def test_a_slow_one_does_not_show_in_noise(at_once: int) -> None:
    """Latencies that vary much hide nothing: the p99 is as without the slow one, within a tenth."""
    random = Random(SEED)

    def noisy(name: str) -> tuple[float, Verdict]:
        return one_slow(name)[0] * random.lognormvariate(0, 0.5), Verdict.SUCCESS

    alone = load({"b": 1, "c": 1}, noisy, at_once)
    alone.run(20_000)
    found = load({"a": 1, "b": 1, "c": 1}, noisy, at_once)
    found.run(20_000)

    assert found.p99() == pytest.approx(alone.p99(), rel=0.1)


def test_what_was_broken_off_tells_how_long_it_took_at_least() -> None:
    """A call that its client gave up after a long time makes the instance look slow, never fast."""
    fleet = Fleet("adaptive", weighted(a=1, b=1))
    for name in "ab":
        fleet.end(name, Verdict.SUCCESS, 0.01)
    fleet.end("a", Verdict.UNKNOWN, 0.5)
    fleet.end("b", Verdict.UNKNOWN, 0.0)

    assert fleet.picks(10) == "b" * 10


def test_what_is_long_ago_is_forgotten() -> None:
    """After a window without calls, who was slow or failed is as good as the others."""
    fleet = Fleet("adaptive", weighted(a=1, b=1), window=60)
    for _ in range(3):
        fleet.end("a", Verdict.FAILURE, 60.0)
        fleet.end("b", Verdict.SUCCESS, 0.01)
    assert fleet.picks(10) == "b" * 10

    fleet.clock.now += 60
    fleet.end("b", Verdict.SUCCESS, 0.01)

    assert fleet.picks(10) == "a" * 10


def test_one_slow_answer_is_not_the_last_word() -> None:
    """An instance that was slow once is still better than one that has a call under way."""
    fleet = Fleet("adaptive", weighted(a=1, b=1))
    for name in "abababa":
        fleet.end(name, Verdict.SUCCESS, 0.01)
    fleet.end("a", Verdict.SUCCESS, 0.03)
    fleet.end("b", Verdict.SUCCESS, 0.01)
    fleet.balancer.began(fleet.instances[1])

    assert fleet.picks(10) == "a" * 10


def test_who_has_not_answered_yet_is_not_forgiven() -> None:
    """What is known fades while an instance is idle, not while it lets a call wait."""
    fleet = Fleet("adaptive", weighted(a=1, b=1))
    fleet.end("a", Verdict.SUCCESS, 0.1)
    fleet.balancer.began(fleet.instances[0])
    fleet.clock.now += 100
    fleet.end("b", Verdict.SUCCESS, 0.01)

    assert fleet.picks(10) == "b" * 10
