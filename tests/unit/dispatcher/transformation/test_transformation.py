"""Requests before their call, and answers after it."""

import asyncio
import gzip
import json
import threading
from typing import Any

import pytest

from broker.messages import Envelope, Headers, Problem
from config.models.transforms import Transform
from config.snapshot import Snapshot
from dispatcher.transformation import workshop
from dispatcher.transformation.plans import Compiler
from dispatcher.transformation.transformation import Transformation
from dispatcher.transformation.workshop import Workshop
from dispatcher.upstream import UpstreamResponse
from tests.unit.dispatcher.doubles import NOW, Clock, envelope, post, settled

JSON = (b"Content-Type", b"application/json")
RENAMING = {"jsonpath": {"new": "$.old"}}


class Stage:
    """Transforms, and what was told of them."""

    def __init__(self, *transforms: dict[str, Any]) -> None:
        self.told: list[tuple[str, str]] = []
        named = [{"name": f"t{number}", **each} for number, each in enumerate(transforms)]
        of = Snapshot(
            routes=(), services={}, transforms=tuple(map(Transform.model_validate, named))
        )
        self.transformation = Transformation(
            of, Compiler().compile(of), Workshop(Clock()), lambda *ended: self.told.append(ended)
        )

    async def sent(self, message: Envelope) -> Envelope:
        outgoing = await self.transformation.request(message)
        assert isinstance(outgoing, Envelope)
        return outgoing

    async def answered(
        self, body: bytes, *headers: tuple[bytes, bytes], status: int = 200, method: str = "GET"
    ) -> UpstreamResponse:
        response = UpstreamResponse(status, b"Fine", headers or (JSON,), body)
        answer = await self.transformation.response(envelope(method=method), response)
        assert isinstance(answer, UpstreamResponse)
        assert (answer.status, answer.reason) == (status, b"Fine")
        return answer


def lower(headers: Headers) -> set[bytes]:
    return {name.lower() for name, _ in headers}


async def test_a_request_is_changed() -> None:
    """Body and fields; what spoke of the old body goes, all else of the message stays."""
    stage = Stage({"request_transform": {**RENAMING, "headers": {"set": {"X-A": "1"}}}})
    asked = post(body=b'{"old":1}', headers=(JSON, (b"Digest", b"x"), (b"x-a", b"0")))
    outgoing = await stage.sent(asked)
    assert outgoing.body == b'{"new":1}'
    assert outgoing.headers == (JSON, (b"X-A", b"1"))
    assert (outgoing.id, outgoing.target) == (asked.id, asked.target)
    assert stage.told == [("t0", "applied")]


async def test_an_answer_is_changed() -> None:
    """The same way."""
    stage = Stage({"response_transform": {**RENAMING, "headers": {"remove": ["Server"]}}})
    answer = await stage.answered(b'{"old":1}', JSON, (b"ETag", b"x"), (b"Server", b"y"))
    assert (answer.body, answer.headers) == (b'{"new":1}', (JSON,))
    assert stage.told == [("t0", "applied")]


async def test_without_a_match_nothing_is_even_copied() -> None:
    """Message and answer are the very same objects."""
    stage = Stage({"condition": {"path": "/other"}, "response_transform": RENAMING})
    asked, response = envelope(), UpstreamResponse(200, b"", (JSON,), b'{"old":1}')
    assert await stage.transformation.request(asked) is asked
    assert await stage.transformation.response(asked, response) is response


async def test_several_are_applied_in_order() -> None:
    """Each sees the body and the fields that the one before has made."""
    stage = Stage(
        {"response_transform": {**RENAMING, "headers": {"set": {"X-A": "1"}}}},
        {"response_transform": {"headers": {"rename": {"X-A": "X-B"}}}},
        {"response_transform": {"template": {"x": "{{ new }}{{ new }}"}}},
    )
    answer = await stage.answered(b'{"old":1}')
    assert (answer.body, answer.headers) == (b'{"x":"11"}', (JSON, (b"X-B", b"1")))
    assert stage.told == [("t0", "applied"), ("t1", "applied"), ("t2", "applied")]


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"<p>old</p>", (b"Content-Type", b"text/html")),
        (b'{"old":1}', (b"Content-Type", b"text/plain")),
        (b"<p>old</p>", (b"X-B", b"0")),
        (b"5", JSON),
    ],
)
async def test_what_is_no_json_passes(body: bytes, headers: tuple[bytes, bytes]) -> None:
    """The body and what speaks of it stay, and that is told; other fields are changed."""
    stage = Stage({"response_transform": {**RENAMING, "headers": {"set": {"X-A": "1"}}}})
    etag = (b"ETag", b'"x"')
    answer = await stage.answered(body, headers, etag)
    assert (answer.body, answer.headers) == (body, (headers, etag, (b"X-A", b"1")))
    assert stage.told == [("t0", "skipped")]


async def test_json_without_a_type_is_json() -> None:
    """Many small services leave the field out."""
    stage = Stage({"response_transform": RENAMING})
    assert (await stage.answered(b'{"old":1}', (b"A", b"b"))).body == b'{"new":1}'


@pytest.mark.parametrize(("status", "method"), [(204, "GET"), (304, "GET"), (200, "GET")])
async def test_there_may_be_no_body(status: int, method: str) -> None:
    """Then only fields are changed."""
    stage = Stage({"response_transform": {**RENAMING, "headers": {"set": {"X-A": "1"}}}})
    length = (b"ETag", b'"x"')
    answer = await stage.answered(b"", JSON, length, status=status, method=method)
    assert (answer.body, answer.headers) == (b"", (JSON, length, (b"X-A", b"1")))


async def test_head_says_what_get_would() -> None:
    """The length of a body that was not made is not known, nor whether it is the same."""
    stage = Stage({"condition": {"method": "GET"}, "response_transform": RENAMING})
    length = (b"Content-Length", b"9")
    assert (await stage.answered(b"", JSON, length, method="HEAD")).headers == (JSON,)
    html = (b"Content-Type", b"text/html")
    assert (await stage.answered(b"", html, length, method="HEAD")).headers == (html, length)


async def test_failures_keep_their_shape() -> None:
    """A 404 is no user: its body is changed only where a transform asks for the status."""
    usual = Stage({"response_transform": {**RENAMING, "headers": {"remove": ["Server"]}}})
    answer = await usual.answered(b'{"error":1}', JSON, (b"Server", b"x"), status=404)
    assert (answer.body, answer.headers) == (b'{"error":1}', (JSON,))
    asking = Stage({"condition": {"status": [404]}, "response_transform": {"template": {"x": "y"}}})
    assert (await asking.answered(b'{"error":1}', status=404)).body == b'{"x":"y"}'
    assert (await asking.answered(b'{"old":1}')).body == b'{"old":1}'


async def test_packed_answers_are_unpacked() -> None:
    """Coding and length go with it."""
    stage = Stage({"response_transform": RENAMING})
    packed = gzip.compress(b'{"old":1}')
    answer = await stage.answered(packed, JSON, (b"Content-Encoding", b"gzip"))
    assert (answer.body, answer.headers) == (b'{"new":1}', (JSON,))


async def test_packed_requests_are_unpacked_within_the_limit() -> None:
    """A bomb is a failing transform, not a full memory."""
    stage = Stage({"request_transform": RENAMING})
    gzipped = (JSON, (b"Content-Encoding", b"gzip"))
    outgoing = await stage.sent(post(body=gzip.compress(b'{"old":1}'), headers=gzipped))
    assert (outgoing.body, outgoing.headers) == (b'{"new":1}', (JSON,))
    bomb = post(body=gzip.compress(b" " * 5_000_000), headers=gzipped)
    assert isinstance(await stage.transformation.request(bomb), Problem)


async def test_no_request_gets_around_a_transform() -> None:
    """By asking for a part of the body, or for a coding that can't be undone here."""
    stage = Stage({"response_transform": RENAMING})
    asked = envelope(headers=((b"Range", b"bytes=0-5"), (b"Accept-Encoding", b"br"), (b"A", b"b")))
    outgoing = await stage.sent(asked)
    assert outgoing.headers == ((b"A", b"b"), (b"Accept-Encoding", b"identity"))
    only_fields = Stage({"response_transform": {"headers": {"remove": ["Server"]}}})
    assert (await only_fields.sent(asked)).headers == asked.headers


async def test_a_failure_is_a_problem(caplog: pytest.LogCaptureFixture) -> None:
    """It names the transform and says nothing else; the log says why."""
    stage = Stage({"name": "full name", "response_transform": {"template": {"x": "{{ hidden }}"}}})
    response = UpstreamResponse(200, b"", (JSON,), b'{"old":"secret"}')
    answer = await stage.transformation.response(envelope(), response)
    detail = "The transform full name could not be applied."
    assert answer == Problem("transform-failed", detail, "unknown")
    assert stage.told == [("full name", "failed")]
    assert "full name failed on the response of route list-users: field x: " in caplog.text
    assert "'hidden' is undefined" in caplog.text
    assert "secret" not in caplog.text


async def test_a_request_that_fails_is_not_executed() -> None:
    """The problem says so."""
    stage = Stage({"request_transform": {"template": {"x": "{{ hidden }}"}}})
    answer = await stage.transformation.request(post(body=b"{}", headers=(JSON,)))
    assert isinstance(answer, Problem)
    assert answer.executed == "no"


async def test_unknown_codings_do_not_pass() -> None:
    """The answer may hold what the transform is to take away."""
    stage = Stage({"response_transform": RENAMING})
    response = UpstreamResponse(200, b"", (JSON, (b"Content-Encoding", b"br")), b"???")
    assert isinstance(await stage.transformation.response(envelope(), response), Problem)


async def test_large_bodies_are_changed_too() -> None:
    """Each by a thread, one at a time, with the same result."""
    stage = Stage({"response_transform": RENAMING})
    body = json.dumps([{"old": number} for number in range(20_000)]).encode()
    answer = await stage.answered(body)
    assert json.loads(answer.body) == [{"new": number} for number in range(20_000)]


async def test_a_body_beyond_the_limit_is_not_read() -> None:
    """Reading takes many times its size, whoever it comes from."""
    stage = Stage({"response_transform": RENAMING})
    large = UpstreamResponse(200, b"", (JSON,), b'{"old":"' + b"x" * 1024**2 + b'"}')
    assert isinstance(await stage.transformation.response(envelope(), large), Problem)


async def test_large_bodies_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several only one is read at a time, for read it takes many times its size."""
    stage = Stage({"response_transform": RENAMING})
    loop = asyncio.get_running_loop()
    started, go_on = asyncio.Queue[bytes](), threading.Event()

    def held(body: bytes, *_: object) -> bytes:
        loop.call_soon_threadsafe(started.put_nowait, body)
        go_on.wait()
        return b"{}"

    monkeypatch.setattr(workshop, "changed", held)
    tasks = [asyncio.create_task(stage.answered(letter * 100_000)) for letter in (b"a", b"b")]
    try:
        assert (await started.get())[:1] == b"a"
        await asyncio.to_thread(lambda: None)  # what the second would need to start
        await settled()
        assert started.empty()
    finally:
        go_on.set()
        await asyncio.gather(*tasks)
    assert (await started.get())[:1] == b"b"


@pytest.mark.parametrize(
    "body",
    [b'{"old":1,"secret":NaN}', b"{'old': 1}", b'{"old":', b'{"old":1}'.decode().encode("utf-16")],
)
async def test_an_answer_that_is_called_json_must_be(
    body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """A client may read what nobody here could, and find what was to be taken away."""
    stage = Stage({"response_transform": RENAMING})
    response = UpstreamResponse(200, b"", (JSON,), body)
    answer = await stage.transformation.response(envelope(), response)
    assert answer == Problem(
        "transform-failed", "The transform t0 could not be applied.", "unknown"
    )
    assert "can't be read as JSON" in caplog.text


async def test_a_byte_order_mark_hides_nothing() -> None:
    """Many clients leave it out, so it is left out here."""
    stage = Stage({"response_transform": RENAMING})
    assert (await stage.answered(b'\xef\xbb\xbf{"old":1}')).body == b'{"new":1}'


async def test_a_request_that_can_not_be_read_passes() -> None:
    """Whether it has to be JSON is for validation to say, at the door."""
    stage = Stage({"request_transform": RENAMING})
    asked = post(body=b'{"old":', headers=(JSON,))
    assert (await stage.sent(asked)).body == asked.body
    assert stage.told == [("t0", "skipped")]


async def test_what_comes_too_late_says_so() -> None:
    """With the problem of every deadline, and the name of the transform."""
    stage = Stage({"response_transform": RENAMING})
    late = UpstreamResponse(200, b"", (JSON,), json.dumps({"old": "x" * 50_000}).encode())
    answer = await stage.transformation.response(envelope(deadline=NOW), late)
    detail = "The transform t0 could not be applied."
    assert answer == Problem("deadline-exceeded", detail, "unknown")
