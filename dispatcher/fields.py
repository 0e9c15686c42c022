"""The header block, both ways: what is written to an upstream, and what of its answer is passed on.

RFC 9110 section 7.6.1 (what a proxy takes off) and RFC 9112 (how a message is framed).
"""

import re
from collections.abc import Sequence

from broker.messages import Headers
from broker.problems import ProxyError
from dispatcher.upstream import (
    Address,
    BodyTooLarge,
    InvalidRequest,
    ProtocolError,
    ResponseTooLarge,
    UpstreamRequest,
)

MAX_HEAD_BYTES = 65_536
MAX_HEAD_FIELDS = 200
MAX_REASON = 1024  # bytes
MAX_OVERHEAD = 16_384  # bytes of chunk framing beyond those of the data, as at the door
_REASON = bytes(byte for byte in range(256) if byte in b"\t " or (byte > 0x20 and byte != 0x7F))
_HTTP = re.compile(rb"[\r\n]*HTTP/")
_TOKEN = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
_SET_BY_THE_CLIENT = frozenset({b"", b"host", b"content-length", b"transfer-encoding"})
_ALWAYS_WITH_LENGTH = frozenset({"POST", "PUT", "PATCH"})
_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_HOP_BY_HOP_AND_LENGTH = _HOP_BY_HOP | {b"content-length"}


def request_head(address: Address, authority: str, request: UpstreamRequest) -> bytes:
    """Request line and header block; Content-Length where there is or should be a body.

    Raises InvalidRequest where a part could end its line, or bring a framing of its own.
    """
    line = f"{request.method} {address.base_path}{request.target} HTTP/1.1"
    _check_request(line, request)
    lines = [f"{line}\r\nHost: {authority}".encode("ascii")]
    lines += [name + b": " + value for name, value in request.headers]
    if needs_length(request):
        lines.append(b"Content-Length: %d" % len(request.body))
    head = b"\r\n".join(lines) + b"\r\n\r\n"
    line_ends = len(lines) + 2
    if head.count(b"\n") != line_ends or head.count(b"\r") != line_ends or b"\0" in head:
        raise InvalidRequest("CR, LF or NUL in a header field", sent=False)
    return head


def needs_length(request: UpstreamRequest) -> bool:
    """Whether Content-Length is sent (RFC 9110 section 8.6)."""
    return bool(request.body) or request.method in _ALWAYS_WITH_LENGTH


def _check_request(line: str, request: UpstreamRequest) -> None:
    if not line.isascii() or not line.isprintable() or line.count(" ") != 2 or "#" in line:
        raise InvalidRequest("a character that a request line can't have", sent=False)
    if not request.target.startswith("/"):
        raise InvalidRequest("a target that is no path", sent=False)
    names = [name.lower() for name, _ in request.headers]
    if not _SET_BY_THE_CLIENT.isdisjoint(names) or b"".join(names).translate(None, _TOKEN):
        raise InvalidRequest(
            "a header name that is empty, malformed or not the caller's", sent=False
        )


def check_protocol(head: bytes, interim: int) -> None:
    """Raises ProtocolError unless a response, and so many interim ones before it, are of HTTP.

    ``head`` is what came, to the end of the header block or further. llhttp takes RTSP and ICE too.
    """
    start = 0
    for _ in range(interim + 1):
        begun = _HTTP.match(head, start)
        if begun is None:
            raise ProtocolError("a response that is not of HTTP", sent=True)
        start = head.find(b"\r\n\r\n", begun.end()) + 4


def check_status(status: int, version: str, reason: bytes) -> None:
    """Raises ProtocolError unless it is a status that may come, from HTTP/1.1 or 1.0.

    101 may not: no upgrade was asked for. Nor may control characters in the reason phrase
    (RFC 9112 section 4); one that is too long raises ResponseTooLarge.
    """
    if not 100 <= status <= 599 or status == 101:
        raise ProtocolError(f"a response of status {status}", sent=True)
    if version not in ("1.1", "1.0"):
        raise ProtocolError(f"a response of HTTP version {version}", sent=True)
    if reason.translate(None, _REASON):
        raise ProtocolError("a control character in the reason phrase", sent=True)
    if len(reason) > MAX_REASON:
        raise ResponseTooLarge("the reason phrase is over the limit", sent=True)


def check_size(received: Sequence[tuple[bytes, bytes]]) -> None:
    """Raises ResponseTooLarge for too many fields, or too many bytes of them."""
    if len(received) > MAX_HEAD_FIELDS:
        raise ResponseTooLarge("too many header fields", sent=True)
    if sum(len(name) + len(value) + 4 for name, value in received) > MAX_HEAD_BYTES:
        raise ResponseTooLarge("the header block is over the limit", sent=True)


def body_too_large() -> BodyTooLarge:
    """The error for a body over its limit."""
    return BodyTooLarge("the body is over the limit", sent=True)


def end_to_end(
    received: Sequence[tuple[bytes, bytes]], *, keep_length: bool
) -> tuple[Headers, dict[bytes, bytes]]:
    """Part what is passed on from what concerned this hop only.

    Gives the fields to pass on, as they came, and the values of the others by lower-case name
    (repeated ones joined by commas). ``keep_length``: Content-Length is passed on too, for HEAD.
    Raises ProtocolError for a transfer coding other than chunked: its body could not be decoded.
    """
    taken_off = _HOP_BY_HOP if keep_length else _HOP_BY_HOP_AND_LENGTH
    kept: list[tuple[bytes, bytes]] = []
    hop: dict[bytes, bytes] = {}
    for field in received:
        name = field[0].lower()
        if name not in taken_off:
            kept.append(field)
        elif name in hop:
            hop[name] += b"," + field[1]
        else:
            hop[name] = field[1]
    if hop.get(b"transfer-encoding", b"chunked").lower() != b"chunked":
        raise ProtocolError(
            "the response has a transfer coding other than chunked",
            sent=True,
            proxy_error=ProxyError.HTTP_RESPONSE_TRANSFER_CODING,
        )
    if b"connection" in hop:
        kept = _without_nominated(kept, hop[b"connection"])
    return tuple(kept), hop


def _without_nominated(
    fields: list[tuple[bytes, bytes]], connection: bytes
) -> list[tuple[bytes, bytes]]:
    """The fields that the value of ``Connection`` does not name."""
    nominated = {token.strip() for token in connection.lower().split(b",")}
    if nominated <= {b"close", b"keep-alive", b""}:
        return fields
    return [field for field in fields if field[0].lower() not in nominated]
