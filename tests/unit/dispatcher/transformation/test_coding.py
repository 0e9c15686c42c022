"""Content types and content codings."""

import gzip
import tracemalloc
import zlib

import pytest

from dispatcher.transformation.coding import BadCoding, described, may_be_json, unpacked

TEXT = b'{"a":"' + b"x" * 1000 + b'"}'


def packed(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)  # names of tests are made of it


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def test_fields_are_found_in_any_spelling() -> None:
    """Several codings are one list."""
    headers = (
        (b"CONTENT-TYPE", b"Application/JSON; charset=UTF-8"),
        (b"content-encoding", b"gzip"),
        (b"Content-Encoding", b"br"),
    )
    assert described(headers) == (b"application/json; charset=utf-8", b"gzip,br")
    assert described(()) == (b"", b"")


@pytest.mark.parametrize(
    ("media_type", "json"),
    [
        (b"application/json", True),
        (b"application/json; charset=utf-8", True),
        (b"application/problem+json", True),
        (b"text/json", True),
        (b"", True),
        (b"text/html", False),
        (b"text/plain", False),
        (b"application/jsonp", False),
        (b"application/json-seq", False),
    ],
)
def test_what_may_be_json(media_type: bytes, json: bool) -> None:
    """JSON's own types, and none at all."""
    assert may_be_json(media_type) is json


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        (b"", TEXT),
        (b"identity", TEXT),
        (b"gzip", packed(TEXT)),
        (b"x-gzip", packed(TEXT)),
        (b" gzip ", packed(TEXT[:10]) + packed(TEXT[10:])),
        (b"deflate", zlib.compress(TEXT)),
        (b"deflate", raw_deflate(TEXT)),
    ],
)
def test_codings_are_undone(coding: bytes, body: bytes) -> None:
    """Up to the very limit."""
    assert unpacked(body, coding, len(TEXT)) == TEXT
    with pytest.raises(BadCoding, match="large"):
        unpacked(body, coding, len(TEXT) - 1)


@pytest.mark.parametrize(
    ("coding", "body", "word"),
    [
        (b"br", TEXT, "undone"),
        (b"gzip,gzip", packed(packed(TEXT)), "undone"),
        (b"gzip", TEXT, "broken"),
        (b"deflate", b"\xff\xff", "broken"),
        (b"gzip", packed(TEXT)[:-9], "broken off"),
        (b"gzip", packed(TEXT) + b"more", "broken"),
    ],
)
def test_what_can_not_be_undone(coding: bytes, body: bytes, word: str) -> None:
    """Unknown codings, several of them, broken data."""
    with pytest.raises(BadCoding, match=word):
        unpacked(body, coding, 10_000)


def test_a_bomb_is_not_unfolded() -> None:
    """A thousand times its size: given up as soon as the limit is passed."""
    bomb = gzip.compress(b"0" * 50_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(BadCoding, match="large"):
            unpacked(bomb, b"gzip", 1000)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
