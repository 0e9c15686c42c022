"""Where messages wait for a breaker to close, without taking a slot from anybody."""

from collections.abc import Callable

from dispatcher.settle import Work


class Holding:
    """Keeps what was added, in its order."""

    def __init__(self) -> None:
        self._works: list[Work] = []

    def __len__(self) -> int:
        return len(self._works)

    def add(self, work: Work) -> None:
        """Have it wait."""
        self._works.append(work)

    def take_all(self) -> list[Work]:
        """Nothing waits any more."""
        works, self._works = self._works, []
        return works

    def take_those(self, which: Callable[[Work], bool]) -> list[Work]:
        """Take out those, in their order; the others wait on."""
        works, self._works = self._works, []
        taken: list[Work] = []
        for work in works:
            (taken if which(work) else self._works).append(work)
        return taken
