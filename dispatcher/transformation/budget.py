"""How much work one body may cause."""

import time
from collections.abc import Callable


class TooMuchWork(Exception):
    """A transform takes too long, or makes too much text."""


class Budget:
    """What may be spent on one body: ``seconds`` on ``clock``, and ``characters`` of new text.

    The time begins with the first tick. By default it is the processor time of this thread, so that
    a busy machine is nobody's fault. ``out_of_time`` tells whether it ran out.
    """

    __slots__ = ("_characters", "_end", "_seconds", "_stopped", "clock", "out_of_time")

    def __init__(
        self, seconds: float, characters: int, clock: Callable[[], float] = time.thread_time
    ) -> None:
        self._seconds = seconds
        self._characters = characters
        self.clock = clock
        self._end = 0.0
        self._stopped = False
        self.out_of_time = False

    def tick(self) -> None:
        """Before each step of a loop, each call and each operation. Raises TooMuchWork."""
        if self._stopped:
            raise TooMuchWork("nobody waits for it any more")
        now = self.clock()
        if not self._end:
            self._end = now + self._seconds
        elif now > self._end:
            self.out_of_time = True
            raise TooMuchWork(f"it takes more than {self._seconds} s")

    def stop(self) -> None:
        """Let the next tick be the last one; from any thread."""
        self._stopped = True

    def spend(self, characters: int) -> None:
        """Before text is made. Raises TooMuchWork."""
        self._characters -= characters
        if self._characters < 0:
            raise TooMuchWork("it makes too much text")
