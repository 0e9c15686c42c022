"""What is answered instead of a call while a breaker is open."""

import json
import math
from collections.abc import Awaitable, Callable

from broker.messages import Envelope
from config.models.services import CircuitBreakerOptions
from dispatcher.attempt import Attempt
from dispatcher.call_end import Verdict
from dispatcher.listener import DispatcherListener
from dispatcher.policies.last_good import LastGoodAnswers
from dispatcher.upstream import UpstreamResponse

OtherService = Callable[[], Awaitable[Attempt | None]]


class Fallback:
    """The last good answer, else another service's, else the configured body, whichever there is.

    What is no answer of a service names no instance.
    """

    def __init__(
        self,
        options: CircuitBreakerOptions,
        last_good: LastGoodAnswers | None,
        listener: DispatcherListener,
    ) -> None:
        self._last_good = last_good
        self._status = options.fallback_status
        body = options.fallback_response
        self._body = None if body is None else json.dumps(body).encode()
        self._listener = listener

    async def answer(
        self, envelope: Envelope, retry_after: float, other: OtherService | None
    ) -> Attempt | None:
        """An answer without a call of the service itself; None if there is none to give."""
        if self._last_good is not None and (kept := self._last_good.find(envelope)):
            self._listener.fell_back(envelope.service, "last_good")
            return Attempt(kept, None)
        attempt = None if other is None else await other()
        if attempt is not None and (attempt.verdict is Verdict.SUCCESS or self._body is None):
            self._listener.fell_back(envelope.service, "service")
            return attempt
        if self._body is None:
            return None
        self._listener.fell_back(envelope.service, "response")
        return Attempt(self._configured(self._body, retry_after), None, configured=True)

    def _configured(self, body: bytes, retry_after: float) -> UpstreamResponse:
        headers = [(b"Content-Type", b"application/json"), (b"Cache-Control", b"no-store")]
        if self._status == 503:
            headers.append((b"Retry-After", b"%d" % max(1, math.ceil(retry_after))))
        return UpstreamResponse(self._status, b"", tuple(headers), body)
