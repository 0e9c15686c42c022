"""What a reader of bodies holds, and for how long."""

import asyncio

import pytest

from broker.problems import ProblemType
from config.models.gateway import Limits
from ingress.body_reader import BodyReader
from ingress.heads import parse_head
from ingress.problems import Refused

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNK = b"400\r\n" + b"b" * 1024 + b"\r\n"
LAST = b"0\r\n\r\n"


class Flow:
    """A connection that always flows."""

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def ask_for_body(self) -> None:
        pass

    def await_body(self, waiting: bool) -> None:
        pass


def chunked() -> BodyReader:
    return BodyReader(parse_head(HEAD, Limits()), Flow())


async def reading(reader: BodyReader, limit: int) -> asyncio.Task[bytes]:
    """Somebody who waits for the body."""
    task = asyncio.create_task(reader.read(limit))
    await asyncio.sleep(0)
    return task


@pytest.mark.parametrize("data", [CHUNK * 2, CHUNK * 2 + LAST], ids=["open end", "whole"])
async def test_a_chunked_body_beyond_the_limit_is_refused(data: bytes) -> None:
    """Also if its last bytes come together with those that are too many."""
    reader = chunked()
    task = await reading(reader, limit=2000)

    reader.feed(data)

    with pytest.raises(Refused) as refused:
        await task
    assert refused.value.problem_type is ProblemType.BODY_TOO_LARGE


async def test_nothing_of_a_refused_body_is_kept() -> None:
    """Neither what was there when it was refused, nor what comes before the client is told."""
    reader = chunked()
    task = await reading(reader, limit=2000)

    for _ in range(100):
        reader.feed(CHUNK)

    with pytest.raises(Refused):
        await task
    assert reader._body.take() == b""


async def test_nothing_of_an_expired_body_is_kept() -> None:
    """A client that was too slow has sent for nothing."""
    reader = chunked()
    task = await reading(reader, limit=2000)
    reader.feed(CHUNK)

    reader.expire(Refused(ProblemType.REQUEST_TIMEOUT, "too slow"))
    reader.feed(CHUNK)

    with pytest.raises(Refused):
        await task
    assert reader._body.take() == b""
