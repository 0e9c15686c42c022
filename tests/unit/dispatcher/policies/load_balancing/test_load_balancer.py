"""The balancer that an application uses without a gateway."""

import asyncio
import math
from random import Random
from typing import Any

import pytest

from api_gateway import LoadBalancer
from dispatcher.policies.load_balancing.load_balancer import NoInstance
from dispatcher.policies.load_balancing.strategy import StrategyName
from tests.unit.dispatcher.doubles import Clock

A, B, C = (f"http://10.0.0.{number}:8080" for number in (1, 2, 3))


def balancer(strategy: StrategyName = "round_robin", *urls: str) -> LoadBalancer:
    """One with these instances."""
    made = LoadBalancer(strategy, random=Random(1).random)
    for url in urls or (A, B):
        made.add(url)
    return made


def fail(of: LoadBalancer, times: int = 5) -> None:
    """Call the first instance so often, in vain."""
    for _ in range(times):
        of.pick(avoid=[B, C]).failed()


def test_the_constructor_of_the_documentation() -> None:
    """Strategy, interval and window by name, as people know them."""
    found = LoadBalancer(strategy="adaptive", health_check_interval=30, metrics_window=300)
    found.add(A)

    assert found.pick().url == A


def test_without_instances() -> None:
    """There is nothing to pick before one is added, nor after the last is removed."""
    found = LoadBalancer()
    with pytest.raises(NoInstance):
        found.pick()
    found.add(A + "/")
    found.remove(A)
    with pytest.raises(LookupError):
        found.pick()


def test_instances_take_turns_by_weight() -> None:
    """To add one again changes it."""
    found = balancer("weighted_round_robin", A, B)
    found.add(A, weight=2)

    assert [found.pick().url for _ in range(6)] == [A, B, A, A, B, A]


def test_the_end_of_the_block_is_the_end_of_the_call() -> None:
    """While one call is under way there, the next goes elsewhere; afterwards not."""
    found = balancer("least_connections")
    with found.pick() as first, found.pick() as second:
        assert {first.url, second.url} == {A, B}
        third = found.pick()
    third.succeeded()
    with found.pick() as one, found.pick() as other:
        assert {one.url, other.url} == {A, B}


def test_an_exception_is_a_failure() -> None:
    """It passes on; five in a row eject the instance."""
    found = balancer()
    for _ in range(5):
        with pytest.raises(ConnectionError), found.pick(avoid=[B]):
            raise ConnectionError

    assert found.states == {A: "ejected", B: "healthy"}
    assert {found.pick().url for _ in range(4)} == {B}


def test_a_failure_by_word() -> None:
    """An answer may be a failure too; the first word counts."""
    found = balancer()
    for _ in range(5):
        with found.pick(avoid=[B]) as pick:
            pick.failed()
            pick.succeeded()

    assert found.states[A] == "ejected"


def test_cancellation_says_nothing() -> None:
    """A caller that gave up is no reason to blame the instance, nor to praise it."""
    found = balancer()
    fail(found, times=4)
    with pytest.raises(asyncio.CancelledError), found.pick(avoid=[B]):
        raise asyncio.CancelledError
    assert found.states[A] == "healthy"

    fail(found, times=1)
    assert found.states[A] == "ejected"


def test_time_is_measured() -> None:
    """Who answers slowly is picked less, by the clock that was given."""
    clock = Clock(0.0)
    found = LoadBalancer(clock=clock, random=Random(1).random)
    for url in (A, B):
        found.add(url)
        with found.pick(avoid=[A] if url == B else ()):
            clock.now += 1.0 if url == A else 0.01

    assert {found.pick(avoid=()).url} == {B}


def test_the_own_zone_is_preferred() -> None:
    """As in the gateway."""
    found = LoadBalancer("round_robin", zone="z1")
    found.add(A, zone="z1")
    found.add(B, zone="z2")

    assert {found.pick().url for _ in range(4)} == {A}


@pytest.mark.parametrize(
    "arguments",
    [
        {"strategy": "fastest"},
        {"health_check_interval": 0},
        {"health_check_interval": "30"},
        {"health_check_interval": math.inf},
        {"metrics_window": -1},
        {"metrics_window": None},
        {"health_check_path": "health"},
        {"health_check_path": "/a b"},
        {"health_check_path": "/#a"},
        {"health_check_path": "/\u00e9"},
        {"health_check_path": None},
    ],
)
def test_values_that_cannot_be_used(arguments: dict[str, Any]) -> None:
    """They are refused at once, by name."""
    with pytest.raises(ValueError, match=next(iter(arguments))):
        LoadBalancer(**arguments)


def test_a_probe_can_be_called() -> None:
    """Else each check would fail, and no instance be healthy."""
    probe: Any = 5
    with pytest.raises(TypeError, match="a probe is called with the URL of an instance: 5"):
        LoadBalancer(probe=probe)


@pytest.mark.parametrize(
    ("url", "weight"), [("10.0.0.1:8080", 1), (A, 0), ("ftp://x", 1), ("http://a b", 1)]
)
def test_instances_that_cannot_be_used(url: str, weight: int) -> None:
    """They are not added."""
    found = LoadBalancer()
    with pytest.raises(ValueError, match=r"URL|weight|visible"):
        found.add(url, weight=weight)
    assert found.states == {}


@pytest.mark.parametrize("weight", [1.5, 0, "2", None, True])
def test_a_weight_is_a_whole_number(weight: Any) -> None:
    """Anything else is refused in words, and nothing is added."""
    found = LoadBalancer()
    with pytest.raises(ValueError, match="whole number"):
        found.add(A, weight=weight)
    with pytest.raises(NoInstance):
        found.pick()


def test_a_url_is_text() -> None:
    """To add and to remove."""
    found: Any = LoadBalancer()
    for change in (found.add, found.remove):
        with pytest.raises(TypeError, match="text, not None"):
            change(None)
