"""What tells a limit, and who keeps count."""

from config.models.services import Concurrency
from dispatcher.call_end import Load
from dispatcher.policies.concurrency import FixedLimit, Limiter, limiter_of
from dispatcher.policies.gradient import GradientLimit


class Heard:
    """A limit that keeps what it hears."""

    settled = current = upper = 5

    def __init__(self) -> None:
        self.calls: list[tuple[str, float, int, bool]] = []

    def ended(self, route: str, seconds: float, in_flight: int, dropped: bool) -> None:
        self.calls.append((route, seconds, in_flight, dropped))


def test_the_count() -> None:
    """The limit hears how many calls were under way, that one included; not of ignored ones."""
    heard = Heard()
    limiter = Limiter(heard)
    for _ in range(3):
        limiter.began()
    limiter.ended("users", 0.5, Load.SERVED)
    limiter.ended("users", 0.1, Load.IGNORED)
    limiter.ended("orders", 0.2, Load.DROPPED)

    assert heard.calls == [("users", 0.5, 3, False), ("orders", 0.2, 1, True)]
    assert limiter.in_flight == 0


def test_modes() -> None:
    """A fixed limit is what was set; an adaptive one has that as its upper bound."""
    fixed = limiter_of(Concurrency(limit=7)).limit
    adaptive = limiter_of(Concurrency(mode="adaptive", limit=49)).limit

    assert isinstance(fixed, FixedLimit)
    assert (fixed.current, fixed.upper) == (7, 7)
    assert isinstance(adaptive, GradientLimit)
    assert (adaptive.current, adaptive.upper) == (7, 49)
