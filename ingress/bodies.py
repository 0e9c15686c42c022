"""Request bodies: bytes in, the body out, and the exact place where it ends. No socket.

Bodies are kept whole, for the message that carries them is one. RFC 9112 sections 6.2 and 7.1, to
the letter: what a lenient reader would repair is refused. Both kinds have ``size`` bytes already,
and ``expected`` is the least that they will have, as known so far.
"""

import re

from broker.problems import ProblemType
from ingress.problems import Refused

# Possessive, so that no line takes longer than its length, however often its end is looked for.
_TOKEN = rb"[A-Za-z0-9!#$%&'*+.^_`|~-]++"
_VALUE = rb"(?:" + _TOKEN + rb'|"[^"\\\r\n\0]*+")'
_EXTENSIONS = rb"(?:;" + _TOKEN + rb"(?:=" + _VALUE + rb")?+)*+"
_SIZE = rb"(?=[0-9A-Fa-f])0*+([0-9A-Fa-f]{0,16}+)" + _EXTENSIONS + rb"\r\n"
_FIRST_SIZE = re.compile(_SIZE)
_NEXT_SIZE = re.compile(rb"\r\n" + _SIZE)  # behind the data of the chunk before
_TRAILER = re.compile(_TOKEN + rb":[\t -~\x80-\xff]*+\r\n|\r\n")

_MAX_OVERHEAD = 16_384  # bytes of size lines, extensions and trailers beyond those of the data


class FixedBody:
    """A body whose length was announced."""

    __slots__ = ("_data", "complete", "expected", "size")

    def __init__(self, length: int) -> None:
        self._data = bytearray()
        self.size = 0
        self.expected = length
        self.complete = False

    def feed(self, data: bytes) -> bytes:
        """Take what is missing, return the rest."""
        missing = self.expected - self.size
        self._data += data[:missing]
        self.size = len(self._data)
        self.complete = self.size == self.expected
        return data[missing:]

    def take(self) -> bytes:
        """The body, to be called once."""
        data, self._data = bytes(self._data), bytearray()
        return data


class ChunkedBody:
    """A body in chunks. Extensions and trailer fields are checked, bounded and dropped."""

    __slots__ = ("_data", "_line", "_overhead", "_rest", "complete", "expected", "size")

    def __init__(self) -> None:
        self._data = bytearray()
        self._line = _FIRST_SIZE  # what comes where no chunk data is due
        self._rest = b""  # the beginning of such a line
        self._overhead = 0
        self.size = 0
        self.expected = 0
        self.complete = False

    def feed(self, data: bytes) -> bytes:
        """Take chunks and trailers, return what is behind them. Raises Refused (400)."""
        data, self._rest = self._rest + data, b""
        at = 0
        while not self.complete:
            if self.size < self.expected:
                at += self._take_chunk_data(data, at)
                if self.size < self.expected:
                    return b""
            line = self._line.match(data, at)
            if line is None:
                self._keep(data[at:])
                return b""
            at = line.end()
            self._take_line(line)
        return data[at:]

    def take(self) -> bytes:
        """The body, to be called once."""
        data, self._data = bytes(self._data), bytearray()
        return data

    def _take_chunk_data(self, data: bytes, at: int) -> int:
        part = data[at : at + self.expected - self.size]
        self._data += part
        self.size += len(part)
        return len(part)

    def _take_line(self, line: re.Match[bytes]) -> None:
        if self._line is _TRAILER:
            self.complete = line[0] == b"\r\n"
            self._count_overhead(len(line[0]))
            return
        size = int(line[1] or b"0", 16)
        self.expected += size
        self._line = _NEXT_SIZE if size else _TRAILER
        self._count_overhead(len(line[0]))

    def _keep(self, rest: bytes) -> None:
        """Wait for the end of a line, unless this can't be the beginning of one."""
        start = rest
        if self._line is _NEXT_SIZE:
            if not b"\r\n".startswith(rest[:2]):
                raise _malformed("A chunk is longer than its size.")
            start = rest[2:]
        if b"\n" in start:
            raise _malformed("The chunked body is malformed.")
        if len(start) + self._overhead > _MAX_OVERHEAD:
            raise _malformed("Chunk extensions or trailers are too large.")
        self._rest = rest

    def _count_overhead(self, size: int) -> None:
        """Framing may outweigh the data only so far: a flood of tiny chunks would hold the loop."""
        self._overhead += size
        if self._overhead > _MAX_OVERHEAD + self.size:
            raise _malformed("Chunk extensions or trailers are too large.")


def _malformed(detail: str) -> Refused:
    return Refused(ProblemType.BAD_REQUEST, detail, close=True)
