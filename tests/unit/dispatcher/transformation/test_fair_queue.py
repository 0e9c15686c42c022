"""Whose turn it is."""

from dispatcher.transformation.fair_queue import FairQueue


def test_services_take_turns() -> None:
    """Each service's own order is that in which things came."""
    queue = FairQueue[int]()
    for item in (1, 2, 3):
        queue.add("a", item)
    queue.add("b", 4)
    assert [queue.take() for _ in range(5)] == [("a", 1), ("b", 4), ("a", 2), ("a", 3), None]
    assert not queue


def test_services_can_be_left_out() -> None:
    """They keep their place."""
    queue = FairQueue[int]()
    queue.add("a", 1)
    queue.add("b", 2)
    assert queue.take(but={"a"}) == ("b", 2)
    assert queue.take(but={"a"}) is None
    assert queue.take() == ("a", 1)


def test_what_nobody_wants_is_gone() -> None:
    """And is not counted; what has been taken can be discarded all the same."""
    queue = FairQueue[int]()
    queue.add("a", 1)
    queue.add("a", 2)
    queue.discard("a", 1)
    assert queue.waiting("a") == 1
    queue.discard("a", 2)
    queue.discard("a", 2)
    assert not queue
