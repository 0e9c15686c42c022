"""Raw requests of a public smuggling suite, byte for byte, against the real server.

From mattiasgrenfeldt/bachelors-thesis-http-request-smuggling; the folder is no part of the project.
"""

import asyncio
import os
import re
from contextlib import suppress
from pathlib import Path

import pytest

from tests.unit.ingress.raw_http import PATIENCE, RawClient, Recorder, serving

_DEFAULT = Path(__file__).parents[3] / "shared" / "cases"
FOLDER = Path(os.environ.get("CASES_DIR", _DEFAULT)) / "http-requests"
CASES = sorted(str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.req"))
LIMIT = 1 << 20

# The only ones that are one good request each: what the handler must have got as the body.
GOOD = {
    "get.req": b"",
    "UPPERlowercase/get_cl_lowercase.req": b"abc",
    "UPPERlowercase/get_cl_uppercase.req": b"abc",
    "UPPERlowercase/get_te_CHUNKED.req": b"abc",
    "UPPERlowercase/get_te_chunked_lowercase.req": b"abc",
    "UPPERlowercase/get_te_chunked_uppercase.req": b"abc",
    "overflow/get_te_chunked_0000000000001.req": b"abca",
    "random/get_cl.req": b"abc",
    "random/get_cl_nospace.req": b"abc",
    "random/get_te_chunked_nospace.req": b"abc",
    "random/random_header.req": b"abc",
    "weirdNumbers/get_te_chunked_000.req": b"abc",
}
# Well-formed so far, but larger than allowed.
TOO_LARGE = re.compile(
    r"overflow/get_cl_overflow32\.req|.*/get_te_chunksize_overflow32(_(?!13)\d+)?\.req"
)
# A body that never comes: nobody is answered, for the client leaves first.
UNFINISHED = "random/get_cl_no_body.req"

pytestmark = pytest.mark.skipif(not CASES, reason=f"the cases are not in {FOLDER}; set CASES_DIR")


@pytest.mark.parametrize("case", [case for case in CASES if case in GOOD])
async def test_good_requests(case: str) -> None:
    """One request is one request: method, framing and body as sent."""
    data = (FOLDER / case).read_bytes()
    recorder = Recorder(LIMIT)
    async with serving(recorder) as running, running.client() as client:
        answer = await client.ask(data)
        assert (answer.status, answer.body) == (200, b"[" + GOOD[case] + b"]")
        assert await client.rest() == b""
    request, body = recorder.only
    assert (request.method, request.target, body) == ("GET", "/", GOOD[case])
    assert sent_fields(data) == [b": ".join(pair).lower() for pair in request.raw_headers]


@pytest.mark.parametrize("case", [c for c in CASES if c not in GOOD and c != UNFINISHED])
async def test_bad_requests(case: str) -> None:
    """400 (413 where the length is more than allowed), the end, and nothing for the handler."""
    recorder = Recorder(LIMIT)
    async with serving(recorder) as running, running.client() as client:
        answer = await client.refused((FOLDER / case).read_bytes())
        assert answer.status == (413 if TOO_LARGE.fullmatch(case) else 400)
    assert recorder.requests == []


async def test_an_unfinished_request() -> None:
    """A request without the body that it announces is never handled."""
    recorder = Recorder(LIMIT)
    async with serving(recorder) as running, running.client() as client:
        await client.send((FOLDER / UNFINISHED).read_bytes())
        client.end_sending()
        assert await client.rest() == b""
    assert recorder.requests == []


@pytest.mark.parametrize("case", CASES)
async def test_in_pieces(case: str) -> None:
    """However the network cuts a request, what is made of it is the same."""
    data = (FOLDER / case).read_bytes()
    recorder = Recorder(LIMIT)
    async with serving(recorder) as running, running.client() as client:
        await drip(client, data)
        client.end_sending()
        with suppress(ConnectionResetError):  # by an end that came before the last line end
            await client.rest()
        async with asyncio.timeout(PATIENCE):
            await running.server.all_gone()
    assert [body for _, body in recorder.requests] == ([GOOD[case]] if case in GOOD else [])


async def drip(client: RawClient, data: bytes) -> None:
    """Three bytes at a time; the server may have ended the connection before the last of them."""
    for at in range(0, len(data), 3):
        try:
            await client.send(data[at : at + 3])
        except ConnectionError:
            return
        await asyncio.sleep(0)


def sent_fields(data: bytes) -> list[bytes]:
    """The header lines of a good request, names and values in lower case."""
    lines = data.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
    return [re.sub(rb":[ \t]*", b": ", line, count=1).lower() for line in lines]
