"""How Redis is reached: for how long it is waited for, and which URLs can lead to one."""

import re
from urllib.parse import urlsplit

REDIS_TIMEOUT = 0.05  # seconds by which Redis may hold up a request, unless the operator says more

_is_path = re.compile(r"/?|/\d{1,9}").fullmatch  # of a database, by its number


def check_redis_url(url: str) -> None:
    """Raise ValueError for a URL that can't lead to a Redis; no part of it shows in the message."""
    # Imported only here, as it costs time at the start and memory.
    from redis.asyncio.connection import ConnectionPool
    from redis.exceptions import RedisError

    parts = urlsplit(url)
    if parts.scheme != "unix" and not _is_path(parts.path):
        raise ValueError("the path of a redis URL is the number of a database")
    try:
        pool: ConnectionPool = ConnectionPool.from_url(url)
    except ValueError:
        raise ValueError("no redis URL, or a parameter in it with a bad value") from None
    try:
        pool.make_connection()  # type: ignore[no-untyped-call]
    except (TypeError, ValueError, RedisError):
        raise ValueError("a parameter of the redis URL is unknown, or has a bad value") from None
