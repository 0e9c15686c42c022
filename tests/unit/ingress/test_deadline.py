"""The route bounds the time, and the client may ask for less."""

import pytest

from ingress.deadline import timeout_for
from ingress.problems import Refused


@pytest.mark.parametrize(
    ("headers", "timeout"),
    [
        ({}, 30.0),
        ({"Prefer": "wait=5"}, 5.0),
        ({"Prefer": 'respond-async, WAIT = "5"; x=y, other'}, 5.0),
        ({"Prefer": "wait=60"}, 30.0),
        ({"Prefer": "wait=0"}, 0.0),
        ({"Prefer": "wait=soon, await=3, wait=-1"}, 30.0),
        ({"X-Request-Timeout": "2.5"}, 2.5),
        ({"X-Request-Timeout": "100"}, 30.0),
        ({"X-Request-Timeout": "7", "Prefer": "wait=3"}, 3.0),
    ],
)
def test_least_of_all(headers: dict[str, str], timeout: float) -> None:
    """The smallest of the three counts; an unreadable preference counts for nothing."""
    assert timeout_for(headers, 30.0) == timeout


@pytest.mark.parametrize("value", ["", "5s", "-1", "1e3", "nan", "inf", "٣", " 5"])
def test_unreadable_timeout_is_refused(value: str) -> None:
    """A timeout that was meant is not silently ignored."""
    with pytest.raises(Refused):
        timeout_for({"X-Request-Timeout": value}, 30.0)
