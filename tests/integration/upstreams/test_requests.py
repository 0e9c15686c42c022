"""What is written to an upstream."""

import pytest

from broker.messages import Headers
from dispatcher.upstream import InvalidRequest
from tests.integration.upstreams.calling import Calling, lean
from tests.integration.upstreams.requests import request
from tests.integration.upstreams.scripted import PATIENCE, ScriptedUpstream, Wire

EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Recorder:
    """Answers everything and keeps what it was asked."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    async def __call__(self, wire: Wire) -> None:
        while True:
            self.seen.append(await wire.answer(EMPTY))


def lines(message: bytes) -> list[bytes]:
    """The lines of the header block."""
    return message.partition(b"\r\n\r\n")[0].split(b"\r\n")


async def test_headers_keep_order_duplicates_and_spelling(client: Calling) -> None:
    """Header fields reach the upstream as they were given, and none is added but Host."""
    fields = ((b"x-B", b"1"), (b"X-a", b"\xc3\xa9"), (b"x-B", b"3"), (b"Accept-Encoding", b"br"))
    async with ScriptedUpstream(recorder := Recorder()) as upstream:
        await client.call(upstream.address, request(headers=fields), PATIENCE)
        host = f"Host: {upstream.address.authority}".encode()
    sent = lines(recorder.seen[0])
    assert sent == [b"GET / HTTP/1.1", host, *(b"%b: %b" % field for field in fields)]


async def test_any_value_and_any_spelling_pass() -> None:
    """The lean client writes bytes as they are."""
    fields = ((b"x-B", b"\xff\xfe"), (b"X-b", b"\t2"), (b"x-b", b""))
    async with lean() as client, ScriptedUpstream(recorder := Recorder()) as upstream:
        await client.call(upstream.address, request(headers=fields), PATIENCE)
    assert lines(recorder.seen[0])[2:] == [b"%b: %b" % field for field in fields]


@pytest.mark.parametrize(
    ("method", "body", "expected"),
    [
        ("GET", b"", []),
        ("HEAD", b"", []),
        ("POST", b"", [b"Content-Length: 0"]),
        ("PUT", b"", [b"Content-Length: 0"]),
        ("PATCH", b"", [b"Content-Length: 0"]),
        ("POST", b"\x00\xff binary", [b"Content-Length: 9"]),
        ("DELETE", b"why", [b"Content-Length: 3"]),
        ("GET", b"why", [b"Content-Length: 3"]),
    ],
)
async def test_length_is_told(
    client: Calling, method: str, body: bytes, expected: list[bytes]
) -> None:
    """Content-Length goes with a body and with methods that expect one; no Transfer-Encoding."""
    async with ScriptedUpstream(recorder := Recorder()) as upstream:
        await client.call(upstream.address, request(method, body=body), PATIENCE)
    [seen] = recorder.seen
    framing = [line for line in lines(seen) if line.lower().startswith((b"content-l", b"transfer"))]
    assert framing == expected
    assert seen.endswith(b"\r\n\r\n" + body)


async def test_delete_without_body_tells_no_length() -> None:
    """The lean client adds a length only where one is expected."""
    async with lean() as client, ScriptedUpstream(recorder := Recorder()) as upstream:
        await client.call(upstream.address, request("DELETE", "/?"), PATIENCE)
        host = f"Host: {upstream.address.authority}".encode()
    assert lines(recorder.seen[0]) == [b"DELETE /? HTTP/1.1", host]


@pytest.mark.parametrize(
    "target", ["/", "/a/../b//c", "/a%2Fb%20c;d=1?x=%41&y=a+b&y=", "/a?b?c", "/%7Euser"]
)
async def test_target_passes_byte_for_byte(client: Calling, target: str) -> None:
    """Nobody normalises what was matched already."""
    async with ScriptedUpstream(recorder := Recorder()) as upstream:
        await client.call(upstream.address, request(target=target), PATIENCE)
    assert lines(recorder.seen[0])[0] == f"GET {target} HTTP/1.1".encode()


async def test_base_path_goes_before_the_target(client: Calling) -> None:
    """An instance may live below a path."""
    async with ScriptedUpstream(recorder := Recorder()) as upstream:
        address = type(upstream.address).parse(f"{upstream.address}/base/v1/")
        await client.call(address, request(target="/things?q=1"), PATIENCE)
    assert lines(recorder.seen[0])[0] == b"GET /base/v1/things?q=1 HTTP/1.1"


@pytest.mark.parametrize(
    ("method", "target", "fields"),
    [
        ("GET", "/", ((b"A", b"b\r\nInjected: 1"),)),
        ("GET", "/", ((b"A", b"b\nInjected: 1"),)),
        ("GET", "/", ((b"A", b"b\rc"),)),
        ("GET", "/", ((b"A", b"b\0c"),)),
        ("GET", "/", ((b"A\r\nInjected", b"1"),)),
        ("GET", "/", ((b"", b"1"),)),
        ("GET", "/", ((b"Transfer-Encoding ", b"chunked"),)),
        ("GET", "/", ((b"transfer-encoding", b"chunked"),)),
        ("GET", "/", ((b"Content-Length", b"5"),)),
        ("GET", "/", ((b"Host", b"elsewhere"),)),
        ("GET", "/ HTTP/1.1\r\nInjected: 1\r\n\r\n", ()),
        ("GET", "/a b", ()),
        ("GET", "/a#b", ()),
        ("GET", "/\u00e9", ()),
        ("GET", "things", ()),
        ("GET /x", "/", ()),
        ("GET\r\n", "/", ()),
    ],
)
async def test_injection_is_refused(
    client: Calling, method: str, target: str, fields: Headers
) -> None:
    """What would change the meaning of the request never reaches the wire."""
    async with ScriptedUpstream(recorder := Recorder()) as upstream:
        with pytest.raises(InvalidRequest) as caught:
            await client.call(upstream.address, request(method, target, fields), PATIENCE)
        assert caught.value.sent is False
        assert upstream.accepted == 0
    assert not recorder.seen
