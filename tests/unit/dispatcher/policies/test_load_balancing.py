"""Which instance takes the next call."""

from dispatcher.policies.load_balancing import RoundRobin
from dispatcher.service_discovery import Instance
from dispatcher.upstream import Address

A, B, C = (Instance(name, Address("http", name, 80)) for name in "abc")


def test_round_robin_gives_each_its_turn() -> None:
    """Instances follow each other in their order, over and over."""
    balancer = RoundRobin()

    assert [balancer.pick((A, B, C)) for _ in range(7)] == [A, B, C, A, B, C, A]


def test_instances_may_come_and_go() -> None:
    """A shorter or longer list between two calls is no trouble."""
    balancer = RoundRobin()
    picked = [balancer.pick(instances) for instances in ((A, B, C), (A, B, C), (A,), (A, B), (B,))]

    assert picked == [A, B, A, B, B]


def test_nobody_there_nobody_picked() -> None:
    """Of no instances, none is picked; the next ones are served from their first."""
    balancer = RoundRobin()

    assert balancer.pick(()) is None
    assert balancer.pick((A, B)) is A
