"""What the end of a call says about the instance."""

import pytest

from dispatcher.policies.load_balancing.verdict import Verdict, of_error, of_status
from dispatcher.upstream import (
    BodyTooLarge,
    ConnectFailed,
    ConnectionLost,
    ConnectTimedOut,
    InvalidRequest,
    ProtocolError,
    ResponseTooLarge,
    TooManyCalls,
    UpstreamError,
    UpstreamTimeout,
)


@pytest.mark.parametrize("status", [502, 503, 504])
def test_gateway_failures_speak_against_it(status: int) -> None:
    """These say that the instance, or what it stands on, is out of order."""
    assert of_status(status) is Verdict.FAILURE


@pytest.mark.parametrize("status", [200, 204, 302, 404, 429, 500, 501, 505])
def test_other_answers_speak_for_it(status: int) -> None:
    """An instance that answers is there; another one would answer the same."""
    assert of_status(status) is Verdict.SUCCESS


@pytest.mark.parametrize(
    "error", [ConnectFailed, ConnectionLost, ProtocolError, ResponseTooLarge, UpstreamError]
)
def test_a_broken_connection_speaks_against_it(error: type[UpstreamError]) -> None:
    """Endless header fields are a broken answer, too."""
    assert of_error(error("x", sent=True), patient=True) is Verdict.FAILURE


@pytest.mark.parametrize("error", [InvalidRequest, BodyTooLarge, TooManyCalls])
def test_what_the_gateway_refuses_says_nothing(error: type[UpstreamError]) -> None:
    """The instance has done nothing wrong that another one would not do, too."""
    assert of_error(error("x", sent=True), patient=True) is Verdict.UNKNOWN


@pytest.mark.parametrize("error", [UpstreamTimeout, ConnectTimedOut])
def test_time_that_ran_out(error: type[UpstreamError]) -> None:
    """It speaks against the instance if that had time enough, not if a client was in a hurry."""
    assert of_error(error("x", sent=False), patient=True) is Verdict.FAILURE
    assert of_error(error("x", sent=False), patient=False) is Verdict.UNKNOWN
