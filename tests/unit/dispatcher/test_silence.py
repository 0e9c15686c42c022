"""How long an upstream may keep silent, on a clock that the test moves."""

from collections.abc import Callable
from typing import Any, cast

from dispatcher.silence import Silence


class Loop:
    """A loop whose time is the test's."""

    def __init__(self) -> None:
        self.now = 100.0
        self._timers: list[tuple[float, Callable[[], object]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], object]) -> None:
        self._timers.append((self.now + delay, callback))

    def pass_(self, seconds: float) -> None:
        """Let time pass, and call what is due meanwhile."""
        until = self.now + seconds
        while due := [timer for timer in self._timers if timer[0] <= until]:
            timer = min(due, key=lambda timer: timer[0])
            self._timers.remove(timer)
            self.now = timer[0]
            timer[1]()
        self.now = until

    @property
    def waits(self) -> bool:
        return bool(self._timers)


class Bench:
    """A connection with a limit of 10 seconds."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.due = True
        self.unwritten = 0
        self.given_up_at: list[float] = []
        self.silence = Silence(
            cast(Any, self.loop), 10, cast(Any, self), lambda: self.due, self._give_up
        )
        self.silence.begin()

    def get_write_buffer_size(self) -> int:
        return self.unwritten

    def _give_up(self) -> None:
        self.due = False
        self.given_up_at.append(self.loop.now)


def test_silence_from_the_start() -> None:
    """It is given up when the limit is over."""
    bench = Bench()
    bench.loop.pass_(60)
    assert bench.given_up_at == [110]
    assert not bench.loop.waits


def test_every_byte_counts_anew() -> None:
    """An upstream that drips is not silent; the limit runs from its last byte."""
    bench = Bench()
    for _ in range(5):
        bench.loop.pass_(9)
        bench.silence.heard()
    assert bench.given_up_at == []
    bench.loop.pass_(60)
    assert bench.given_up_at == [155]


def test_what_is_not_told_yet_can_not_be_answered() -> None:
    """While the request is being written the limit does not run."""
    bench = Bench()
    bench.unwritten = 1
    bench.loop.pass_(35)
    assert bench.given_up_at == []
    bench.unwritten = 0
    bench.loop.pass_(60)
    assert len(bench.given_up_at) == 1


def test_an_idle_connection_may_be_silent() -> None:
    """After the response nothing is due, and no timer is left; the next request begins anew."""
    bench = Bench()
    bench.due = False
    bench.loop.pass_(60)
    assert not bench.loop.waits
    bench.due = True
    bench.silence.begin()
    bench.loop.pass_(60)
    assert bench.given_up_at == [170]


def test_a_new_request_is_not_blamed_for_the_old_ones_silence() -> None:
    """A request that follows at once has the whole limit, on the timer that runs already."""
    bench = Bench()
    bench.loop.pass_(9)
    bench.silence.begin()
    bench.loop.pass_(9)
    assert bench.given_up_at == []
    bench.loop.pass_(60)
    assert bench.given_up_at == [119]
