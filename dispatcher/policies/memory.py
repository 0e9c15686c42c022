"""What the policies of one service remember from call to call."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

from config.models.services import CircuitBreakerOptions, Service
from dispatcher.policies.circuit_breaker import CircuitBreaker, Transition
from dispatcher.policies.concurrency import Limiter, limiter_of
from dispatcher.policies.last_good import LastGoodAnswers
from dispatcher.policies.retry import RetryBudget


@dataclass(frozen=True, slots=True)
class Memory:
    """It outlives the pipelines: a change of the configuration elsewhere must not wipe it out."""

    service: Service
    budget: RetryBudget
    limiter: Limiter
    breaker: CircuitBreaker | None = None
    last_good: LastGoodAnswers | None = None

    @classmethod
    def of(
        cls,
        service: Service,
        changed: Callable[[str, Transition], None],
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> Self:
        """A fresh one.

        ``changed`` hears of its breaker by service; ``clock`` gives seconds, ``now`` Unix seconds.
        """
        budget, limiter = RetryBudget(clock=clock), limiter_of(service.concurrency, now)
        options = service.circuit_breaker
        if options is None:
            return cls(service, budget, limiter)

        breaker = _breaker(options, partial(changed, service.name), clock)
        last_good = LastGoodAnswers(options.last_good, clock) if options.last_good else None
        return cls(service, budget, limiter, breaker, last_good)

    def under(self, service: Service, now: Callable[[], float] = time.time) -> Self:
        """The same under other settings that it fits; with other slots, another limiter."""
        if service.concurrency == self.service.concurrency:
            return replace(self, service=service)
        return replace(self, service=service, limiter=limiter_of(service.concurrency, now))

    def fits(self, service: Service) -> bool:
        """Whether it is right for these settings too: the same breaker, and some address in common.

        Instances come and go while the service is the same: an outage must not be forgotten because
        one was added.
        """
        old = self.service
        if (old.circuit_breaker, old.discovery) != (service.circuit_breaker, service.discovery):
            return False
        urls = {instance.url for instance in service.addresses}
        return old.addresses == service.addresses or any(
            instance.url in urls for instance in old.addresses
        )


def _breaker(
    options: CircuitBreakerOptions,
    changed: Callable[[Transition], None],
    clock: Callable[[], float],
) -> CircuitBreaker:
    return CircuitBreaker(
        options.failure_threshold,
        options.reset_timeout,
        half_open_max_calls=options.half_open_max_calls,
        failure_rate=options.failure_rate,
        slow_call_rate=options.slow_call_rate,
        slow_call_duration=options.slow_call_duration,
        window=options.window,
        minimum_calls=options.minimum_calls,
        listener=changed,
        clock=clock,
    )
