"""Responses that are nearly right: sound ones, spoilt at a few places."""

import random
from collections.abc import Callable

_SOUND = (
    b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 5\r\n\r\nhello",
    (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"1;x=y\r\nh\r\n4\r\nello\r\n0\r\nT: v\r\n\r\n"
    ),
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Made\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nX-A: 1\r\n\r\nuntil the end",
)
_PIECES = (
    b"\r\n", b"\r", b"\n", b"\0", b" ", b"\t", b":", b",", b";", b"0", b"9", b"\xff", b"\r\n ",
    b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip\r\n",
    b"Connection: close\r\n", b"Upgrade: h2c\r\nConnection: upgrade\r\n", b"0\r\n\r\n",
    b"3\r\nabc\r\n", b"HTTP/1.1 200 OK\r\n", b"-", b"+", b"0x", b"HTTP/1.1 ", b"chunked",
)  # fmt: skip


def mutated(chance: random.Random) -> bytes:
    """A response with one to three mutations."""
    data = chance.choice(_SOUND)
    for _ in range(chance.randint(1, 3)):
        data = chance.choice(_MUTATIONS)(chance, data)
    return data


def _place(chance: random.Random, data: bytes) -> int:
    return chance.randrange(len(data) + 1)


def _inserted(chance: random.Random, data: bytes) -> bytes:
    at = _place(chance, data)
    return data[:at] + chance.choice(_PIECES) + data[at:]


def _inserted_line(chance: random.Random, data: bytes) -> bytes:
    lines = data.split(b"\r\n")
    lines.insert(_place(chance, data) % len(lines), chance.choice(_PIECES).rstrip(b"\r\n"))
    return b"\r\n".join(lines)


def _deleted(chance: random.Random, data: bytes) -> bytes:
    at = _place(chance, data)
    return data[:at] + data[at + chance.randint(1, 4) :]


def _replaced(chance: random.Random, data: bytes) -> bytes:
    at = _place(chance, data)
    return data[:at] + chance.choice(_PIECES) + data[at + 1 :]


def _other_byte(chance: random.Random, data: bytes) -> bytes:
    at = _place(chance, data)
    return data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]


def _cut_off(chance: random.Random, data: bytes) -> bytes:
    return data[: _place(chance, data)]


def _doubled(chance: random.Random, data: bytes) -> bytes:
    lines = data.split(b"\r\n")
    at = _place(chance, data) % len(lines)
    return b"\r\n".join([*lines[: at + 1], *lines[at:]])


def _spliced(chance: random.Random, data: bytes) -> bytes:
    other = chance.choice(_SOUND)
    return data[: _place(chance, data)] + other[_place(chance, other) :]


_MUTATIONS: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    _inserted, _inserted_line, _deleted, _replaced, _other_byte, _cut_off, _doubled, _spliced,
)  # fmt: skip
