"""Refusals are told, but clients can't fill the log with them."""

import logging

import pytest

from ingress.forbidden_log import ForbiddenLog
from ingress.problems import Forbidden, ForbiddingPolicy


def test_each_policy_is_told_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    """A line for the first of each policy, then one each 10 s that says how many there were."""
    caplog.set_level(logging.INFO)
    now = [0.0]
    subject = ForbiddenLog(lambda: now[0])
    refusals: list[tuple[float, ForbiddingPolicy, str]] = [
        (0.0, "ip_filter", "192.0.2.1"),
        (0.1, "roles", ""),
        (9.9, "ip_filter", "192.0.2.2"),
        (10.0, "ip_filter", "192.0.2.3"),
    ]
    for now[0], policy, who in refusals:
        subject.tell(Forbidden(policy, "It lacks a role.", who=who), "/a", "id")
    assert [record.getMessage() for record in caplog.records] == [
        "ip_filter refused 1 requests by now; the last: /a: 192.0.2.1",
        "roles refused 1 requests by now; the last: /a: It lacks a role.",
        "ip_filter refused 3 requests by now; the last: /a: 192.0.2.3",
    ]
