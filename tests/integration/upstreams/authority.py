"""Certificates of every kind that an upstream may show, made anew in each run."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

from dispatcher.upstream import Address

YESTERDAY = datetime.now(UTC) - timedelta(days=1)


def server_context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    """Of an upstream that shows this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def demanding(certificate: trustme.LeafCert, clients: trustme.CA) -> ssl.SSLContext:
    """Of an upstream that lets in only who shows a certificate of that authority (mTLS)."""
    context = server_context(certificate)
    clients.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def trusting(authority: trustme.CA, shown: trustme.LeafCert | None = None) -> ssl.SSLContext:
    """Of a client that trusts this authority, and shows a certificate if it has one."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    if shown is not None:
        shown.configure_cert(context)
    return context


def write_authority(authority: trustme.CA, path: Path) -> Path:
    """The file for ``tls.ca``."""
    authority.cert_pem.write_to_path(path)
    return path


def write_certificate(certificate: trustme.LeafCert, folder: Path, name: str) -> tuple[Path, Path]:
    """The files for ``tls.certificate`` and ``tls.key``."""
    chain, key = folder / f"{name}.pem", folder / f"{name}.key"
    certificate.private_key_pem.write_to_path(key)
    chain.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    return chain, key


@contextmanager
def plain_spoken(context: ssl.SSLContext, answer: bytes) -> Iterator[Address]:
    """An upstream that says what displeases it, as asyncio's servers don't: they just hang up.

    It serves one connection after another, each for one request.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_serve, args=(listener, context, answer), daemon=True)
        thread.start()
        yield Address("https", "localhost", listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def _serve(listener: socket.socket, context: ssl.SSLContext, answer: bytes) -> None:
    while True:
        try:
            accepted, _ = listener.accept()
        except OSError:
            return
        with suppress(OSError), accepted:
            tls = context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
            try:
                tls.do_handshake()
                tls.recv(65_536)
                tls.sendall(answer)
                tls.unwrap()
            except ssl.SSLError:
                with socket.socket(fileno=tls.detach()) as plain:  # let the alert arrive
                    plain.shutdown(socket.SHUT_WR)
                    while plain.recv(65_536):
                        pass
            finally:
                tls.close()
