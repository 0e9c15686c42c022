"""Listening sockets."""

import socket
from pathlib import Path

import pytest

from api_gateway.listening import (
    CantListenError,
    http_url,
    listen,
    listen_beside,
    listen_shared,
    listen_unix,
)


def test_a_listening_socket_takes_connections() -> None:
    """The socket listens already when it is handed out, on a free port when asked for 0."""
    with listen("127.0.0.1", 0) as server, socket.create_connection(server.getsockname()):
        assert http_url(server) == f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_taken_port_is_named() -> None:
    """The error says which address, and why not."""
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        message = f"can't listen on 127.0.0.1:{port}: Address already in use"
        with pytest.raises(CantListenError, match=message):
            listen("127.0.0.1", port)


def test_an_unknown_host_is_named() -> None:
    """An address of another machine can't be listened on, and a name that is none neither."""
    with pytest.raises(CantListenError, match=r"192\.0\.2\.1:0: Cannot assign"):
        listen("192.0.2.1", 0)
    with pytest.raises(CantListenError, match="no-such-host"):
        listen("no-such-host.invalid", 0)


def test_ipv6_addresses_are_in_brackets() -> None:
    """The URL of an IPv6 listener can be pasted."""
    with listen("::1", 0) as server:
        assert http_url(server) == f"http://[::1]:{server.getsockname()[1]}"


def test_an_address_is_shared_by_processes_of_one_program_only() -> None:
    """So many sockets listen at one address, and another program can't have it too."""
    sockets = listen_shared("127.0.0.1", 0, 3)
    try:
        ((host, port),) = {listening.getsockname() for listening in sockets}
        with pytest.raises(CantListenError, match="in use"):
            listen_shared(host, port, 3)
        sockets[0].close()
        listen_beside((host, port)).close()
    finally:
        for listening in sockets:
            listening.close()


def test_a_unix_socket_takes_connections(tmp_path: Path) -> None:
    """It listens at its path; a path in use is refused."""
    path = tmp_path / "socket"
    with listen_unix(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        with pytest.raises(OSError, match="in use"):
            listen_unix(path)
