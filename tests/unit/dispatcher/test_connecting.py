"""Failures to connect in the words of RFC 9209."""

import errno
import socket
import ssl

import pytest

from broker.problems import ProxyError
from dispatcher.connecting import cause, connect_failed
from dispatcher.upstream import Address


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), "connection_refused"),
        (OSError(errno.ECONNREFUSED, "Multiple exceptions: ..."), "connection_refused"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), "connection_terminated"),
        (ConnectionResetError(), "connection_terminated"),
        (TimeoutError(errno.ETIMEDOUT, "timed out"), "connection_timeout"),
        (OSError(errno.ENETUNREACH, "unreachable"), "destination_ip_unroutable"),
        (OSError(errno.EHOSTUNREACH, "no route"), "destination_ip_unroutable"),
        (OSError("Multiple exceptions: refused, no route"), "destination_unavailable"),
        (OSError(errno.EMFILE, "too many open files"), "proxy_internal_error"),
        (RuntimeError("unknown"), "proxy_internal_error"),
        (socket.gaierror(socket.EAI_NONAME, "unknown"), "dns_error"),
        (ssl.SSLCertVerificationError(1, "expired"), "tls_certificate_error"),
        (ssl.SSLError(1, "[SSL: TLSV1_ALERT_UNKNOWN_CA] x"), "tls_alert_received"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] x"), "tls_protocol_error"),
    ],
)
def test_cause(error: Exception, expected: str) -> None:
    """Each kind of error has its word."""
    assert cause(error) == ProxyError(expected)


def test_an_error_without_words_is_named() -> None:
    """The detail is never empty: it is what the log has."""
    failed = connect_failed(Address("http", "a.test", 80), ConnectionResetError())
    assert str(failed) == "can't connect to http://a.test: ConnectionResetError"
    assert failed.sent is False
