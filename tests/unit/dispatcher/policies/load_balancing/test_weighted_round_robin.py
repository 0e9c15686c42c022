"""Weighted turns, as nginx takes them."""

from hypothesis import given
from hypothesis import strategies as some

from dispatcher.policies.load_balancing.weighted_round_robin import smooth_turn
from tests.unit.dispatcher.policies.load_balancing.simulation import Fleet, members, weighted


class Peer:
    """As ngx_http_upstream_rr_peer_t."""

    def __init__(self, weight: int) -> None:
        self.weight = weight
        self.current_weight = 0
        self.down = False


def nginx_get_peer(peers: list[Peer]) -> int:
    """The loop of ngx_http_upstream_get_peer, line by line, for peers that don't fail."""
    total = 0
    best: int | None = None
    for number, peer in enumerate(peers):
        if peer.down:
            continue
        peer.current_weight += peer.weight
        total += peer.weight
        if best is None or peer.current_weight > peers[best].current_weight:
            best = number
    assert best is not None
    peers[best].current_weight -= total
    return best


def test_the_sequence_of_nginx() -> None:
    """Weights 5, 1, 1 give what nginx's own description of the algorithm shows."""
    fleet = Fleet("weighted_round_robin", weighted(a=5, b=1, c=1))

    assert fleet.picks(14) == "aabacaa" * 2


def test_other_sequences_of_nginx() -> None:
    """Equal weights are plain turns; 4, 3, 2 spreads nine turns as nginx does."""
    assert Fleet("weighted_round_robin", weighted(a=3, b=3, c=3)).picks(6) == "abcabc"
    assert Fleet("weighted_round_robin", weighted(a=4, b=3, c=2)).picks(9) == "abcabacba"


@given(
    weights=some.lists(some.integers(1, 1000), min_size=1, max_size=20),
    absences=some.lists(some.sets(some.integers(0, 19)), max_size=5),
)
def test_always_the_sequence_of_nginx(weights: list[int], absences: list[set[int]]) -> None:
    """Whatever the weights are, and whoever is away for a while, the turns are those of nginx."""
    peers = [Peer(weight) for weight in weights]
    ours = members(**{f"n{number}": weight for number, weight in enumerate(weights)})

    for absent in [set[int](), *absences]:
        present = [one for number, one in enumerate(ours) if number not in absent]
        if not present:
            continue
        for number, peer in enumerate(peers):
            peer.down = number in absent
        for _ in range(30):
            assert smooth_turn(present) is ours[nginx_get_peer(peers)]


def test_weights_that_change_begin_anew() -> None:
    """An instance that was heavy and has just had its turns does not have to wait for long."""
    fleet = Fleet("weighted_round_robin", weighted(a=1000, b=1))
    fleet.picks(500)
    fleet.instances = weighted(a=1, b=1)

    assert fleet.picks(4) == "abab"
