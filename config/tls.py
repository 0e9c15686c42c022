"""Whether files are of use for TLS, found out by loading them as they will be."""

import ssl

from config.values import refusal


def no_password() -> str:
    """For keys that are encrypted: none, instead of a question on the terminal."""
    return ""


def check_authorities(path: str) -> None:
    """Raises a refusal unless the file holds certificates to trust."""
    try:
        _context().load_verify_locations(path)
    except OSError as error:
        raise refusal("a PEM file with certificates", _found(path, error)) from error


def check_certificate(path: str, key: str | None) -> None:
    """Raises a refusal unless the file holds a certificate, and its key is there or in ``key``."""
    try:
        _context().load_cert_chain(path, key, no_password)
    except OSError as error:
        allowed = "a PEM file with a certificate, its key there or in key, not encrypted"
        raise refusal(allowed, _found(path, error)) from error


def _context() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _found(path: str, error: OSError) -> str:
    if isinstance(
        error, ssl.SSLError
    ):  # its text names a line of OpenSSL's, its reason may be none
        reason = (error.reason or "no such thing in it").replace("_", " ")
    else:
        reason = error.strerror or "unreadable"
    return f"{path} ({reason.lower()})"
