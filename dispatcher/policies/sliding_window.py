"""Counts of what happened within the last seconds, in memory that does not grow with them."""

from collections import deque
from collections.abc import Callable

_SLICES = 10


class SlidingWindow:
    """Several counts over the last ``seconds``, forgotten a tenth of that time at once.

    ``columns`` is how many counts there are; ``totals`` are theirs, right after ``advance`` or
    ``add``. ``clock`` gives seconds.
    """

    def __init__(self, seconds: float, columns: int, clock: Callable[[], float]) -> None:
        self.totals = [0] * columns
        self._width = seconds / _SLICES
        self._columns = columns
        self._clock = clock
        self._slices: deque[tuple[int, list[int]]] = deque()  # number of a slice, its counts
        self._number = -1
        self._newest = self.totals

    def add(self, column: int) -> None:
        """Count one."""
        self.advance()
        self._newest[column] += 1
        self.totals[column] += 1

    def advance(self) -> None:
        """Forget what is over."""
        number = int(self._clock() / self._width)
        if number == self._number:
            return
        while self._slices and self._slices[0][0] <= number - _SLICES:
            _, gone = self._slices.popleft()
            for column, count in enumerate(gone):
                self.totals[column] -= count
        self._number = number
        self._newest = [0] * self._columns
        self._slices.append((number, self._newest))

    def clear(self) -> None:
        """Forget everything."""
        self.totals = [0] * self._columns
        self._slices.clear()
        self._number = -1
