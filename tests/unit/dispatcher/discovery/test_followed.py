"""How long a follower relies on what it has read."""

from collections.abc import Sequence

from dispatcher.discovery.followed import Followed, Reading
from dispatcher.discovery.registration import Lease

A, B = Lease("http://a", 30.0), Lease("http://b", 60.0)


class Told:
    """A follower, and what it has been told of."""

    def __init__(self) -> None:
        self.news: list[list[str]] = []
        self.followed = Followed("users", self.hear)

    def hear(self, leases: Sequence[Lease]) -> None:
        self.news.append([lease.url for lease in leases])

    def take(self, *leases: Lease, epoch: str = "e1", left: float = 20.0, now: float = 0) -> None:
        by_url = {lease.url: lease for lease in leases}
        self.followed.take(Reading(epoch, by_url, dict.fromkeys(by_url, left)), now)


def test_only_changes_are_told() -> None:
    """The first reading is, and then each that differs."""
    told = Told()
    told.take()
    told.take(B, A)
    told.take(A, B)
    told.take(A)
    assert told.news == [[], ["http://a", "http://b"], ["http://a"]]


def test_it_is_read_again_when_the_first_lease_may_have_ended() -> None:
    """Or after half a minute, and never at once."""
    told = Told()
    for left, due in ((20.0, 120.0), (3000.0, 130.0), (0.0, 100.05)):
        told.take(A, left=left, now=100.0)
        assert told.followed.due == due
    told.take(now=100.0)
    assert told.followed.due == 130.0


def test_a_loss_of_data_takes_nobody_away_at_once() -> None:
    """Each that was known has one TTL to report again; who does not is gone then."""
    told = Told()
    told.take(A, B)
    told.take(epoch="e2", now=100.0)
    assert told.news[-1] == ["http://a", "http://b"]
    assert told.followed.due == 130.0
    told.take(B, epoch="e2", now=110.0)
    told.take(B, epoch="e2", now=131.0)
    assert told.news == [["http://a", "http://b"], ["http://b"]]
    told.take(epoch="e2", now=132.0)
    assert told.news[-1] == []


def test_who_is_removed_is_not_missed() -> None:
    """Even if the registry had lost it."""
    told = Told()
    told.take(A, B)
    told.take(epoch="e2", now=1.0)
    told.followed.removed(A.url)
    told.take(epoch="e2", now=2.0)
    assert told.news[-1] == ["http://b"]
