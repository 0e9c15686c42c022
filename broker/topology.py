"""Names and limits of queues and exchanges: for requests, replies, events and leaders."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

REQUEST_EXCHANGE = "gateway.requests"
DEAD_LETTER_QUEUE = "gateway.dead-letters"
DEAD_LETTER_LIMIT = 10_000
DEAD_LETTER_LIMIT_BYTES = 256 * 1024**2
REPLY_QUEUE_PREFIX = "gateway.replies."
REPLY_QUEUE_EXPIRES_MS = 60_000  # how long the replies of an ingress that is away are kept
REPLY_QUEUE_LIMIT = 100_000
EVENT_EXCHANGE = "gateway.events"
EVENT_QUEUE_LIMIT = 1_000  # events that wait for one subscriber
LEADER_QUEUE_PREFIX = "gateway.leader."
MAX_MESSAGE = 16 * 1024**2  # bytes; what RabbitMQ 4 takes if it is not told otherwise


@dataclass(frozen=True, slots=True)
class RequestQueue:
    """The queue of one service and tier; ``limit`` counts messages, further ones are refused."""

    service: str
    tier: str
    limit: int

    @property
    def routing_key(self) -> str:
        """Key on the request exchange."""
        return routing_key(self.service, self.tier)

    @property
    def name(self) -> str:
        """Name of the queue at the broker."""
        return f"{REQUEST_EXCHANGE}.{self.routing_key}"


def routing_key(service: str, tier: str) -> str:
    """``<service>.<tier>``."""
    return f"{service}.{tier}"


def reply_queue(node: str) -> str:
    """The reply queue of an ingress node."""
    return REPLY_QUEUE_PREFIX + node


def leader_queue(task: str) -> str:
    """The queue whose only consumer leads in this task."""
    return LEADER_QUEUE_PREFIX + task


def request_queues(services: Iterable[str], tier_limits: Mapping[str, int]) -> list[RequestQueue]:
    """A queue for every service and tier; ``tier_limits`` maps a tier to its queue limit."""
    return [
        RequestQueue(service, tier, limit)
        for service in services
        for tier, limit in tier_limits.items()
    ]
