"""Responses as bytes."""

import pytest

from ingress.rendering import Renderer, SplitResponse
from ingress.request import Response

NOON = 784_111_777.0  # Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110
DATE = b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"


def rendered(
    response: Response, *, head: bool = False, http10: bool = False, close: bool = False
) -> bytes:
    return Renderer(clock=lambda: NOON).render(response, head=head, http10=http10, close=close)


def test_all_of_it() -> None:
    """Status line, fields as given, Date, Content-Length, body."""
    response = Response(200, ((b"b", b"1"), (b"A", b"2"), (b"b", b"3")), b"body")
    assert rendered(response) == (
        b"HTTP/1.1 200 OK\r\nb: 1\r\nA: 2\r\nb: 3\r\n" + DATE + b"Content-Length: 4\r\n\r\nbody"
    )


def test_the_upstreams_own_words() -> None:
    """A reason and a Date that came with the response stay."""
    response = Response(299, ((b"date", b"today"),), b"", b"Fine")
    assert rendered(response) == b"HTTP/1.1 299 Fine\r\ndate: today\r\nContent-Length: 0\r\n\r\n"


def test_an_unknown_status() -> None:
    """A status without a name has an empty reason, and the space before it."""
    assert rendered(Response(299, ())).startswith(b"HTTP/1.1 299 \r\n")


def test_framing_is_made_here() -> None:
    """Lengths, codings and connection options that come with a response are replaced."""
    given = ((b"content-LENGTH", b"99"), (b"Transfer-Encoding", b"chunked"), (b"Connection", b"x"))
    text = rendered(Response(200, given, b"body"), close=True)
    assert text == b"HTTP/1.1 200 OK\r\n" + DATE + (
        b"Connection: close\r\nContent-Length: 4\r\n\r\nbody"
    )


@pytest.mark.parametrize(
    ("http10", "close", "field"),
    [
        (False, False, b""),
        (False, True, b"close"),
        (True, True, b"close"),
        (True, False, b"keep-alive"),
    ],
)
def test_persistence(http10: bool, close: bool, field: bytes) -> None:
    """HTTP/1.0 has to be told that the connection persists, HTTP/1.1 that it does not."""
    text = rendered(Response(200, ()), http10=http10, close=close)
    assert (b"Connection: " + field in text) if field else (b"Connection" not in text)


@pytest.mark.parametrize(
    ("status", "head", "given", "body", "length"),
    [
        (200, False, b"", b"", b"0"),
        (200, True, b"", b"abc", b"3"),
        (200, True, b"7", b"", b"7"),
        (200, True, b"", b"", None),
        (204, False, b"7", b"abc", None),
        (304, False, b"7", b"", b"7"),
        (304, False, b"", b"", None),
        (304, False, b"", b"abc", b"3"),
        (205, False, b"", b"", b"0"),
    ],
)
def test_lengths(status: int, head: bool, given: bytes, body: bytes, length: bytes | None) -> None:
    """Content-Length and the body, by status and method (RFC 9110 section 8.6)."""
    headers = ((b"Content-Length", given),) if given else ()
    text, _, sent = rendered(Response(status, headers, body), head=head).partition(b"\r\n\r\n")
    lengths = [line[16:] for line in text.split(b"\r\n") if line.startswith(b"Content-Length: ")]
    assert lengths == ([length] if length is not None else [])
    assert sent == b""


@pytest.mark.parametrize(
    "response",
    [
        Response(200, ((b"X", b"a\r\nY: b"),)),
        Response(200, ((b"X", b"a\nY: b"),)),
        Response(200, ((b"X", b"a\rb"),)),
        Response(200, ((b"X\r\nY", b"a"),)),
        Response(200, (), reason=b"OK\r\nY: b"),
    ],
)
def test_no_line_ends_in_fields(response: Response) -> None:
    """What would split the response is not rendered."""
    with pytest.raises(SplitResponse):
        rendered(response)


def test_the_date_moves() -> None:
    """It is made once a second, and is never older."""
    now = NOON
    renderer = Renderer(clock=lambda: now)

    def date() -> bytes:
        text = renderer.render(Response(200, ()), head=False, http10=False, close=False)
        return text.split(b"Date: ")[1].split(b"\r\n")[0]

    assert date() == date() == b"Sun, 06 Nov 1994 08:49:37 GMT"
    now += 1
    assert date() == b"Sun, 06 Nov 1994 08:49:38 GMT"
