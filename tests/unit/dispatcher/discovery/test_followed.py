"""What is known of a service, who is told, and when it is read again."""

from collections.abc import Sequence

from dispatcher.discovery.followed import Followed, Reading
from dispatcher.discovery.registration import Lease

A, B = Lease("http://a", 30.0), Lease("http://b", 60.0)


class Told:
    """A follower, and what it has been told of."""

    def __init__(self, followed: Followed | None = None) -> None:
        self.news: list[list[str]] = []
        self.followed = followed or Followed("users")
        self.followed.join(self.hear)

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


def test_who_comes_later_hears_what_is_known() -> None:
    """At once; of a service that was never read, nothing, as that is not the same as nobody."""
    first = Told()
    early = Told(first.followed)
    assert early.news == []
    first.take()
    first.take(A)
    assert early.news == first.news == [[], ["http://a"]]
    assert Told(first.followed).news == [["http://a"]]


def test_who_has_left_is_told_nothing() -> None:
    """The others still are; the last one to leave is noticed."""
    gone = Told()
    stays = Told(gone.followed)
    assert gone.followed.leave(gone.hear)
    stays.take(A)
    assert (gone.news, stays.news) == ([], [["http://a"]])
    assert not gone.followed.leave(stays.hear)


def test_a_loss_of_data_is_noticed() -> None:
    """By another epoch; who has read nothing yet has lost nothing."""
    told, empty = Told(), Reading("e2", {}, {})
    assert not told.followed.outlives(empty)
    told.take(A, epoch="e1")
    assert told.followed.outlives(empty)
    told.take(epoch="e2")
    assert not told.followed.outlives(empty)
