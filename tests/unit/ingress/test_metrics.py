"""What happened shows in the numbers."""

from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from broker.contract import Published
from ingress.metrics import IngressMetrics, RequestFinished


def finished(**changes: Any) -> RequestFinished:
    values: dict[str, Any] = {
        "request_id": "id",
        "route": "list",
        "service": "users",
        "tier": "PRO",
        "method": "GET",
        "status": 200,
        "seconds": 0.02,
        "problem": "",
    }
    return RequestFinished(**values | changes)


def test_requests_are_counted_by_their_labels() -> None:
    """Each combination has its own number, and the time goes into the histogram."""
    registry = CollectorRegistry()
    metrics = IngressMetrics(registry)
    for status in (200, 200, 503):
        metrics.request_finished(
            finished(status=status, problem="queue-full" if status > 500 else "")
        )
    labels = {"route": "list", "service": "users", "tier": "PRO", "method": "GET"}
    assert registry.get_sample_value("ingress_requests_total", {**labels, "status": "200"}) == 2
    assert registry.get_sample_value("ingress_requests_total", {**labels, "status": "503"}) == 1
    times = {"service": "users", "tier": "PRO"}
    assert registry.get_sample_value("ingress_request_seconds_count", times) == 3
    assert registry.get_sample_value("ingress_problems_total", {"problem": "queue-full"}) == 1


def test_clients_make_no_labels() -> None:
    """Methods that clients invent are one label; requests without a service have no time series."""
    registry = CollectorRegistry()
    metrics = IngressMetrics(registry)
    for number in range(100):
        metrics.request_finished(
            finished(method=f"M{number}", route="", service="", tier="", status=404)
        )
    text = generate_latest(registry).decode()
    assert 'method="OTHER"' in text
    assert 'method="M1"' not in text
    assert "ingress_request_seconds_count{" not in text


def test_refusals_are_counted_by_policy() -> None:
    """A list of addresses that is wrong does not look like a lack of rights."""
    registry = CollectorRegistry()
    metrics = IngressMetrics(registry)
    metrics.forbidden("list", "roles")
    metrics.forbidden("", "ip_filter")
    metrics.forbidden("", "ip_filter")
    for route, policy, count in (("list", "roles", 1), ("", "ip_filter", 2)):
        labels = {"route": route, "policy": policy}
        assert registry.get_sample_value("ingress_forbidden_total", labels) == count


def test_news_of_the_exchange() -> None:
    """Pending requests are read when asked for; refusals, repeats and late replies are counted."""
    registry = CollectorRegistry()
    metrics = IngressMetrics(registry)
    waiting = [1, 2]
    metrics.opened(waiting.__len__)
    waiting.append(3)
    metrics.not_accepted(Published.QUEUE_FULL)
    metrics.published_again()
    metrics.reply_unmatched()
    assert registry.get_sample_value("ingress_pending") == 3
    full = {"result": "QUEUE_FULL"}
    assert registry.get_sample_value("ingress_not_accepted_total", full) == 1
    assert registry.get_sample_value("ingress_published_again_total") == 1
    assert registry.get_sample_value("ingress_replies_unmatched_total") == 1


def test_fetches_of_keys() -> None:
    """Good ones and failed ones are counted apart."""
    registry = CollectorRegistry()
    metrics = IngressMetrics(registry)
    for good in (True, False, True):
        metrics.keys_fetched(good)
    for result, count in (("good", 2), ("failed", 1)):
        name = "ingress_key_fetches_total"
        assert registry.get_sample_value(name, {"result": result}) == count


def test_authentication() -> None:
    """Requests for tokens, failures, reuse and ends of sessions are counted by closed sets."""
    registry = CollectorRegistry()
    metrics = IngressMetrics(registry)
    metrics.tokens_asked("opened")
    metrics.tokens_asked("invalid_client")
    metrics.authentication_failed("client", False)
    metrics.authentication_failed("caller", True)
    metrics.refresh_token_reused()
    metrics.session_ended("reuse")
    for name, labels in (
        ("ingress_token_requests_total", {"result": "invalid_client"}),
        ("ingress_authentication_failures_total", {"credential": "client", "result": "refused"}),
        ("ingress_authentication_failures_total", {"credential": "caller", "result": "limited"}),
        ("ingress_refresh_tokens_reused_total", {}),
        ("ingress_sessions_ended_total", {"reason": "reuse"}),
    ):
        assert registry.get_sample_value(name, labels) == 1


def test_requests_that_do_not_fit() -> None:
    """They are counted by route, apart from those that were let pass all the same."""
    registry = CollectorRegistry()
    metrics = IngressMetrics(registry)
    for mode in ("log", "enforce", "log"):
        metrics.validation_failed("list", mode)
    labels = {"route": "list", "mode": "log"}
    assert registry.get_sample_value("ingress_validation_failures_total", labels) == 2
