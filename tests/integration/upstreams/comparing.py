"""Answers given to both clients, and where they do not agree on what they are."""

import re
from collections.abc import Iterable, Sequence

from dispatcher.upstream import Address, UpstreamError, UpstreamResponse
from tests.integration.upstreams.calling import aiohttp, lean
from tests.integration.upstreams.conftest import ClientFactory
from tests.integration.upstreams.requests import request
from tests.integration.upstreams.scripted import PATIENCE, ScriptedUpstream, Wire

Outcome = UpstreamResponse | UpstreamError

# What aiohttp's parser takes for a response, with no way to be strict; the lean client refuses it.
LENIENT = {
    "bare LF": re.compile(rb"(?<!\r)\n"),
    "bare CR": re.compile(rb"\r(?!\n)"),
    "folded line": re.compile(rb"\n[ \t]"),
    "space behind a chunk size": re.compile(rb"\n[0-9a-fA-F]+[ \t]+[\r;]"),
    "control character": re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"),
    "trailers that are none": re.compile(rb"(?is)chunked.*\r\n0+(;[^\r\n]*)?\r\n."),
}


async def outcomes(make_client: ClientFactory, answers: Sequence[bytes]) -> list[Outcome]:
    """How calls end that are answered so, followed by the end of the connection.

    The calls are POSTs, which nobody may repeat.
    """

    async def script(wire: Wire) -> None:
        target = (await wire.request()).split(b" ")[1]
        await wire.send(answers[int(target[1:])])

    async def outcome(address: Address, number: int) -> Outcome:
        async with make_client() as client:  # a new one has no connection that is being closed
            try:
                return await client.call(address, request("POST", f"/{number}"), PATIENCE)
            except UpstreamError as error:
                return error

    async with ScriptedUpstream(script) as upstream:
        return [await outcome(upstream.address, number) for number in range(len(answers))]


async def disagreements(answers: Sequence[bytes]) -> list[str]:
    """Where one accepts what the other does not, or reads it otherwise, without a known reason."""
    pairs = zip(
        answers, await outcomes(lean, answers), await outcomes(aiohttp, answers), strict=True
    )
    return [
        f"{answer!r}: lean {ours!r}, aiohttp {theirs!r}"
        for answer, ours, theirs in pairs
        if not _agree(ours, theirs) and not await _is_known(answer, ours, theirs)
    ]


def _agree(ours: Outcome, theirs: Outcome) -> bool:
    if isinstance(ours, UpstreamError) or isinstance(theirs, UpstreamError):
        return isinstance(ours, UpstreamError) and isinstance(theirs, UpstreamError)
    return ours == theirs


async def _is_known(answer: bytes, ours: Outcome, theirs: Outcome) -> bool:
    if isinstance(ours, UpstreamError):
        return any(pattern.search(answer) for pattern in LENIENT.values())
    if isinstance(theirs, UpstreamError):
        return ours in await outcomes(aiohttp, list(_beginnings(answer)))
    return False


def _beginnings(answer: bytes) -> Iterable[bytes]:
    """The lean client drops what is behind a response, aiohttp takes offence at it.

    So without that part aiohttp must read the same response.
    """
    return (answer[:length] for length in range(len(answer)))
