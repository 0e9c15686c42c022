"""Header blocks, both ways."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.messages import Headers
from dispatcher.fields import (
    MAX_HEAD_BYTES,
    MAX_HEAD_FIELDS,
    MAX_REASON,
    check_protocol,
    check_size,
    check_status,
    end_to_end,
    request_head,
)
from dispatcher.upstream import (
    Address,
    InvalidRequest,
    ProtocolError,
    ResponseTooLarge,
    UpstreamRequest,
)

ADDRESS = Address("http", "service", 80, "/base")


def test_request_head() -> None:
    """Base path and Host are the address's, the length the body's, the rest the caller's."""
    request = UpstreamRequest("POST", "/a?b", ((b"X-A", b"1"), (b"x-a", b"2")), b"body")
    assert request_head(ADDRESS, "service", request) == (
        b"POST /base/a?b HTTP/1.1\r\nHost: service\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 4\r\n\r\n"
    )


@settings(deadline=None)
@given(
    method=st.text(max_size=5),
    target=st.text(max_size=10).map("/".__add__),
    headers=st.lists(st.tuples(st.binary(max_size=5), st.binary(max_size=10)), max_size=3),
)
def test_no_request_has_more_lines_than_were_given(
    method: str, target: str, headers: list[tuple[bytes, bytes]]
) -> None:
    """Whatever the parts hold, the head has one line for each, in its place, or is refused."""
    request = UpstreamRequest(method, target, tuple(headers), b"")
    try:
        head = request_head(ADDRESS, "service", request)
    except InvalidRequest:
        return
    lines = head.split(b"\r\n")
    assert lines[0] == f"{method} /base{target} HTTP/1.1".encode()
    assert len(lines[0].split(b" ")) == 3
    assert lines[1] == b"Host: service"
    added = 1 if method in ("POST", "PUT", "PATCH") else 0
    assert lines[2 : len(lines) - 2 - added] == [b"%b: %b" % field for field in headers]
    assert lines[-2:] == [b"", b""]
    assert not {b"\r", b"\n", b"\0"} & {bytes([byte]) for line in lines for byte in line}


@pytest.mark.parametrize(
    ("received", "kept", "hop"),
    [
        ((), (), {}),
        (
            ((b"B", b"1"), (b"Content-Length", b"3"), (b"a", b"2"), (b"B", b"3")),
            ((b"B", b"1"), (b"a", b"2"), (b"B", b"3")),
            {b"content-length": b"3"},
        ),
        (
            ((b"CONNECTION", b"close, X-Hop"), (b"x-hop", b"1"), (b"Connection", b" x-b ")),
            (),
            {b"connection": b"close, X-Hop, x-b "},
        ),
        (
            ((b"TE", b"trailers"), (b"Te-X", b"1"), (b"Proxy-Connection", b"close")),
            ((b"Te-X", b"1"),),
            {b"te": b"trailers", b"proxy-connection": b"close"},
        ),
    ],
)
def test_end_to_end(received: Headers, kept: Headers, hop: dict[bytes, bytes]) -> None:
    """Fields of this hop are taken off, and told by name; the others stay as they came."""
    assert end_to_end(received, keep_length=False) == (kept, hop)


def test_connection_names_fields_to_take_off() -> None:
    """RFC 9110 section 7.6.1: what Connection names is for this hop, in any case and spacing."""
    received = ((b"X-A", b"1"), (b"X-B", b"2"), (b"Connection", b"x-a ,\tclose,"), (b"x-A", b"3"))
    assert end_to_end(received, keep_length=False)[0] == ((b"X-B", b"2"),)


def test_length_is_kept_for_head() -> None:
    """The answer to a HEAD tells a length that is not its own."""
    received = ((b"Content-Length", b"5"), (b"Connection", b"close"))
    assert end_to_end(received, keep_length=True)[0] == ((b"Content-Length", b"5"),)


@pytest.mark.parametrize("coding", [b"gzip", b"gzip, chunked", b"chunked, chunked", b"x", b""])
def test_other_transfer_codings_are_refused(coding: bytes) -> None:
    """A body in a coding that is not taken off would be passed on as something else."""
    with pytest.raises(ProtocolError):
        end_to_end(((b"Transfer-Encoding", coding),), keep_length=False)


@pytest.mark.parametrize(
    ("status", "version"), [(99, "1.1"), (600, "1.1"), (101, "1.1"), (200, "2.0"), (200, "0.9")]
)
def test_status_and_version(status: int, version: str) -> None:
    """What no HTTP/1.1 server may answer to these requests."""
    with pytest.raises(ProtocolError):
        check_status(status, version, b"")


@pytest.mark.parametrize("byte", [0, 1, 8, 10, 13, 27, 31, 127])
def test_control_characters_in_a_reason(byte: int) -> None:
    """Clients would print them, or take them for the end of the line."""
    with pytest.raises(ProtocolError):
        check_status(200, "1.1", bytes((79, byte, 75)))


def test_reasons_that_may_be() -> None:
    """RFC 9112 section 4: tab, space, what is visible, and bytes of whatever else; not too many."""
    check_status(200, "1.1", b"\t " + bytes(range(0x21, 0x7F)) + bytes(range(0x80, 0x100)))
    check_status(200, "1.1", b"x" * MAX_REASON)
    with pytest.raises(ResponseTooLarge):
        check_status(200, "1.1", b"x" * (MAX_REASON + 1))


INTERIM = b"HTTP/1.1 103 X\r\nA: b\r\n\r\n"


@pytest.mark.parametrize(
    ("head", "interim"),
    [
        (b"RTSP/1.0 200 OK\r\n\r\n", 0),
        (b"\r\nICE/1.0 200 OK\r\n\r\n", 0),
        (b"RTSP/1.0 100 X\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", 1),
        (INTERIM + b"RTSP/1.0 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", 1),
        (b"\r\n\r\n" + INTERIM * 2 + b"\r\n\r\nRTSP/1.0 200 OK\r\n\r\n", 2),
    ],
)
def test_other_protocols(head: bytes, interim: int) -> None:
    """Each status line is of HTTP, also behind interim responses."""
    with pytest.raises(ProtocolError):
        check_protocol(head, interim)
    check_protocol(head.replace(b"RTSP", b"HTTP").replace(b"ICE", b"HTTP"), interim)


@pytest.mark.parametrize(
    "fields",
    [
        [(b"a", b"b")] * (MAX_HEAD_FIELDS + 1),
        [(b"a", b"b" * MAX_HEAD_BYTES)],
        [(b"a" * 1000, b"b")] * 66,
    ],
)
def test_size(fields: list[tuple[bytes, bytes]]) -> None:
    """Fields are limited in number, and all together in bytes."""
    with pytest.raises(ResponseTooLarge):
        check_size(fields)
    check_size([(b"a", b"b")] * MAX_HEAD_FIELDS)
