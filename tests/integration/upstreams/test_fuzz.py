"""Spoilt responses: what both clients make of them. ``make fuzz`` does it for longer."""

import random

import pytest

from dispatcher.upstream import UpstreamError, UpstreamResponse
from tests.integration.upstreams.calling import aiohttp, lean
from tests.integration.upstreams.comparing import LENIENT, disagreements, outcomes
from tests.integration.upstreams.mutations import mutated


@pytest.mark.parametrize("seed", range(4))
async def test_both_clients_agree(seed: int) -> None:
    """Both accept, with the same response, or both refuse; the exceptions are known by name."""
    chance = random.Random(seed)
    assert await disagreements([mutated(chance) for _ in range(150)]) == []


EXCEPTIONS = {
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n",
    "bare CR": b"HTTP/1.1 200 OK\r\nA:\r b\r\nContent-Length: 0\r\n\r\n",
    "folded line": b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n",
    "space behind a chunk size": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0 \r\n\r\n"
    ),
    "control character": b"HTTP/1.1 200 OK\r\nA: \x1d\r\nContent-Length: 0\r\n\r\n",
    "trailers that are none": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\nTransfer-Encoding: c"
    ),
}


@pytest.mark.parametrize("name", LENIENT)
async def test_exception(name: str) -> None:
    """Each exception is one: aiohttp accepts what the lean client refuses."""
    answer = EXCEPTIONS[name]
    assert LENIENT[name].search(answer)
    [ours] = await outcomes(lean, [answer])
    [theirs] = await outcomes(aiohttp, [answer])
    assert isinstance(ours, UpstreamError)
    assert isinstance(theirs, UpstreamResponse)


async def test_disagreement_would_show() -> None:
    """The comparison itself can fail."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(LENIENT):
            patch.delitem(LENIENT, name)
        assert len(await disagreements([EXCEPTIONS["bare LF"]])) == 1
