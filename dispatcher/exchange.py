"""One call of an upstream under way: its future, its deadline, its bytes."""

from asyncio import AbstractEventLoop, Future
from collections.abc import Callable
from typing import Any

from broker.deadlines import Deadlines
from broker.problems import ProxyError
from dispatcher.upstream import UpstreamError, UpstreamResponse, UpstreamTimeout

_NO_CONNECTION_YET = ProxyError.CONNECTION_LIMIT_REACHED  # an enum's attribute costs at each look


class Exchange(Future[UpstreamResponse]):
    """The future of a call.

    It carries what the connection needs, so that a call is one object. ``data`` is
    the whole request; ``sent`` tells whether any byte of it may have left; ``late`` is what it is
    called if the time runs out now; ``again`` is that of its request, and ``repeatable`` whether
    there is one; ``abandon`` gives up what is being done for it right now, and
    is called once, on cancellation or timeout.
    """

    __slots__ = (
        "_deadlines",
        "_tick",
        "abandon",
        "again",
        "data",
        "is_head",
        "late",
        "repeatable",
        "sent",
    )

    def __init__(
        self,
        loop: AbstractEventLoop,
        deadlines: "Deadlines[Exchange]",
        method: str,
        data: bytes,
        timeout: float,
        again: Callable[[], bool] | None = None,
    ) -> None:
        super().__init__(loop=loop)
        self.data = data
        self.is_head = method == "HEAD"
        self.again = again
        self.repeatable = again is not None
        self.sent = False
        self.late = _NO_CONNECTION_YET
        self.abandon: Callable[[], object] | None = None
        self._deadlines = deadlines
        self._tick = deadlines.add(self, timeout)

    def succeed(self, response: UpstreamResponse) -> None:
        """End in a response."""
        self._deadlines.discard(self, self._tick)
        self.abandon = None
        self.set_result(response)

    def fail(self, error: UpstreamError) -> None:
        """End in an error."""
        self._deadlines.discard(self, self._tick)
        self.abandon = None
        self.set_exception(error)

    def cancel(self, msg: Any | None = None) -> bool:
        """Give up: the connection in use is closed, for its state is unknown."""
        if not super().cancel(msg):
            return False
        self._deadlines.discard(self, self._tick)
        self._abandon()
        return True

    def expire(self) -> None:
        """The deadline has passed."""
        error = UpstreamTimeout("no response in time", sent=self.sent, proxy_error=self.late)
        self.set_exception(error)
        self._abandon()

    def _abandon(self) -> None:
        abandon, self.abandon = self.abandon, None
        if abandon is not None:
            abandon()
