"""Request heads: bytes in, a judged head out. No socket, no state.

aiohttp's C parser (llhttp in its strict mode) reads each head, whole and alone: a fresh parser
costs half a microsecond, and nothing of one request can leak into the next. What it is lenient
about, or can't know (bare line feeds before the request line, versions of other protocols, lists of
transfer codings, the operator's limits), is judged here. RFC 9112; every doubt is a refusal.
"""

import re
from typing import Any

import aiohttp.http_parser
import msgspec
from aiohttp import hdrs
from aiohttp.http_exceptions import BadHttpMethod, HttpProcessingError
from aiohttp.http_parser import HttpRequestParser, RawRequestMessage
from multidict import CIMultiDict

from broker.messages import Headers
from broker.problems import ProblemType
from config.models.gateway import Limits
from ingress.problems import Refused
from ingress.request import HeaderLookup

END = b"\r\n\r\n"
MAX_TARGET = 8192  # bytes
CHUNKED = -1  # as a length: known only at the end

_MAX_LINE = MAX_TARGET + 64  # room for the longest method, the spaces and the version
_UNBOUNDED = 2**31 - 1  # for the parser's own limits: ours have been applied before

_request_line = re.compile(
    rb"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,32} (?P<target>[!-~]+) HTTP/1\.[01]\r\n"
).match
_part_of_line = re.compile(rb"[ -~]*\r?").fullmatch
_authority = re.compile(
    r"(?:[A-Za-z0-9._~%!$&'()*+;=-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?"
).fullmatch
_absolute_form = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)(.*)").fullmatch


class MissingCParser(RuntimeError):
    """aiohttp runs on its Python parser, which is neither fast nor strict enough."""


class Head(msgspec.Struct, frozen=True):
    """What a request says before its body.

    ``target`` is in origin form, or ``*``. ``length`` counts the bytes of the body, or is CHUNKED.
    """

    method: str
    target: str
    headers: Headers
    lookup: HeaderLookup
    length: int
    keep_alive: bool
    http10: bool
    expects_continue: bool


def require_c_parser() -> None:
    """Raise MissingCParser unless aiohttp's C extension is what reads requests."""
    if aiohttp.http_parser.HttpRequestParser is aiohttp.http_parser.HttpRequestParserPy:
        raise MissingCParser(
            "aiohttp's C parser is not loaded: install a wheel of aiohttp that has it, "
            "and do not set AIOHTTP_NO_EXTENSIONS"
        )


def parse_head(data: bytes, limits: Limits) -> Head:
    """Read a head, from its request line to its empty line. Raises Refused."""
    _check_size(data, limits)
    line = _request_line(data)
    if line is None:
        raise _malformed("The request line is not 'METHOD target HTTP/1.1'.")
    if len(line["target"]) > MAX_TARGET:
        raise _uri_too_long()
    return _judge(_parse(data))


def check_partial_head(data: bytes, limits: Limits) -> None:
    """Raise Refused as soon as the beginning of a head shows that it can't end well."""
    _check_size(data, limits)
    if b"\r\n" in data:
        sane = data.count(b"\n") == data.count(b"\r\n") and _request_line(data) is not None
    else:
        sane = _part_of_line(data) is not None
    if not sane:
        raise _malformed("This is not the beginning of an HTTP/1.1 request.")


def _check_size(data: bytes, limits: Limits) -> None:
    """Apply the limits; ``data`` may be a head or a part of one."""
    line_end = data.find(b"\r\n")
    if line_end > _MAX_LINE or (line_end < 0 and len(data) > _MAX_LINE):
        raise _uri_too_long()
    if line_end < 0:
        return
    if len(data) - line_end - len(END) > limits.max_header_bytes:
        raise _headers_too_large(f"more than {limits.max_header_bytes} bytes")
    if data.count(b"\r\n") - 2 > limits.max_header_count:
        raise _headers_too_large(f"more than {limits.max_header_count} fields")


def _parse(data: bytes) -> RawRequestMessage:
    """One head through a parser of its own, which is told that no body follows."""
    parser: Any = HttpRequestParser(
        None,  # no protocol, no loop, no limit: no body is read
        None,
        0,
        max_line_size=_UNBOUNDED,
        max_headers=_UNBOUNDED,
        max_field_size=_UNBOUNDED,
        response_with_body=False,
        auto_decompress=False,
    )
    try:
        messages, _, _ = parser.feed_data(data)
    except BadHttpMethod:
        raise _not_implemented("The gateway does not know this method.") from None
    except (HttpProcessingError, ValueError) as error:
        raise _malformed(str(getattr(error, "message", error)).split("\n", 1)[0]) from None
    except Exception:  # the parser makes a URL of the target, and trips over some
        raise _malformed("The request can't be read.") from None
    if len(messages) != 1:
        raise _malformed("This is not exactly one request.")
    return messages[0][0]  # type: ignore[no-any-return]


def _judge(message: RawRequestMessage) -> Head:
    """What the parser lets through and a proxy must not."""
    headers, target = message.raw_headers, message.path
    lookup: HeaderLookup = message.headers
    http10 = message.version.minor == 0
    if (message.upgrade and not _offers_http2(message)) or message.method == "TRACE":
        raise _not_implemented("The gateway does not do CONNECT, TRACE and upgrades.")
    if target[0] != "/" and target != "*":
        target, authority = _from_absolute_form(message.method, target)
        headers, lookup = _with_host(headers, authority)
    host = lookup.get(hdrs.HOST)
    if _authority(host or "") is None and not (http10 and host is None):
        raise _malformed("The Host field is not a host with an optional port.")
    return Head(
        message.method,
        target,
        headers,
        lookup,
        _length(lookup, http10),
        not message.should_close,
        http10,
        not http10 and _expects_continue(lookup),
    )


def _offers_http2(message: RawRequestMessage) -> bool:
    """An offer that may be ignored (RFC 9113 section 3.1); some clients make it by default."""
    offered = message.headers.get(hdrs.UPGRADE, "")
    return message.method != "CONNECT" and offered.lower() == "h2c"


def _from_absolute_form(method: str, target: str) -> tuple[str, str]:
    """Origin form and host of an absolute-form target (RFC 9112 section 3.2.2)."""
    match = _absolute_form(target)
    if match is None:
        raise _malformed("The request target has neither origin form nor absolute form.")
    scheme, authority, rest = match.groups()
    if scheme.lower() != "http":
        raise Refused(ProblemType.MISDIRECTED, f"The scheme {scheme} is not served here.")
    if not rest and method == "OPTIONS":
        return "*", authority
    return rest if rest.startswith("/") else "/" + rest, authority


def _with_host(headers: Headers, host: str) -> tuple[Headers, HeaderLookup]:
    """The target's host replaces that of the Host field, whatever it says."""
    kept = tuple(pair for pair in headers if pair[0].lower() != b"host")
    headers = ((b"Host", host.encode()), *kept)
    pairs = [(name.decode(), value.decode(errors="surrogateescape")) for name, value in headers]
    return headers, CIMultiDict(pairs)


def _length(lookup: HeaderLookup, http10: bool) -> int:
    """RFC 9112 section 6.3; the parser has seen to it that each field is there once at most."""
    coding = lookup.get(hdrs.TRANSFER_ENCODING)
    if coding is None:
        return int(lookup.get(hdrs.CONTENT_LENGTH) or 0)
    if http10 or coding.lower() != "chunked":
        raise _malformed("The only transfer coding is 'chunked', in HTTP/1.1.")
    if lookup.get(hdrs.CONTENT_LENGTH) is not None:
        raise _malformed("Transfer-Encoding and Content-Length exclude each other.")
    return CHUNKED


def _expects_continue(lookup: HeaderLookup) -> bool:
    expectation = lookup.get(hdrs.EXPECT)
    if expectation is None:
        return False
    if expectation.lower() != "100-continue":
        raise Refused(ProblemType.EXPECTATION_FAILED, "The only expectation is 100-continue.")
    return True


def _malformed(detail: str) -> Refused:
    return Refused(ProblemType.BAD_REQUEST, detail, close=True)


def _not_implemented(detail: str) -> Refused:
    return Refused(ProblemType.NOT_IMPLEMENTED, detail, close=True)


def _uri_too_long() -> Refused:
    detail = f"The request target is longer than {MAX_TARGET} bytes."
    return Refused(ProblemType.URI_TOO_LONG, detail, close=True)


def _headers_too_large(detail: str) -> Refused:
    return Refused(ProblemType.HEADERS_TOO_LARGE, f"The header has {detail}.", close=True)
