"""Which bodies are JSON by what their fields say, and what is in them once they are unpacked."""

import zlib

from broker.messages import Headers

_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS  # tells the two apart by itself
_RAW = -zlib.MAX_WBITS
_IDENTITY = frozenset((b"", b"identity"))


class BadCoding(ValueError):
    """A body can't be unpacked: an unknown coding, broken data, or more than is allowed."""


def described(headers: Headers) -> tuple[bytes, bytes]:
    """The values of Content-Type and Content-Encoding, in lowercase; empty where there is none."""
    media_type = coding = b""
    for name, value in headers:
        if len(name) == 12 and name.lower() == b"content-type":
            media_type = value.lower()
        elif len(name) == 16 and name.lower() == b"content-encoding":
            coding = coding + b"," + value.lower() if coding else value.lower()
    return media_type, coding


def may_be_json(media_type: bytes) -> bool:
    """Whether this Content-Type is JSON's (RFC 8259, RFC 6839), or says nothing."""
    essence = media_type.partition(b";")[0].strip()
    return essence in (b"application/json", b"", b"text/json") or essence.endswith(b"+json")


def unpacked(body: bytes, coding: bytes, limit: int) -> bytes:
    """The body without its coding (RFC 9110 section 8.4.1), of ``limit`` bytes at most.

    Raises BadCoding.
    """
    coding = coding.strip()
    if coding in _IDENTITY:
        if len(body) > limit:
            raise BadCoding("the body is too large")
        return body
    if coding in (b"gzip", b"x-gzip"):
        return _inflated(body, _GZIP_OR_ZLIB, limit)
    if coding == b"deflate":  # of zlib's format, but raw from some servers
        zlib_format = body[:1] and body[0] & 0x0F == 8 and int.from_bytes(body[:2]) % 31 == 0
        return _inflated(body, _GZIP_OR_ZLIB if zlib_format else _RAW, limit)
    raise BadCoding("the body has a coding that can't be undone")


def _inflated(body: bytes, wbits: int, limit: int) -> bytes:
    """All members of the body one after the other (RFC 1952 section 2.2)."""
    whole = b""
    while body:
        member = zlib.decompressobj(wbits)
        try:
            whole += member.decompress(body, limit - len(whole) + 1)
        except zlib.error as error:
            raise BadCoding("the coding of the body is broken") from error
        if len(whole) > limit:
            raise BadCoding("the body is too large when it is unpacked")
        if not member.eof:
            raise BadCoding("the coding of the body is broken off")
        body = member.unused_data
    return whole
