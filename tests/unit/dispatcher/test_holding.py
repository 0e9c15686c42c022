"""Where messages wait for a breaker."""

from dispatcher.holding import Holding
from dispatcher.settle import Work
from tests.unit.dispatcher.doubles import RecordingDelivery, envelope


def test_what_is_asked_for_is_taken_out() -> None:
    """Some, then all that are left; both keep their order."""
    holding = Holding()
    works = [Work(RecordingDelivery(envelope(id_), redelivered=False, log=[])) for id_ in "abcd"]
    for each in works:
        holding.add(each)

    assert holding.take_those(lambda work: work.envelope.id in "db") == [works[1], works[3]]
    assert len(holding) == 2
    assert holding.take_all() == [works[0], works[2]]
    assert not holding
