"""One connection for all: it can be cut, slowed and restarted, and nobody gets another's reply."""

import asyncio
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import redis.asyncio

from config.redis_urls import REDIS_TIMEOUT
from ingress.redis_errors import RedisRefused, RedisUnavailable, UnsuitableRedis
from ingress.redis_link import RedisLink
from ingress.redis_wire import Script, pack
from tests.servers import RedisClusterNode, RedisServer

ADD = Script("return redis.call('INCRBY', KEYS[1], ARGV[1])")


async def connected(link: RedisLink, expected: bool = True) -> None:
    """Wait until it is, or is not any more."""
    async with asyncio.timeout(30):
        while link.connected is not expected:  # noqa: ASYNC110 - it has no event for this
            await asyncio.sleep(0.01)


async def ask(url: str, *command: Any) -> Any:
    """Another client's command."""
    async with redis.asyncio.Redis.from_url(url) as client:
        return await client.execute_command(*command)  # type: ignore[no-untyped-call]  # by redis-py


async def test_one_turn_one_round_trip(redis_url: str) -> None:
    """What is asked for in one turn of the loop is read by Redis at one go."""
    async with RedisLink(redis_url) as link, redis.asyncio.Redis.from_url(redis_url) as client:
        before = (await client.info("stats"))["total_reads_processed"]
        replies = await asyncio.gather(*(link.call(pack(b"ECHO", b"%d" % n)) for n in range(50)))
        after = (await client.info("stats"))["total_reads_processed"]
    assert replies == [b"%d" % number for number in range(50)]
    assert after - before < 10  # one, INFO's own, and those of clients that come or go


async def test_scripts_are_loaded_whenever_they_are_missing(redis_url: str) -> None:
    """Each call of a script is carried out once, though Redis forgot the script."""
    async with RedisLink(redis_url, [ADD]) as link:
        command = pack(b"EVALSHA", ADD.digest, b"1", b"link:sum", b"2")
        assert await link.call(command) == 2
        await ask(redis_url, "SCRIPT", "FLUSH")
        calls = [link.call(pack(b"ECHO", b"x")), link.call(command), link.call(command)]
        assert await asyncio.gather(*calls) == [b"x", 4, 6]
    await ask(redis_url, "DEL", "link:sum")


async def test_cancelled_callers(redis_url: str) -> None:
    """Callers that leave at any moment never leave their reply to somebody else."""
    async with RedisLink(redis_url) as link:

        async def echo(number: int) -> None:
            assert await link.call(pack(b"ECHO", b"%d" % number)) == b"%d" % number

        async def impatient(number: int) -> None:
            with suppress(TimeoutError):
                await asyncio.wait_for(echo(number), 0.0001 * (number % 7))

        for start in range(0, 1_000, 50):
            numbers = range(start, start + 50)
            await asyncio.gather(*(impatient(n) if n % 2 else echo(n) for n in numbers))
        assert link.connected


async def test_slow_redis(
    private_redis: Callable[[], RedisServer], caplog: pytest.LogCaptureFixture
) -> None:
    """A Redis that does not answer in time costs one deadline, and nothing after that."""
    server = private_redis()
    async with RedisLink(server.url) as link:
        await ask(server.url, "CLIENT", "PAUSE", "700", "ALL")
        with pytest.raises(RedisUnavailable):
            await link.call(pack(b"ECHO", b"x"))
        with pytest.raises(RedisUnavailable):
            link.call(pack(b"ECHO", b"x"))
        await connected(link)
        assert await link.call(pack(b"ECHO", b"y")) == b"y"
    assert "Redis is away: no answer within 35 ms" in caplog.text


async def test_redis_that_hangs_from_the_start(
    private_redis: Callable[[], RedisServer], caplog: pytest.LogCaptureFixture
) -> None:
    """The log says why it is away: here what is asked first of a connection has no answer."""
    server = private_redis()
    await ask(server.url, "CLIENT", "PAUSE", "60000", "ALL")
    # Without the names that redis-py gives a client there is nothing to wait for to connect.
    async with RedisLink(f"{server.url}?lib_name=&lib_version="):
        pass
    assert "Redis is away: no answer within 35 ms" in caplog.text


async def test_a_listener_that_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The log says why Redis is away, though nothing but the time that passed tells so."""
    async with await asyncio.start_server(lambda *_: None, "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
        async with RedisLink(f"redis://:secret@127.0.0.1:{port}/0"):
            pass
    assert "Redis is away: no connection within 1 s" in caplog.text


async def test_a_far_redis(private_redis: Callable[[], RedisServer]) -> None:
    """Who waits for longer for answers waits for longer to connect."""
    server = private_redis()
    await ask(server.url, "CLIENT", "PAUSE", "1500", "ALL")
    async with RedisLink(server.url, deadline=60) as link:
        assert link.connected


async def test_redis_restarts(
    private_redis: Callable[[], RedisServer], caplog: pytest.LogCaptureFixture
) -> None:
    """A dead Redis is noticed though nobody asks, is told of once, and comes back by itself."""
    server = private_redis()
    async with RedisLink(server.url, [ADD], retry_every=0.01) as link:
        server.kill()
        await connected(link, False)
        with pytest.raises(RedisUnavailable):
            link.call(pack(b"PING"))
        server.start()
        await connected(link)
        assert await link.call(pack(b"EVALSHA", ADD.digest, b"1", b"k", b"3")) == 3
    told = [record.message for record in caplog.records if record.name == "ingress.redis_link"]
    assert [line.partition(":")[0] for line in told] == ["Redis is away", "Redis is back"]


async def test_no_redis_at_the_start(private_redis: Callable[[], RedisServer]) -> None:
    """Entering does not fail without Redis; who asks is told at once."""
    server = private_redis()
    server.kill()
    async with RedisLink(server.url) as link:
        assert not link.connected
        with pytest.raises(RedisUnavailable):
            link.call(pack(b"PING"))


async def test_redis_that_takes_no_writes(private_redis: Callable[[], RedisServer]) -> None:
    """A Redis that fails the probe does not count as there."""
    server = private_redis()
    probe = pack(b"SET", b"probe", b"1")
    async with RedisLink(server.url, probe=probe, retry_every=0.01) as link:
        await ask(server.url, "REPLICAOF", "127.0.0.1", "1")
        await connected(link, False)
        await ask(server.url, "REPLICAOF", "NO", "ONE")
        await connected(link)


async def test_a_call_that_redis_refuses(redis_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """Its caller is told, and nobody else; the log has one line for many of them."""
    key = uuid.uuid4().bytes
    async with RedisLink(redis_url, [ADD]) as link:
        assert await link.call(pack(b"LPUSH", key, b"a list")) == 1
        refused = [link.call(pack(b"INCR", key)), link.call(pack(b"NO-SUCH-COMMAND", key))]
        refused += [link.call(pack(b"EVALSHA", ADD.digest, b"1", key, b"1")) for _ in range(50)]
        other = link.call(pack(b"ECHO", b"x"))
        found = await asyncio.gather(*refused, return_exceptions=True)
        assert [type(each) for each in found] == [RedisRefused] * 52
        assert await other == b"x"
        assert link.connected
        await link.call(pack(b"DEL", key))
    told = [record.message for record in caplog.records if record.name == "ingress.redis_link"]
    assert [line.partition(":")[0] for line in told] == ["Redis refused calls, 1 by now; the last"]


async def test_a_refusal_that_is_for_all(private_redis: Callable[[], RedisServer]) -> None:
    """A Redis that has no memory left is away, not only for the call that found out."""
    server = private_redis()
    async with RedisLink(server.url) as link:
        await ask(server.url, "CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(RedisUnavailable) as caught:
            await link.call(pack(b"SET", b"a", b"1"))
        assert caught.type is RedisUnavailable
        assert not link.connected


async def test_a_probe_that_is_refused(redis_url: str) -> None:
    """A Redis that will not carry out the probe, whatever it says, is of no use."""
    async with RedisLink(redis_url, probe=pack(b"NO-SUCH-COMMAND")) as link:
        assert not link.connected


async def test_a_caller_without_all_rights(private_redis: Callable[[], RedisServer]) -> None:
    """Who may not ask whether it is a cluster is served all the same."""
    server = private_redis()
    await ask(server.url, "ACL", "SETUSER", "default", "-cluster")
    async with RedisLink(server.url) as link:
        assert link.connected
        assert not link.is_cluster


async def test_leaving_answers_who_waits(redis_url: str) -> None:
    """Nobody waits for a link that has ended."""
    async with RedisLink(redis_url) as link:
        call = link.call(pack(b"BLPOP", b"link:nothing", b"0"))
        await asyncio.sleep(0)
    with pytest.raises(RedisUnavailable):
        await call


async def test_a_pause_of_this_process_is_not_one_of_redis(redis_url: str) -> None:
    """Replies that came while the loop stood still are read, however late it is by then."""
    async with RedisLink(redis_url) as link:
        call = link.call(pack(b"ECHO", b"x"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        time.sleep(0.2)  # noqa: ASYNC251 - the pause
        assert await call == b"x"


async def test_how_long_the_first_waits(private_redis: Callable[[], RedisServer]) -> None:
    """A Redis that stalls holds nobody up for longer than the deadline.

    The best of several, as this machine may stall, too.
    """
    server = private_redis()
    loop = asyncio.get_running_loop()
    waits = []
    async with RedisLink(server.url, retry_every=0.01) as link:
        for _ in range(5):
            await ask(server.url, "CLIENT", "PAUSE", "200", "ALL")
            began = loop.time()
            with pytest.raises(RedisUnavailable):
                await link.call(pack(b"ECHO", b"x"))
            waits.append(loop.time() - began)
            await connected(link)
    assert min(waits) <= REDIS_TIMEOUT


async def test_a_link_whose_task_ends(private_redis: Callable[[], RedisServer]) -> None:
    """Nobody waits for what will not come: not to enter, not for a reply."""
    server = private_redis()
    await ask(server.url, "CLIENT", "PAUSE", "60000", "ALL")
    link = RedisLink(server.url, deadline=60)
    entering = asyncio.create_task(link.__aenter__())
    await asyncio.sleep(0)
    link._task.cancel()
    await asyncio.wait_for(entering, 30)
    with pytest.raises(RedisUnavailable):
        link.call(pack(b"PING"))
    await link.__aexit__()


async def test_who_gives_up_entering_leaves_nothing(
    private_redis: Callable[[], RedisServer],
) -> None:
    """A link that was not entered has no task."""
    server = private_redis()
    await ask(server.url, "CLIENT", "PAUSE", "60000", "ALL")
    before = asyncio.all_tasks()
    entering = asyncio.create_task(RedisLink(server.url).__aenter__())
    await asyncio.sleep(0)
    entering.cancel()
    await asyncio.wait([entering])
    assert asyncio.all_tasks() == before


async def test_a_cluster_of_one_shard(redis_url: str, redis_cluster_url: str) -> None:
    """It is known for what it is."""
    async with RedisLink(redis_cluster_url) as link, RedisLink(redis_url) as other:
        assert link.connected
        assert link.is_cluster
        assert not other.is_cluster


async def test_a_cluster_of_two_shards(
    private_cluster: Callable[[int], list[RedisClusterNode]],
) -> None:
    """It is refused, with the reason, rather than served in part."""
    for node in private_cluster(2):
        with pytest.raises(UnsuitableRedis, match="2 shards"):
            await RedisLink(node.url).__aenter__()


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost",
        "redis://localhost?foo=1",
        "redis://localhost?socket_timeout=soon",
        "redis://localhost/notadb",
        "redis://localhost/1/2",
        "rediss://localhost?ssl_cert_reqs=perhaps",
    ],
)
def test_bad_url(url: str) -> None:
    """What is no URL of a Redis is refused when the link is made."""
    with pytest.raises(ValueError, match="redis"):
        RedisLink(url)
