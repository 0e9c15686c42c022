"""The balancer of one service: who may take the call, then whose it is, then how it went."""

import random as randomness
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from math import inf

from dispatcher.call_end import Verdict
from dispatcher.policies.load_balancing import slow_start
from dispatcher.policies.load_balancing.ejection import FAILURES_IN_A_ROW
from dispatcher.policies.load_balancing.member import Member, State
from dispatcher.policies.load_balancing.strategy import Strategy
from dispatcher.policies.load_balancing.zones import Preference, prefer
from dispatcher.service_discovery import Instance

# Seconds. Requests under way may still use the instances of before a change, and DNS may forget one
# for a moment.
_REMEMBERED = 60.0


class InstanceListener:
    """Hears of an instance that goes out, and comes back."""

    def ejected(self, instance: str, seconds: float) -> None:
        """It failed too many calls in a row, and gets no more for so long."""

    def unhealthy(self, instance: str) -> None:
        """It failed its probes."""

    def returned(self, instance: str) -> None:
        """It gets calls again."""

    def panicked(self, healthy: int, known: int) -> None:
        """So few are healthy that all get calls."""

    def calmed(self) -> None:
        """Enough are healthy again: only those get calls."""


class Balancer:
    """Picks instances of one service, and keeps what is known of them by their names.

    At most half of the instances are out on the word of calls; where more are (because of probes),
    all are used: some that answer are better than none (Envoy's panic threshold). ``zone`` is the
    own one, ``clock`` gives seconds of a monotonic clock, ``random`` numbers from 0 to 1.
    """

    def __init__(
        self,
        strategy: Strategy,
        *,
        zone: str | None = None,
        listener: InstanceListener | None = None,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = randomness.random,
    ) -> None:
        self._strategy = strategy
        self._zone = zone
        self._listener = listener or InstanceListener()
        self._clock = clock
        self._random = random
        self._instances: Sequence[Instance] = ()
        self._by_name: dict[str, Member] = {}  # and those that left not long ago
        self._members: Sequence[Member] = ()
        self._preference = Preference(())
        self._panicking = False
        self._since = 0.0  # when the first of them came
        self._due = inf  # when time alone changes the preference or a share

    # --- one call -------------------------------------------------------------------------------

    def pick(self, instances: Sequence[Instance], avoid: Collection[str] = ()) -> Instance | None:
        """The one to call, None only where there is none.

        ``avoid`` has the names of those that were tried; they come back only if all were.
        """
        if instances is not self._instances:
            self.update(instances)
        now = self._clock()
        if now >= self._due:
            self._refresh(now)
        first, others, part = self._preference
        members = first if part >= 1.0 or self._random() < part else others
        if avoid:
            members = self._untried(members, avoid)
        return self._strategy.pick(members, now).instance if members else None

    def began(self, instance: Instance) -> None:
        """It is being called."""
        member = self._by_name.get(instance.name)
        if member is not None:
            member.in_flight += 1

    def ended(self, instance: Instance, verdict: Verdict, seconds: float) -> None:
        """A call that began has ended; ``seconds`` is how long it took."""
        member = self._by_name.get(instance.name)
        if member is None:
            return
        if member.in_flight:  # it may have left and come back since the call began
            member.in_flight -= 1
        now = self._clock()
        if verdict is Verdict.LATE:
            silent = member.ejection.silent(now - seconds, now)
            verdict = Verdict.FAILURE if silent else Verdict.UNKNOWN
        if verdict is Verdict.SUCCESS:
            member.ejection.succeeded()
        elif verdict is Verdict.FAILURE:
            self._failed(member, now)
        self._strategy.observe(member, verdict, seconds, now)

    # --- news -----------------------------------------------------------------------------------

    def update(self, instances: Sequence[Instance]) -> None:
        """Go over to these; what is known of an instance stays with its name."""
        now = self._clock()
        known = self._by_name
        for member in known.values():
            if member.left_at is None:
                member.left_at = now
        self._by_name = {
            name: member
            for name, member in known.items()
            if member.left_at is None or now - member.left_at < _REMEMBERED
        }
        self._instances = instances
        if not known:
            self._since = now
        present = {one.name: self._member(one, now) for one in instances}
        self._members = tuple(present.values())
        self._refresh(now)

    def use(self, strategy: Strategy) -> None:
        """Pick by another strategy from now on."""
        self._strategy = strategy
        for member in self._members:
            member.turn = 0.0
        self._refresh(self._clock())

    def set_probed(self, name: str, healthy: bool) -> None:
        """What active probes found out. A name that isn't known is ignored."""
        member = self._by_name.get(name)
        if member is None or member.probed_healthy is healthy:
            return
        member.probed_healthy = healthy
        if not healthy:
            member.out = True
            self._listener.unhealthy(name)
        self._refresh(self._clock())

    def states(self) -> Mapping[str, State]:
        """Every instance's state now, by name."""
        now = self._clock()
        return {member.name: member.state(now) for member in self._members}

    @property
    def panicking(self) -> bool:
        """Whether all are used now, as under half of them are healthy."""
        now = self._clock()
        return _too_few(sum(member.available(now) for member in self._members), self._members)

    # --- inside ---------------------------------------------------------------------------------

    def _member(self, instance: Instance, now: float) -> Member:
        member = self._by_name.get(instance.name)
        if member is None:
            member = self._by_name[instance.name] = Member(instance)
            if now - self._since >= slow_start.WINDOW:  # else all are new, and share alike
                member.warming_since = now
        member.instance = instance
        member.left_at = None
        member.turn = 0.0  # turns that were earned with other weights, or among others
        return member

    def _refresh(self, now: float) -> None:
        """Find out anew who may take calls, and each one's share; until time changes it."""
        due = inf
        for member in self._members:
            if member.out and member.available(now):
                member.out = False
                member.warming_since = now
                self._listener.returned(member.name)
            weight = member.instance.weight if self._strategy.weighted else 1
            member.share = weight * slow_start.factor(now - member.warming_since)
            due = min(due, member.changes_at(now))
        self._due = due
        healthy = [member for member in self._members if member.available(now)]
        panicking = _too_few(len(healthy), self._members)
        if panicking:
            self._preference = Preference(self._members)
        else:
            self._preference = prefer(self._zone, healthy, self._members)
        if panicking is not self._panicking:
            self._panicking = panicking
            if panicking:
                self._listener.panicked(len(healthy), len(self._members))
            else:
                self._listener.calmed()

    def _untried(self, members: Sequence[Member], avoid: Collection[str]) -> Sequence[Member]:
        """Without those; rather one of another zone than one of them."""
        untried = [member for member in members if member.name not in avoid]
        if untried:
            return untried
        everybody = (*self._preference.first, *self._preference.others)
        return [member for member in everybody if member.name not in avoid] or members

    def _failed(self, member: Member, now: float) -> None:
        """Count it, and eject an instance that has failed too often."""
        ejection = member.ejection
        if ejection.active(now) or member.left_at is not None:
            return
        ejection.failures += 1
        if ejection.failures >= FAILURES_IN_A_ROW and self._may_be_missed(member, now):
            seconds = ejection.begin(now)
            member.out = True
            self._listener.ejected(member.name, seconds)
            self._refresh(now)

    def _may_be_missed(self, member: Member, now: float) -> bool:
        """Whether half of the instances stay without it."""
        others_out = sum(not other.available(now) for other in self._members if other is not member)
        return 2 * (others_out + 1) <= len(self._members)


def _too_few(healthy: int, members: Sequence[Member]) -> bool:
    """Whether the load of all would be too much for those."""
    return 2 * healthy < len(members)
