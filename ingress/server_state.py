"""What all connections of one server have in common."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from broker.problems import ProblemType
from config.models.gateway import Limits
from ingress.problems import Refused, problem_response
from ingress.rendering import Renderer
from ingress.request import Request, Response
from ingress.request_ids import RequestIds

if TYPE_CHECKING:
    from ingress.connection import Connection

Handle = Callable[[Request], Awaitable[Response]]


class ServerListener:
    """Hears what happens at the socket; metrics override what they count."""

    def refused(self, problem_type: ProblemType) -> None:
        """Something was answered that never became a request: malformed, too large, too slow."""

    def client_left(self) -> None:
        """A client left before its answer (nginx's 499); its request was cancelled."""


@dataclass(slots=True, eq=False)
class ServerState:
    """Of one server: what it serves with, and whom."""

    handle: Handle
    limits: Limits
    request_ids: RequestIds
    renderer: Renderer
    listener: ServerListener
    loop: asyncio.AbstractEventLoop
    connections: set["Connection"] = field(default_factory=set)
    draining: bool = False  # every answer ends its connection
    all_gone: asyncio.Event = field(default_factory=asyncio.Event)

    def refusal(self, refused: Refused) -> bytes:
        """What is sent for something that never became a request, as the last on its connection."""
        self.listener.refused(refused.problem_type)
        response = refused.response(request_id=self.request_ids.new(), instance="")
        return self.renderer.render(response, head=False, http10=False, close=True)

    def internal_error(self) -> Response:
        """The answer to a request that met a bug."""
        detail = "The gateway failed to answer this request."
        return problem_response(
            ProblemType.INTERNAL,
            detail,
            request_id=self.request_ids.new(),
            executed="unknown",
        )
