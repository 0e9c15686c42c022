"""Whose message next: the turns of one service's tiers. Pure: no clock, no I/O."""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from config.models.tiers import Tier

Item = TypeVar("Item")

_SCALE = 1_000_000  # strides are whole numbers, so that a long run loses no precision


class _Lane(Generic[Item]):
    """One tier: what waits, when its next turn is by weight, and when at the latest by floor."""

    __slots__ = ("due", "items", "period", "start", "stride")

    def __init__(self, tier: Tier) -> None:
        self.items: deque[Item] = deque()
        self.stride = _SCALE // tier.weight
        self.start = 0
        self.period = int(min(1 / tier.floor, _SCALE)) if tier.floor else 0
        self.due = 0


class Turns(Generic[Item]):
    """Gives turns to the tiers that have work: by weight, and to each at least its floor.

    Weights are stride scheduling (Waldspurger and Weihl, 1995) with the start tags of start-time
    fair queueing (Goyal, Vin and Cheng, 1996): each turn of a tier takes 1/weight of virtual time,
    and the tier whose turn begins earliest in virtual time is next. Idle time earns nothing, so a
    tier that comes back never holds up the others, and a heavier one overtakes at once.

    A tier with a floor and work has a turn at least once in 1/floor turns, whatever the weights
    say. Where floors can't all be kept, the tier that is most overdue comes first.

    A turn costs O(number of tiers).
    """

    def __init__(self, tiers: Mapping[str, Tier]) -> None:
        self._lanes: dict[str, _Lane[Item]] = {name: _Lane(tier) for name, tier in tiers.items()}
        # Heaviest first, because the first of equals has the turn.
        self._order = sorted(self._lanes.values(), key=lambda lane: lane.stride)
        self._virtual_time = 0
        self._turn = 0
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting

    def add(self, tier: str, item: Item) -> None:
        """Let an item wait behind the others of its tier. Raises KeyError for an unknown tier."""
        lane = self._lanes[tier]
        if not lane.items:
            lane.start = max(lane.start, self._virtual_time)
            lane.due = self._turn + lane.period
        lane.items.append(item)
        self._waiting += 1

    def take(self) -> Item | None:
        """The item whose turn it is, or None if nothing waits."""
        if not self._waiting:
            return None
        self._turn += 1
        lane = self._next_lane()
        lane.start = self._virtual_time + lane.stride
        lane.due = self._turn + lane.period
        self._waiting -= 1
        return lane.items.popleft()

    def drain(self) -> list[Item]:
        """Take out all that waits, oldest of the heaviest tier first."""
        items = [item for lane in self._order for item in lane.items]
        for lane in self._order:
            lane.items.clear()
        self._waiting = 0
        return items

    def take_those(self, which: Callable[[Item], bool]) -> list[Item]:
        """Take out those, oldest of the heaviest tier first; the others keep their turns."""
        taken: list[Item] = []
        for lane in self._order:
            kept: deque[Item] = deque()
            for item in lane.items:
                (taken if which(item) else kept).append(item)
            lane.items = kept
        self._waiting -= len(taken)
        return taken

    def _next_lane(self) -> _Lane[Item]:
        """The lane most overdue by its floor, else the earliest by weight: its start is now."""
        earliest = overdue = None
        for lane in self._order:
            if not lane.items:
                continue
            if earliest is None or lane.start < earliest.start:
                earliest = lane
            if lane.period and lane.due <= self._turn and (not overdue or lane.due < overdue.due):
                overdue = lane
        if overdue is not None:
            return overdue
        assert earliest is not None  # noqa: S101 -- take() has seen that something waits
        self._virtual_time = earliest.start
        return earliest
