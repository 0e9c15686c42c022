"""What the end of a call says: of the instance, of the service, and of its load."""

import pytest

from dispatcher.call_end import BROKEN_OFF, Load, Verdict, of_error, of_status
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
def test_gateway_failures_speak_against_the_instance(status: int) -> None:
    """These say that the instance, or what it stands on, is out of order."""
    assert of_status(status).instance is Verdict.FAILURE


@pytest.mark.parametrize("status", [200, 204, 302, 404, 429, 500, 501, 505])
def test_other_answers_speak_for_the_instance(status: int) -> None:
    """An instance that answers is there; another one would answer the same."""
    assert of_status(status).instance is Verdict.SUCCESS


@pytest.mark.parametrize("status", [500, 501, 502, 503, 504, 505, 599])
def test_any_server_error_speaks_against_the_service(status: int) -> None:
    """Whatever instance gave it."""
    assert of_status(status).service is Verdict.FAILURE


@pytest.mark.parametrize("status", [200, 204, 302, 404, 429])
def test_other_answers_speak_for_the_service(status: int) -> None:
    """What is wrong with a 4xx is the request."""
    assert of_status(status).service is Verdict.SUCCESS


@pytest.mark.parametrize(
    ("status", "load"),
    [
        (200, Load.SERVED),
        (304, Load.SERVED),
        (404, Load.SERVED),
        (429, Load.DROPPED),
        (500, Load.IGNORED),
        (502, Load.IGNORED),
        (503, Load.DROPPED),
        (504, Load.DROPPED),
    ],
)
def test_what_answers_say_of_load(status: int, load: Load) -> None:
    """Refusals are drops; the time of an error of the service's own counts for nothing."""
    assert of_status(status).load is load


@pytest.mark.parametrize(
    "error", [ConnectFailed, ConnectionLost, ProtocolError, ResponseTooLarge, UpstreamError]
)
def test_a_broken_connection_speaks_against_both(error: type[UpstreamError]) -> None:
    """Endless header fields are a broken answer, too."""
    end = of_error(error("x", sent=True), patient=True)
    assert (end.instance, end.service) == (Verdict.FAILURE, Verdict.FAILURE)


@pytest.mark.parametrize("error", [InvalidRequest, BodyTooLarge, TooManyCalls])
def test_what_the_gateway_refuses_says_nothing(error: type[UpstreamError]) -> None:
    """The service has done nothing wrong that another one would not do, too."""
    assert of_error(error("x", sent=True), patient=True) is BROKEN_OFF


@pytest.mark.parametrize("error", [UpstreamTimeout, ConnectTimedOut])
def test_time_that_ran_out(error: type[UpstreamError]) -> None:
    """It speaks against the service if that had time enough, not if a client was in a hurry."""
    end = of_error(error("x", sent=False), patient=True)
    assert end == (Verdict.FAILURE, Verdict.FAILURE, Load.DROPPED)
    assert of_error(error("x", sent=False), patient=False) is BROKEN_OFF


@pytest.mark.parametrize(
    ("error", "load"),
    [
        (ConnectFailed, Load.DROPPED),
        (ConnectionLost, Load.DROPPED),
        (ProtocolError, Load.IGNORED),
        (ResponseTooLarge, Load.IGNORED),
    ],
)
def test_what_errors_say_of_load(error: type[UpstreamError], load: Load) -> None:
    """No connection is a drop; what has nothing to do with load is not."""
    assert of_error(error("why", sent=True), patient=True).load is load
