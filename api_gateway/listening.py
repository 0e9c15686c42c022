"""Listening sockets: opened before anything else, so that a taken address is known at once."""

import socket
from pathlib import Path

_BACKLOG = 4096


class CantListenError(Exception):
    """An address can't be had; the message says which, and why."""


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket; port 0 picks a free one. Raises CantListenError."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CantListenError(f"can't listen on {host}:{port}: {reason}") from error


def listen_shared(host: str, port: int, count: int) -> tuple[socket.socket, ...]:
    """So many listening sockets of one address, for a process each. Raises CantListenError.

    The system spreads connections over them evenly (SO_REUSEPORT). With one socket for all
    processes, whichever wakes first would take nearly all that come at a time.
    """
    # Such an address could be shared with another program's that does the same, unnoticed.
    with listen(host, port) as alone:
        address = alone.getsockname()
    return tuple(listen_beside(address) for _ in range(count))


def listen_beside(address: tuple[str, int]) -> socket.socket:
    """One more listening socket of an address that is shared. Raises OSError."""
    host, port = address[:2]
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=_BACKLOG, reuse_port=True)


def listen_unix(path: Path) -> socket.socket:
    """A listening Unix socket at a path where there is nothing. Raises OSError."""
    listening = socket.socket(socket.AF_UNIX)
    try:
        listening.bind(str(path))
        listening.listen()
    except OSError:
        listening.close()
        raise
    return listening


def http_url(listening: socket.socket) -> str:
    """``http://host:port`` of a TCP socket, IPv6 literals in brackets (RFC 3986 section 3.2.2)."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
