"""What the log tells of those who fail to say who they are."""

import pytest

from ingress.identity.auth_listener import AuthListener
from ingress.limits.embedded import EmbeddedStore
from ingress.origin import Origins
from ingress.policies.guesses import Guesses
from ingress.problems import Refused
from tests.unit.ingress.identity.signing import Clock
from tests.unit.ingress.requests import make_request


class Attempts:
    """Failures of callers, under a clock of the test's own."""

    def __init__(self) -> None:
        self.clock = Clock(0.0)
        store = EmbeddedStore(lambda: int(self.clock.now * 1_000_000))
        client = Origins(()).accountable
        self._guesses = Guesses("caller", store, client, AuthListener(), monotonic=self.clock)

    async def fail(self, peer: str, times: int = 1) -> int:
        """How many of them were refused unheard."""
        limited = 0
        for _ in range(times):
            try:
                await self._guesses.failed(make_request("GET", "/", peer=peer))
            except Refused:
                limited += 1
        return limited


async def test_each_address_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """The first failure is told, and the first that is refused unheard; then a minute later."""
    attempts = Attempts()
    for minute in range(2):
        attempts.clock.now = minute * 60.0
        assert await attempts.fail("192.0.2.1", 60) > 0
    await attempts.fail("2001:db8::1")
    await attempts.fail("2001:db8::2")  # of the same network
    failed = "authentication of a caller from 192.0.2.1: failed"
    of_both = [failed, f"{failed}, as too many before"]
    of_another = ["authentication of a caller from 2001:db8::1: failed"]
    assert caplog.messages == of_both + of_both + of_another


async def test_no_more_than_a_hundred(caplog: pytest.LogCaptureFixture) -> None:
    """Guesses from everywhere do not fill the log; it says that it leaves some out."""
    attempts = Attempts()
    for number in range(250):
        await attempts.fail(f"192.0.2.{number}")
    assert len(caplog.messages) == 101
    assert caplog.messages[-1].startswith("further failed authentications are not named")
    attempts.clock.now = 60.0
    await attempts.fail("192.0.2.249")
    assert caplog.messages[-1] == "authentication of a caller from 192.0.2.249: failed"
