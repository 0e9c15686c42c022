"""Heads: what is read, and all that is refused."""

import subprocess
import sys

import pytest

from broker.problems import ProblemType
from config.models.gateway import Limits
from ingress.heads import CHUNKED, Head, check_partial_head, parse_head
from ingress.problems import Refused

LIMITS = Limits()
LINE = b"GET / HTTP/1.1\r\n"
HOST = b"Host: a\r\n"


def parsed(*lines: bytes, limits: Limits = LIMITS) -> Head:
    return parse_head(b"\r\n".join(lines) + b"\r\n\r\n", limits)


def refusal(data: bytes, limits: Limits = LIMITS) -> ProblemType:
    with pytest.raises(Refused) as caught:
        parse_head(data, limits)
    return caught.value.problem_type


def test_a_head_is_read() -> None:
    """Method, target, header pairs as sent, and a lookup in any case."""
    head = parsed(b"GET /a%2Fb?x=%20&x HTTP/1.1", b"hOsT: a:80", b"X-A: 1 ", b"x-a: 2")
    assert (head.method, head.target) == ("GET", "/a%2Fb?x=%20&x")
    assert head.headers == ((b"hOsT", b"a:80"), (b"X-A", b"1"), (b"x-a", b"2"))
    assert head.lookup.get("X-a") == "1"
    assert head.lookup.get("absent") is None
    assert (head.length, head.keep_alive, head.http10) == (0, True, False)


@pytest.mark.parametrize(
    ("lines", "length"),
    [
        ([b"Content-Length: 0"], 0),
        ([b"Content-Length: 003"], 3),
        ([b"content-length:\t7\t"], 7),
        ([b"Transfer-Encoding: chunked"], CHUNKED),
        ([b"transfer-encoding: Chunked"], CHUNKED),
    ],
)
def test_the_length_of_the_body(lines: list[bytes], length: int) -> None:
    """A well-formed length is taken, and chunked by its name in any case."""
    assert parsed(b"POST / HTTP/1.1", b"Host: a", *lines).length == length


@pytest.mark.parametrize(
    ("line", "connection", "keep_alive"),
    [
        (b"GET / HTTP/1.1", b"keep-alive", True),
        (b"GET / HTTP/1.1", b"close", False),
        (b"GET / HTTP/1.1", b"x, Close", False),
        (b"GET / HTTP/1.0", b"x", False),
        (b"GET / HTTP/1.0", b"Keep-Alive", True),
    ],
)
def test_persistence(line: bytes, connection: bytes, keep_alive: bool) -> None:
    """HTTP/1.1 persists unless told not to, HTTP/1.0 only if told to (RFC 9112 section 9.3)."""
    assert parsed(line, b"Host: a", b"Connection: " + connection).keep_alive is keep_alive


def test_http10_needs_no_host() -> None:
    """A Host field is a thing of HTTP/1.1."""
    assert parsed(b"GET / HTTP/1.0").http10


@pytest.mark.parametrize(
    "host", [b"a", b"a:80", b"a:", b"127.0.0.1:8000", b"[::1]:80", b"x_y.example", b"a%20b"]
)
def test_good_hosts(host: bytes) -> None:
    """Names, addresses and ports as RFC 3986 has them."""
    assert parsed(b"GET / HTTP/1.1", b"Host: " + host).lookup.get("Host") == host.decode()


@pytest.mark.parametrize(
    "host",
    [b"", b"a b", b"a/b", b"u@a", b"a:b", b"a:80:80", b"[::1", b"a,b", b"a\xff", b"a#", b"?"],
)
def test_bad_hosts(host: bytes) -> None:
    """What is no host is refused, in HTTP/1.0 too."""
    assert refusal(LINE + b"Host: " + host + b"\r\n\r\n") is ProblemType.BAD_REQUEST
    old = b"GET / HTTP/1.0\r\nHost: " + host + b"\r\n\r\n"
    assert refusal(old) is ProblemType.BAD_REQUEST


@pytest.mark.parametrize(
    ("target", "origin_form"),
    [
        (b"http://b:81/x?y", "/x?y"),
        (b"HTTP://b:81/", "/"),
        (b"http://b:81", "/"),
        (b"http://b:81?q=/", "/?q=/"),
    ],
)
def test_absolute_form(target: bytes, origin_form: str) -> None:
    """The host of the target replaces the Host field (RFC 9112 section 3.2.2)."""
    head = parsed(b"GET %b HTTP/1.1" % target, b"A: 1", b"Host: other", b"B: \xff")
    assert head.target == origin_form
    assert head.headers == ((b"Host", b"b:81"), (b"A", b"1"), (b"B", b"\xff"))
    assert head.lookup.get("host") == "b:81"


def test_asterisk_form() -> None:
    """OPTIONS for the server as a whole, in both its spellings."""
    assert parsed(b"OPTIONS * HTTP/1.1", b"Host: a").target == "*"
    assert parsed(b"OPTIONS http://a HTTP/1.1", b"Host: a").target == "*"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"GET https://a/ HTTP/1.1", ProblemType.MISDIRECTED),
        (b"GET ftp://a/ HTTP/1.1", ProblemType.MISDIRECTED),
        (b"GET http:///x HTTP/1.1", ProblemType.BAD_REQUEST),
        (b"GET http://u:p@b/ HTTP/1.1", ProblemType.BAD_REQUEST),
        (b"GET http://b:99999/ HTTP/1.1", ProblemType.BAD_REQUEST),
        (b"GET x HTTP/1.1", ProblemType.BAD_REQUEST),
        (b"GET * HTTP/1.1", ProblemType.BAD_REQUEST),
        (b"GET ?x HTTP/1.1", ProblemType.BAD_REQUEST),
        (b"GET /\xff HTTP/1.1", ProblemType.BAD_REQUEST),
        (b"GET /\x00 HTTP/1.1", ProblemType.BAD_REQUEST),
        (b"GET /\x7f HTTP/1.1", ProblemType.BAD_REQUEST),
        (b"GET /\t HTTP/1.1", ProblemType.BAD_REQUEST),
        (b"GET /a b HTTP/1.1", ProblemType.BAD_REQUEST),
        (b"GET  / HTTP/1.1", ProblemType.BAD_REQUEST),
        (b"GET\t/ HTTP/1.1", ProblemType.BAD_REQUEST),
        (b" GET / HTTP/1.1", ProblemType.BAD_REQUEST),
        (b"\rGET / HTTP/1.1", ProblemType.BAD_REQUEST),
        (b"\nGET / HTTP/1.1", ProblemType.BAD_REQUEST),
        (b"GET / HTTP/1.1 ", ProblemType.BAD_REQUEST),
        (b"GET /", ProblemType.BAD_REQUEST),
        (b"GET / HTTP/0.9", ProblemType.BAD_REQUEST),
        (b"GET / HTTP/1.2", ProblemType.BAD_REQUEST),
        (b"GET / HTTP/2.0", ProblemType.BAD_REQUEST),
        (b"PRI * HTTP/2.0", ProblemType.BAD_REQUEST),
        (b"GET / http/1.1", ProblemType.BAD_REQUEST),
        (b"GET / RTSP/1.0", ProblemType.BAD_REQUEST),
        (b"SOURCE / ICE/1.0", ProblemType.BAD_REQUEST),
        (b"get / HTTP/1.1", ProblemType.NOT_IMPLEMENTED),
        (b"BREW / HTTP/1.1", ProblemType.NOT_IMPLEMENTED),
        (b"TRACE / HTTP/1.1", ProblemType.NOT_IMPLEMENTED),
        (b"CONNECT a:80 HTTP/1.1", ProblemType.NOT_IMPLEMENTED),
        (b"GET /" + b"x" * 8192 + b" HTTP/1.1", ProblemType.URI_TOO_LONG),
        (b"GET /" + b"x" * 90_000 + b" HTTP/1.1", ProblemType.URI_TOO_LONG),
    ],
)
def test_bad_request_lines(line: bytes, problem: ProblemType) -> None:
    """Every request line that is not exactly one of HTTP/1.1 or 1.0 has its answer."""
    assert refusal(line + b"\r\n" + HOST + b"\r\n") is problem


@pytest.mark.parametrize(
    "field",
    [
        b"",  # no Host
        b"Host : a\r\n",
        HOST + HOST,
        HOST + b": x\r\n",
        HOST + b"A B: x\r\n",
        HOST + b"A\r\n",
        HOST + b"A\x01: x\r\n",
        HOST + b"A\xff: x\r\n",
        HOST + b"A: x\x00y\r\n",
        HOST + b"A: x\x01y\r\n",
        HOST + b"A: x\x7fy\r\n",
        HOST + b"A: x\ry\r\n",
        HOST + b"A: x\nB: y\r\n",
        HOST + b"A: x\r\n folded\r\n",
        HOST + b"A: x\r\n\tfolded\r\n",
        b" " + HOST,
        HOST + b"Content-Length:\r\n",
        HOST + b"Content-Length: +3\r\n",
        HOST + b"Content-Length: -1\r\n",
        HOST + b"Content-Length: 3,3\r\n",
        HOST + b"Content-Length: 3 3\r\n",
        HOST + b"Content-Length: 0x3\r\n",
        HOST + b"Content-Length: 3\r\nContent-Length: 3\r\n",
        HOST + b"Content-Length: 3\r\nContent-Length: 4\r\n",
        HOST + b"Content-Length: 99999999999999999999999\r\n",
        HOST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        HOST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        HOST + b"Transfer-Encoding:\r\n",
        HOST + b"Transfer-Encoding: identity\r\n",
        HOST + b"Transfer-Encoding: gzip, chunked\r\n",
        HOST + b"Transfer-Encoding: ,chunked\r\n",
        HOST + b"Transfer-Encoding: chunked,\r\n",
        HOST + b"Transfer-Encoding: xchunked\r\n",
        HOST + b"Transfer-Encoding: \x0bchunked\r\n",
        HOST + b'Transfer-Encoding: "chunked"\r\n',
        HOST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    ],
)
def test_bad_fields(field: bytes) -> None:
    """What two readers could take for two different things is refused."""
    assert refusal(b"POST / HTTP/1.1\r\n" + field + b"\r\n") is ProblemType.BAD_REQUEST


def test_chunked_in_http10() -> None:
    """Chunks came with HTTP/1.1; before it they are a trick (RFC 9112 section 6.1)."""
    data = b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert refusal(data) is ProblemType.BAD_REQUEST


@pytest.mark.parametrize("protocol", [b"websocket", b"TLS/1.2, h2c"])
def test_upgrades(protocol: bytes) -> None:
    """No other protocol is spoken here."""
    fields = b"Connection: Upgrade\r\nUpgrade: " + protocol + b"\r\n"
    assert refusal(LINE + HOST + fields + b"\r\n") is ProblemType.NOT_IMPLEMENTED


def test_an_offer_of_http2_is_ignored() -> None:
    """Java's client makes it with every request, and takes HTTP/1.1 for an answer."""
    head = parsed(b"POST / HTTP/1.1", b"Host: a", b"Connection: Upgrade", b"Upgrade: h2c")
    assert head.keep_alive
    assert refusal(b"CONNECT a:1 HTTP/1.1\r\n" + HOST + b"Upgrade: h2c\r\n\r\n") is (
        ProblemType.NOT_IMPLEMENTED
    )


def test_expectations() -> None:
    """100-continue is known, in any case; others fail; HTTP/1.0 has none."""
    assert parsed(b"PUT / HTTP/1.1", b"Host: a", b"Expect: 100-Continue").expects_continue
    assert not parsed(b"PUT / HTTP/1.0", b"Host: a", b"Expect: 100-continue").expects_continue
    data = LINE + HOST + b"Expect: tea\r\n\r\n"
    assert refusal(data) is ProblemType.EXPECTATION_FAILED


def test_limits_of_the_header() -> None:
    """Count and bytes of the fields, to the one."""
    limits = Limits(max_header_bytes=100, max_header_count=4)
    field = b"A: " + b"x" * 86 + b"\r\n"
    assert len(HOST + field) == 100
    assert parse_head(LINE + HOST + field + b"\r\n", limits)
    assert refusal(LINE + HOST + b"x" + field + b"\r\n", limits) is ProblemType.HEADERS_TOO_LARGE
    assert parse_head(LINE + HOST + b"A: x\r\n" * 3 + b"\r\n", limits)
    too_many = LINE + HOST + b"A: x\r\n" * 4 + b"\r\n"
    assert refusal(too_many, limits) is ProblemType.HEADERS_TOO_LARGE


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"\x16\x03\x01\x02\x00", ProblemType.BAD_REQUEST),
        (b"GET / HTTP/1.1\n", ProblemType.BAD_REQUEST),
        (b"GET / HTTP/1.1\nHost: a\n\n", ProblemType.BAD_REQUEST),
        (b"GET /\r\n", ProblemType.BAD_REQUEST),
        (LINE + HOST + b"\n", ProblemType.BAD_REQUEST),
        (b"GET /" + b"x" * 9000, ProblemType.URI_TOO_LONG),
        (LINE + b"A: " + b"x" * 17_000, ProblemType.HEADERS_TOO_LARGE),
        (LINE + b"A: x\r\n" * 102, ProblemType.HEADERS_TOO_LARGE),
    ],
)
def test_a_bad_beginning(data: bytes, problem: ProblemType) -> None:
    """What can't become a request is refused before its end has come."""
    with pytest.raises(Refused) as caught:
        check_partial_head(data, LIMITS)
    assert caught.value.problem_type is problem


def test_a_good_beginning() -> None:
    """No part of a good head is refused."""
    head = b"OPTIONS http://a/%41 HTTP/1.1\r\nHost: a\r\nX: \xc3\xa4 b\r\n\r\n"
    for end in range(1, len(head)):
        check_partial_head(head[:end], LIMITS)


def test_without_the_c_parser() -> None:
    """A server can't be made without the C parser, and says what to do."""
    program = "from ingress.heads import require_c_parser; require_c_parser()"
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={"AIOHTTP_NO_EXTENSIONS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert "aiohttp's C parser is not loaded: install a wheel" in result.stderr


@pytest.mark.parametrize("target", [b"http://[::1]@", b"http://[]@/", b"http://u:[p]@/x"])
def test_targets_that_the_parser_trips_over(target: bytes) -> None:
    """Whatever it raises, the client gets its 400."""
    assert refusal(b"GET " + target + b" HTTP/1.1\r\n" + HOST + b"\r\n") is ProblemType.BAD_REQUEST
