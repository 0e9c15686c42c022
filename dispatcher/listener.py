"""What happens in a dispatcher, for whoever counts or tells of it."""

from collections.abc import Callable, Iterable

from broker.messages import Envelope, Reply
from dispatcher.policies.circuit_breaker import CircuitBreaker, Transition

InstanceStates = Callable[[], Iterable[tuple[str, str, str]]]  # service, instance, state
Panics = Callable[[], Iterable[tuple[str, bool]]]  # service, whether all its instances are used


class DispatcherListener:
    """Hears what happens to messages and instances; metrics override what they count."""

    def consuming(
        self, service: str, in_flight: Callable[[], int], limit: Callable[[], int]
    ) -> None:
        """A service's messages are taken from now on.

        ``in_flight`` counts those under way, with those of services that fall back to it; ``limit``
        is how many may be.
        """

    def holding(self, service: str, held: Callable[[], int]) -> None:
        """``held`` counts, from now on, the service's messages that wait for its breaker."""

    def answered(self, envelope: Envelope, reply: Reply) -> None:
        """A reply went home."""

    def answered_late(self, envelope: Envelope, reply: Reply) -> None:
        """A reply was ready after the deadline and was not sent."""

    def expired(self, envelope: Envelope) -> None:
        """The deadline passed before the call, which was not made."""

    def redelivered(self, envelope: Envelope) -> None:
        """A message came that somebody may have taken before."""

    def dead_lettered(self, envelope: Envelope, reason: str) -> None:
        """A message could not be handled."""

    def balancing(self, states: InstanceStates, panics: Panics) -> None:
        """``states`` tells, from now on, in which state each instance of each service is.

        ``panics`` tells of which services all are used, as too few are healthy.
        """

    def instance_out(self, service: str, instance: str, reason: str) -> None:
        """An instance gets no more calls: it is ``ejected``, or found ``unhealthy`` by probes."""

    def instance_returned(self, service: str, instance: str) -> None:
        """It gets calls again."""

    def transformed(self, transform: str, ended: str) -> None:
        """A transform was applied, skipped a body that it can't change, or failed."""

    def guarding(self, service: str, breaker: CircuitBreaker) -> None:
        """A service has this circuit breaker from now on."""

    def unguarded(self, service: str) -> None:
        """A service has no circuit breaker any more."""

    def breaker_changed(self, service: str, transition: Transition) -> None:
        """A service's circuit breaker went over to another state."""

    def called(self, service: str, seconds: float) -> None:
        """A call of it ended after so long, however it ended."""

    def dropped(self, service: str) -> None:
        """A call was refused or not served in time: the service has too much to do, or is gone."""

    def retried(self, service: str) -> None:
        """A call is made once more."""

    def hedged(self, service: str) -> None:
        """A second call is made beside one that is late."""

    def retry_budget_exhausted(self, service: str) -> None:
        """A call would have been repeated, or hedged, but too many were."""

    def fell_back(self, service: str, to: str) -> None:
        """Answered while its breaker was open: by ``last_good``, ``service`` or ``response``."""

    def fallback_refused(self, service: str) -> None:
        """It was to be called instead of another service, and had no free slot."""
