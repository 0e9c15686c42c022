"""Which transforms a request has to look at: those that its route can meet."""

from collections.abc import Sequence
from dataclasses import dataclass

from broker.messages import Envelope
from config.models.transforms import BodyTransform, Transform
from config.snapshot import Snapshot
from dispatcher.transformation.conditions import Matcher
from dispatcher.transformation.rules import Rules
from dispatcher.transformation.sandbox import Sandbox


@dataclass(frozen=True, slots=True, eq=False)
class Compiled:
    """A transform of the configuration."""

    config: Transform
    matcher: Matcher
    request: Rules | None
    response: Rules | None


class Compiler:
    """Compiles the transforms of one snapshot after the other; what stays is compiled once."""

    def __init__(self) -> None:
        self._sandbox = Sandbox()
        self._known: dict[int, Compiled] = {}  # by the identity of the models that they hold

    def compile(self, snapshot: Snapshot) -> Sequence[Compiled]:
        """In the order of the file."""
        configs = snapshot.transforms
        self._known = {
            id(config): self._known.get(id(config)) or self._new(config) for config in configs
        }
        return [self._known[id(config)] for config in configs]

    def _new(self, config: Transform) -> Compiled:
        return Compiled(
            config,
            Matcher(config.condition),
            self._rules(config.name, config.request_transform),
            self._rules(config.name, config.response_transform),
        )

    def _rules(self, name: str, config: BodyTransform | None) -> Rules | None:
        return None if config is None else Rules(name, config, self._sandbox)


class Plan:
    """The transforms for one route, and the largest bodies that they may change, in bytes."""

    __slots__ = ("_transforms", "max_request", "max_response")

    def __init__(self, transforms: Sequence[Compiled], max_request: int, max_response: int) -> None:
        self._transforms = transforms
        self.max_request = max_request
        self.max_response = max_response

    def matching(self, envelope: Envelope) -> Sequence[Compiled]:
        """Those for this request."""
        if not self._transforms:
            return ()
        method, path = envelope.method, envelope.path
        return [each for each in self._transforms if each.matcher.matches(method, path)]


class Plans(dict[str, Plan]):
    """Plans by the labels of routes, made when they are first asked for.

    A message from an ingress that has another configuration may come under a label that is not
    known here: it has to look at all transforms.
    """

    def __init__(self, snapshot: Snapshot, transforms: Sequence[Compiled]) -> None:
        super().__init__()
        self._routes = {route.label: route for route in snapshot.routes}
        self._transforms = transforms
        self._max_body = snapshot.options.limits.max_body

    def __missing__(self, label: str) -> Plan:
        route = self._routes.get(label)
        if route is None:
            return Plan(self._transforms, self._max_body, self._max_body)
        transforms = [each for each in self._transforms if each.matcher.may_meet(route)]
        max_request = self._max_body if route.max_body is None else route.max_body
        # A route that takes no bodies still gives some.
        plan = self[label] = Plan(transforms, max_request, max(max_request, self._max_body))
        return plan
