"""A response as bytes: status line, header fields, body. RFC 9112 section 6 for the framing."""

import time
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus

from ingress.request import Response

_FRAMING = frozenset({b"connection", b"content-length", b"transfer-encoding", b"keep-alive"})
_BODYLESS = frozenset({204, 304})
_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}


class SplitResponse(ValueError):
    """A header field holds a line end, and would split the response in two."""


class Renderer:
    """Turns responses into bytes, to be sent by one write.

    Header pairs keep order, duplicates and spelling. Added are Date where it is missing (``clock``
    gives Unix seconds), Content-Length and Connection, and nothing else.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._second = 0
        self._date = b""

    def render(self, response: Response, *, head: bool, http10: bool, close: bool) -> bytes:
        """The response to a request that was a HEAD, or came in HTTP/1.0. Raises SplitResponse."""
        status = response.status
        lines = [b"HTTP/1.1 %d %b" % (status, response.reason or _REASONS.get(status, b""))]
        length = b""
        dated = False
        for name, value in response.headers:
            key = name.lower()
            if key in _FRAMING:
                length = value if key == b"content-length" else length
                continue
            dated = dated or key == b"date"
            lines.append(b"%b: %b" % (name, value))
        if not dated:
            lines.append(self._date_field())
        if close:
            lines.append(b"Connection: close")
        elif http10:
            lines.append(b"Connection: keep-alive")
        bodyless = head or status in _BODYLESS or status < 200
        length = _length(response, length, bodyless)
        if length:
            lines.append(b"Content-Length: " + length)
        lines.append(b"\r\n")
        text = b"\r\n".join(lines)
        if text.count(b"\n") != len(lines) or text.count(b"\r") != len(lines):
            raise SplitResponse(f"a field of a response of status {status} holds a line end")
        return text if bodyless else text + response.body

    def _date_field(self) -> bytes:
        second = int(self._clock())
        if second != self._second:
            self._second = second
            self._date = b"Date: " + formatdate(second, usegmt=True).encode()
        return self._date


def _length(response: Response, given: bytes, bodyless: bool) -> bytes:
    """Content-Length, or nothing (RFC 9110 section 8.6).

    To HEAD, and in a 304, it is what a GET would have got: the length given, where no body is here.
    """
    if response.status == 204 or response.status < 200:
        return b""
    if bodyless and not response.body:
        return given
    return b"%d" % len(response.body)
