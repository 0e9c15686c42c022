"""Who may take a call, and what is remembered."""

import pytest

from dispatcher.call_end import Verdict
from dispatcher.policies.load_balancing.balancer import Balancer
from dispatcher.policies.load_balancing.strategy import StrategyName, make_strategy
from tests.unit.dispatcher.policies.load_balancing.simulation import Fleet, weighted

STRATEGIES: list[StrategyName] = [
    "round_robin",
    "least_connections",
    "weighted_round_robin",
    "adaptive",
]


@pytest.fixture(params=STRATEGIES)
def fleet(request: pytest.FixtureRequest) -> Fleet:
    """Three instances under each strategy."""
    return Fleet(request.param, weighted(a=2, b=1, c=1))


def test_nobody_there_nobody_picked() -> None:
    """Of no instances, none is picked."""
    assert Balancer(make_strategy("adaptive")).pick(()) is None


def test_a_retry_avoids_those_that_were_tried(fleet: Fleet) -> None:
    """Another one while there is another; when all were tried, any of them."""
    assert {fleet.pick(avoid={"a"}) for _ in range(20)} <= {"b", "c"}
    assert {fleet.pick(avoid={"a", "c"}) for _ in range(20)} == {"b"}
    assert fleet.pick(avoid={"a", "b", "c"}) in "abc"


def test_a_retry_does_not_go_to_an_ejected_one(fleet: Fleet) -> None:
    """It rather goes to one that was tried than to one that is known to fail."""
    fleet.fail("a")

    assert {fleet.pick(avoid={"b"}) for _ in range(20)} == {"c"}
    assert {fleet.pick(avoid={"b", "c"}) for _ in range(20)} <= {"b", "c"}


def test_probes_take_instances_out_and_back(fleet: Fleet) -> None:
    """An unhealthy one gets nothing; news are told once each; unknown names are nothing."""
    fleet.balancer.set_probed("a", healthy=False)
    fleet.balancer.set_probed("a", healthy=False)
    fleet.balancer.set_probed("nobody", healthy=False)
    assert set(fleet.picks(30)) == {"b", "c"}
    assert fleet.state("a") == "unhealthy"

    fleet.balancer.set_probed("a", healthy=True)
    assert fleet.state("a") == "warming"
    assert fleet.news.told == ["a unhealthy", "a returned"]


def test_probes_do_not_end_an_ejection(fleet: Fleet) -> None:
    """An instance that answers probes and fails calls stays out until its time is over."""
    fleet.fail("a")
    fleet.balancer.set_probed("a", healthy=False)
    fleet.balancer.set_probed("a", healthy=True)

    assert fleet.state("a") == "ejected"
    assert "a" not in fleet.picks(30)


def test_under_half_healthy_means_panic(fleet: Fleet) -> None:
    """When two of three are unhealthy, all are used; when one is back, only those that are well."""
    fleet.balancer.set_probed("a", healthy=False)
    fleet.balancer.set_probed("b", healthy=False)
    found = {fleet.call() for _ in range(100)}
    assert found == {"a", "b", "c"}

    fleet.balancer.set_probed("a", healthy=True)
    assert {fleet.call() for _ in range(100)} == {"a", "c"}


def test_an_ejection_never_causes_panic(fleet: Fleet) -> None:
    """Who would leave under half of them is not ejected, though only probes took others out."""
    fleet.balancer.set_probed("a", healthy=False)
    fleet.fail("b")

    assert fleet.state("b") == "healthy"
    assert "a" not in {fleet.pick() for _ in range(30)}


def test_state_survives_another_list(fleet: Fleet) -> None:
    """Who keeps its name keeps its state, whatever else changes."""
    fleet.fail("a")
    fleet.fail("b", times=4)
    fleet.instances = weighted(a=9, b=3, d=1)
    assert "a" not in fleet.picks(30)

    fleet.fail("b", times=1)

    assert fleet.news.told == ["a ejected for 30"]  # b would be the second of three
    fleet.clock.now += 30
    fleet.picks(1)
    fleet.fail("b", times=1)
    assert fleet.state("b") == "ejected"


def test_state_survives_another_strategy(fleet: Fleet) -> None:
    """A service that gets another strategy goes on with what is known, and with all weights."""
    fleet.fail("c")
    fleet.balancer.use(make_strategy("weighted_round_robin"))
    assert fleet.picks(6) == "abaaba"

    fleet.balancer.use(make_strategy("round_robin"))
    assert fleet.picks(4) == "abab"


def test_requests_of_the_old_configuration_take_nothing_away(fleet: Fleet) -> None:
    """While requests under way still use an old list, nobody loses state or warms up anew."""
    old, new = fleet.instances, weighted(a=2, d=1, e=1)
    fleet.instances = new
    fleet.picks(1)
    fleet.clock.now += 30
    fleet.fail("d", times=4)

    fleet.instances = old
    fleet.picks(1)
    fleet.instances = new
    fleet.picks(1)

    assert fleet.state("e") == "healthy"
    fleet.fail("d", times=1)
    assert fleet.state("d") == "ejected"


def test_nothing_is_kept_of_those_that_are_gone(fleet: Fleet) -> None:
    """10,000 instances that came and went leave nothing behind."""
    for number in range(10_000):
        fleet.instances = weighted(**{f"n{number}": 1})
        fleet.picks(1)
        fleet.clock.now += 1

    assert len(fleet.balancer._by_name) <= 61
    assert list(fleet.balancer.states()) == ["n9999"]


def test_calls_of_an_instance_that_is_gone(fleet: Fleet) -> None:
    """Their ends do no harm: neither when it is unknown, nor when it has come back meanwhile."""
    a, old = fleet.instances[0], fleet.instances
    fleet.balancer.began(a)
    fleet.balancer.began(a)
    for instances in (weighted(b=1), weighted(c=1)):
        fleet.instances = instances
        fleet.picks(1)
        fleet.clock.now += 61
    fleet.balancer.ended(a, Verdict.FAILURE, 1.0)

    fleet.instances = old
    fleet.picks(1)
    fleet.balancer.ended(a, Verdict.FAILURE, 1.0)

    assert fleet.balancer._by_name["a"].in_flight == 0
