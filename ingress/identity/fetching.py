"""One HTTP GET of a small document whose server may be slow, large, or wrong."""

import aiohttp

_DEADLINE = 5.0  # seconds for all of it
_LARGEST = 256 * 1024  # bytes
_FIELDS = {
    "Accept": "application/jwk-set+json, application/json",
    "Accept-Encoding": "identity",  # nothing to inflate, so nothing that is small only on its way
}


class FetchFailed(Exception):
    """Why there is no document."""


async def fetch(url: str) -> bytes:
    """The content of a 200; redirects are not followed. Raises FetchFailed, within 5 s."""
    try:
        async with (
            aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=_DEADLINE), auto_decompress=False
            ) as session,
            session.get(url, headers=_FIELDS, allow_redirects=False) as response,
        ):
            if response.status != 200:
                raise FetchFailed(f"status {response.status}")
            return await _bounded(response.content)
    except TimeoutError as error:
        raise FetchFailed(f"no answer within {_DEADLINE:.0f} s") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        # Not its text, which may hold the URL, and with it what the query keeps secret.
        raise FetchFailed(type(error).__name__) from error


async def _bounded(content: aiohttp.StreamReader) -> bytes:
    received = bytearray()
    async for chunk in content.iter_any():
        received += chunk
        if len(received) > _LARGEST:
            raise FetchFailed(f"more than {_LARGEST} bytes")
    return bytes(received)
