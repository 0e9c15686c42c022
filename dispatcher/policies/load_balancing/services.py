"""The balancers of all services of a dispatcher."""

import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence

from config.models.services import Service
from dispatcher.listener import DispatcherListener
from dispatcher.policies.load_balancing.balancer import Balancer, InstanceListener
from dispatcher.policies.load_balancing.strategy import StrategyName, make_strategy
from dispatcher.service_discovery import Instance

logger = logging.getLogger(__name__)


class Balancers:
    """One for each service, kept through changes of the configuration.

    ``zone`` is the dispatcher's own; ``clock`` gives seconds of a monotonic clock.
    """

    def __init__(
        self,
        listener: DispatcherListener,
        zone: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._listener = listener
        self._zone = zone
        self._clock = clock
        self._by_service: dict[str, Balancer] = {}
        self._strategies: dict[str, StrategyName] = {}
        listener.balancing(self._states, self._panics)

    def of(self, service: Service, instances: Sequence[Instance]) -> Balancer:
        """The service's balancer, with its strategy as configured now, for these instances."""
        name = service.name
        balancer = self._by_service.get(name)
        if balancer is None:
            balancer = self._by_service[name] = Balancer(
                make_strategy(service.strategy),
                zone=self._zone,
                listener=_News(name, self._listener),
                clock=self._clock,
            )
        elif self._strategies[name] != service.strategy:
            balancer.use(make_strategy(service.strategy))
        self._strategies[name] = service.strategy
        balancer.update(instances)
        return balancer

    def retain(self, services: Collection[str]) -> None:
        """Forget all other services."""
        for name in self._by_service.keys() - set(services):
            del self._by_service[name], self._strategies[name]

    def set_probed(self, service: str, instance: str, healthy: bool) -> None:
        """What active probes found out about an instance. Names that aren't known are ignored."""
        balancer = self._by_service.get(service)
        if balancer is not None:
            balancer.set_probed(instance, healthy)

    def _states(self) -> Iterator[tuple[str, str, str]]:
        for service, balancer in self._by_service.items():
            for instance, state in balancer.states().items():
                yield service, instance, state

    def _panics(self) -> Iterator[tuple[str, bool]]:
        for service, balancer in self._by_service.items():
            yield service, balancer.panicking


class _News(InstanceListener):
    """Logs what happens to the instances of one service, and passes it on."""

    def __init__(self, service: str, listener: DispatcherListener) -> None:
        self._service = service
        self._listener = listener

    def ejected(self, instance: str, seconds: float) -> None:
        """A line and a count."""
        logger.warning(
            "%s: %s failed too many calls in a row, ejected for %.0f s",
            *(self._service, instance, seconds),
        )
        self._listener.instance_out(self._service, instance, "ejected")

    def unhealthy(self, instance: str) -> None:
        """A line and a count."""
        logger.warning("%s: %s fails its health checks", self._service, instance)
        self._listener.instance_out(self._service, instance, "unhealthy")

    def returned(self, instance: str) -> None:
        """A line and a count."""
        logger.info("%s: %s gets calls again", self._service, instance)
        self._listener.instance_returned(self._service, instance)

    def panicked(self, healthy: int, known: int) -> None:
        """A line."""
        logger.warning(
            "%s: only %d of %d instances are well, so all get calls (panic)",
            *(self._service, healthy, known),
        )

    def calmed(self) -> None:
        """A line."""
        logger.warning("%s: enough instances are well, only those get calls", self._service)
