"""Who is next: the services that have something waiting take turns. Pure: no clock, no I/O."""

from collections import deque
from collections.abc import Collection
from typing import Generic, TypeVar

Item = TypeVar("Item")


class FairQueue(Generic[Item]):
    """First come, first served within a service; one item a turn between them."""

    def __init__(self) -> None:
        self._lanes: dict[str, deque[Item]] = {}  # that are not empty, in the order of their turns

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self._lanes)

    def waiting(self, service: str) -> int:
        """How many of a service wait."""
        return len(self._lanes.get(service, ()))

    def add(self, service: str, item: Item) -> None:
        """Let it wait behind the others of its service."""
        self._lanes.setdefault(service, deque()).append(item)

    def take(self, but: Collection[str] = ()) -> tuple[str, Item] | None:
        """Whose turn it is, and what; None where nothing waits but of the services ``but``."""
        service = next((name for name in self._lanes if name not in but), None)
        if service is None:
            return None
        lane = self._lanes.pop(service)
        item = lane.popleft()
        if lane:
            self._lanes[service] = lane
        return service, item

    def discard(self, service: str, item: Item) -> None:
        """Nobody wants it any more, if it still waits."""
        lane = self._lanes.get(service)
        if lane is not None and item in lane:
            lane.remove(item)
            if not lane:
                del self._lanes[service]
