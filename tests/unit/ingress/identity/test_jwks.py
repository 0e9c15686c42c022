"""Keys from a URL: fetched, rotated, sought, and kept while their endpoint is away."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from broker.messages import Principal
from config.models.auth import Auth
from config.models.gateway import GatewayOptions
from config.models.tiers import DEFAULT_TIERS
from config.snapshot import Snapshot
from ingress.identity.identity import Identity
from ingress.identity.jwks import Timing
from ingress.identity.keys import read_key_set
from ingress.metrics import IngressListener
from ingress.policies.authentication import Authenticator
from ingress.problems import Refused
from tests.unit.ingress.identity.issuer import Issuer, issuing
from tests.unit.ingress.identity.signing import (
    SECRET,
    Clock,
    KeyPair,
    bearer,
    encoded,
    key_pair,
    key_set,
)

OLD, NEW = key_pair("RSA"), key_pair("P-256")
ALICE = Principal("alice", "FREE")
COOLDOWN, NEGATIVE, FAREWELL = 10.0, 60.0, 300.0


class Fetches(IngressListener):
    """How fetches ended, one after the other."""

    def __init__(self) -> None:
        self.ended: asyncio.Queue[bool] = asyncio.Queue()

    def keys_fetched(self, good: bool) -> None:
        self.ended.put_nowait(good)

    async def next(self) -> bool:
        return await asyncio.wait_for(self.ended.get(), 10)


class Door:
    """An authenticator over fetched keys. Its clock stands still unless a test moves it."""

    def __init__(self, **timing: float) -> None:
        self.clock = Clock(0.0)
        self.fetches = Fetches()
        self.identity = Identity(
            SECRET,
            listener=self.fetches,
            timing=Timing(**{"refresh": 3600.0, "retry_first": 3600.0, **timing}),
            monotonic=self.clock,
            jitter=lambda: 0.0,
        )
        self.authenticator: Authenticator

    def use(self, url: str | None, **auth: Any) -> None:
        made = Auth.model_validate({"algorithms": ["RS256", "ES256"], "jwks_url": url, **auth})
        options = GatewayOptions(auth=made)
        keyring = self.identity.keyring(Snapshot((), {}, options=options))
        self.authenticator = Authenticator(made, DEFAULT_TIERS, keyring, Clock())

    async def ask(self, authorization: str) -> Principal | int | None:
        """The caller, or the status of the refusal."""
        given = {"Authorization": authorization}
        try:
            known = self.authenticator.recall(given)
            return known or await self.authenticator.authenticate(given, required=True)
        except Refused as refused:
            return refused.problem_type.status


@asynccontextmanager
async def door(issuer: Issuer, **timing: float) -> AsyncIterator[Door]:
    """One whose first fetch has ended."""
    made = Door(**timing)
    made.use(issuer.url)
    async with made.identity:
        await made.fetches.next()
        yield made


def by(pair: KeyPair, kid: str | None, **claims: Any) -> str:
    return "Bearer " + pair.token("RS256" if pair is OLD else "ES256", kid, **claims)


# --- fetching and rotation ------------------------------------------------------------------------


async def test_fetched_keys_check_tokens() -> None:
    """A token of the issuer is good, with or without the name of its key; others are not."""
    async with issuing(OLD.jwk("old")) as issuer, door(issuer) as subject:
        assert subject.identity.ready is True
        assert await subject.ask(by(OLD, "old")) == ALICE
        assert await subject.ask(by(OLD, None)) == ALICE
        assert await subject.ask("Bearer " + key_pair("RSA", 1).token("RS256", "old")) == 401
        assert issuer.asked == 1


async def test_a_new_key_is_found_at_once() -> None:
    """The first token under a new key makes the keys be fetched, once for all that wait."""
    async with issuing(OLD.jwk("old")) as issuer, door(issuer) as subject:
        issuer.jwks.append(NEW.jwk("new"))
        subject.clock.now = COOLDOWN
        tokens = [by(NEW, "new", jti=str(number)) for number in range(20)]
        assert await asyncio.gather(*map(subject.ask, tokens)) == [ALICE] * 20
        assert await subject.ask(by(OLD, "old")) == ALICE
        assert issuer.asked == 2


async def test_a_withdrawn_key_counts_no_more() -> None:
    """Tokens of a key that is gone are refused, those that were verified before among them."""
    async with issuing(OLD.jwk("old")) as issuer, door(issuer) as subject:
        assert await subject.ask(by(OLD, "old")) == ALICE
        issuer.jwks = [NEW.jwk("new")]
        subject.clock.now = COOLDOWN
        assert await subject.ask(by(NEW, "new")) == ALICE
        assert await subject.ask(by(OLD, "old")) == 401


async def test_a_key_that_is_withdrawn_meanwhile() -> None:
    """A token that is being checked then is good this once, and not remembered."""
    async with issuing(OLD.jwk("old")) as issuer, door(issuer) as subject:
        token = by(OLD, "old")
        asked = asyncio.create_task(subject.ask(token))
        await asyncio.sleep(0)
        assert subject.identity._remote is not None
        subject.identity._remote._use(read_key_set(key_set(NEW.jwk("new")), ["ES256"]))
        assert await asked == ALICE
        assert subject.authenticator.recall({"Authorization": token}) is None
        assert await subject.ask(token) == 401


async def test_a_key_under_the_same_name_is_another_key() -> None:
    """What counts is the key, not what it is called."""
    async with issuing(OLD.jwk("k")) as issuer, door(issuer, refresh=0.01) as subject:
        assert await subject.ask(by(OLD, "k")) == ALICE
        issuer.jwks = [key_pair("RSA", 1).jwk("k")]
        before = issuer.asked
        while issuer.asked < before + 2:
            await subject.fetches.next()
        assert await subject.ask(by(OLD, "k")) == 401


async def test_regular_refresh() -> None:
    """Keys are fetched again and again without anybody asking; unchanged ones disturb nobody."""
    async with issuing(OLD.jwk("old")) as issuer, door(issuer, refresh=0.01) as subject:
        token = by(OLD, "old")
        assert await subject.ask(token) == ALICE
        for _ in range(3):
            assert await subject.fetches.next()
        assert subject.authenticator.recall({"Authorization": token}) == ALICE
        assert issuer.asked >= 3


# --- unknown names --------------------------------------------------------------------------------


async def test_a_flood_of_unknown_names() -> None:
    """Nine thousand names that no key has cause one fetch per cooldown, and no more."""
    async with issuing(OLD.jwk("old")) as issuer, door(issuer) as subject:
        valid = by(OLD, "old").split(".")
        for round_ in range(3):
            subject.clock.now += COOLDOWN
            for number in range(0, 3000, 100):
                flood = [
                    subject.ask(f"Bearer {header(f'{round_}-{number + n}')}.{valid[1]}.{valid[2]}")
                    for n in range(100)
                ]
                assert await asyncio.gather(*flood) == [401] * 100
                assert await subject.ask(by(OLD, "old")) == ALICE
            assert issuer.asked == 2 + round_
        assert subject.identity._remote is not None
        assert len(subject.identity._remote._missing) <= 1024


def header(kid: str) -> str:
    return encoded(json.dumps({"alg": "RS256", "kid": kid}).encode())


async def test_a_missing_name_is_remembered_for_a_while() -> None:
    """A name that was sought in vain causes no fetch for a minute, though the cooldown is over."""
    async with issuing(OLD.jwk("old")) as issuer, door(issuer) as subject:
        for now, asked in (
            (COOLDOWN, 2),
            (COOLDOWN + NEGATIVE - 1, 2),
            (COOLDOWN + NEGATIVE, 3),
        ):
            subject.clock.now = now
            assert await subject.ask(by(NEW, "new")) == 401
            assert issuer.asked == asked


async def test_a_name_is_sought_only_for_algorithms_of_public_keys() -> None:
    """HMAC and what is not allowed never cause a fetch."""
    async with issuing(OLD.jwk("old")) as issuer, door(issuer) as subject:
        subject.use(issuer.url, algorithms=["HS256", "RS256"])
        await subject.fetches.next()
        subject.clock.now = COOLDOWN
        assert await subject.ask(bearer(headers={"kid": "any"})) == ALICE
        assert await subject.ask(by(NEW, "new")) == 401
        assert issuer.asked == 2


# --- an endpoint that is away ---------------------------------------------------------------------


async def test_the_last_good_keys_serve() -> None:
    """While the endpoint is away, or talks nonsense, known tokens and new ones of old keys pass."""
    async with issuing(OLD.jwk("old")) as issuer, door(issuer) as subject:
        await issuer.stop()
        for _ in range(2):
            subject.clock.now += COOLDOWN
            assert await subject.ask(by(NEW, "new")) == 401
            assert await subject.fetches.next() is False
            assert await subject.ask(by(OLD, "old", jti=str(subject.clock.now))) == ALICE
        await issuer.start()
        issuer.jwks.append(NEW.jwk("new"))
        subject.clock.now += COOLDOWN
        assert await subject.ask(by(NEW, "new")) == ALICE
        assert subject.identity.ready is True


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 500},
        {"status": 404, "body": b'{"keys": []}'},
        {"status": 302, "headers": {"Location": "/elsewhere"}},
        {"body": b'{"keys": []}'},
        {"body": b"<html>"},
        {"body": b" " * 300_000},
        {"body": b"\x1f\x8b", "headers": {"Content-Encoding": "gzip"}},
    ],
)
async def test_useless_answers(answer: dict[str, Any]) -> None:
    """None of them takes the place of good keys."""
    async with issuing(OLD.jwk("old")) as issuer, door(issuer) as subject:
        issuer.answer = web.Response(**answer)
        subject.clock.now = COOLDOWN
        assert await subject.ask(by(NEW, "new")) == 401
        assert await subject.fetches.next() is False
        assert await subject.ask(by(OLD, "old")) == ALICE
        assert issuer.asked == 2


async def test_not_ready_before_the_first_keys() -> None:
    """Until keys were fetched nothing can be said of a token: 503; then it is good."""
    issuer = Issuer(OLD.jwk("old"))
    async with door(issuer, retry_first=0.01, retry_most=0.01) as subject:
        assert subject.identity.ready is False
        assert await subject.ask(by(OLD, "old")) == 503
        await issuer.start()
        await asyncio.wait_for(subject.identity.available(), 10)
        assert await subject.ask(by(OLD, "old")) == ALICE
        assert subject.identity.ready is True
    await issuer.stop()


async def test_requests_wait_for_the_first_keys() -> None:
    """A request that comes while the first keys are on their way waits for them."""
    async with issuing(OLD.jwk("old")) as issuer:
        issuer.held = asyncio.Event()
        subject = Door()
        subject.use(issuer.url)
        async with subject.identity:
            await issuer.came.wait()
            asked = asyncio.create_task(subject.ask(by(OLD, None)))
            await asyncio.sleep(0)
            issuer.held.set()
            assert await asked == ALICE


async def test_a_request_does_not_wait_for_long() -> None:
    """An endpoint that hangs keeps requests with unknown names no longer than their patience."""
    async with issuing(OLD.jwk("old")) as issuer, door(issuer, patience=0.01) as subject:
        issuer.held = asyncio.Event()
        subject.clock.now = COOLDOWN
        assert await subject.ask(by(NEW, "new")) == 401
        assert await subject.ask(by(OLD, "old")) == ALICE


async def test_why_keys_are_not_renewed(caplog: pytest.LogCaptureFixture) -> None:
    """The readiness page has the latest reason, the log each one that is not the one before."""
    async with issuing(OLD.jwk("old")) as issuer, door(issuer) as subject:
        assert subject.identity.state == "fetched"
        for status in (500, 500, 404, 500):
            issuer.answer = web.Response(status=status)
            subject.use(issuer.url)
            assert await subject.fetches.next() is False
            assert subject.identity.state == f"last good, failing: status {status}"
        issuer.answer = None
        subject.use(issuer.url)
        assert await subject.fetches.next()
        assert subject.identity.state == "fetched"
    said = [record.getMessage().rpartition(": ")[2] for record in caplog.records]
    assert said == ["status 500", "status 404", "status 500"]


async def test_failures_are_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """The log tells when the endpoint goes, and when it is back, and shows no query of its URL."""
    issuer = Issuer(OLD.jwk("old"))
    subject = Door(retry_first=0.001, retry_most=0.001)
    subject.use(issuer.url + "?code=hidden")
    with caplog.at_level("INFO", "ingress.identity.jwks"):
        async with subject.identity:
            for _ in range(3):
                assert await subject.fetches.next() is False
            await issuer.start()
            while not await subject.fetches.next():
                pass
    await issuer.stop()
    said = [record.getMessage() for record in caplog.records]
    assert [text.partition(",")[0] for text in said] == [
        "auth.jwks_url gave no keys",
        "auth.jwks_url gives keys again",
    ]
    assert "hidden" not in caplog.text


# --- from one configuration to the next -----------------------------------------------------------


async def test_another_configuration_keeps_the_fetched_keys() -> None:
    """With the same URL they stay, though the endpoint is away; what was verified is forgotten."""
    async with issuing(OLD.jwk("old")) as issuer, door(issuer) as subject:
        token = by(OLD, "old")
        assert await subject.ask(token) == ALICE
        await issuer.stop()
        subject.use(issuer.url)
        assert subject.authenticator.recall({"Authorization": token}) == ALICE
        subject.use(issuer.url, issuer="me")
        assert await subject.ask(token) == 401
        assert await subject.ask(by(OLD, "old", iss="me")) == ALICE


async def test_other_algorithms_keep_the_fetched_keys() -> None:
    """The set is read anew for those allowed now, though its endpoint is away."""
    async with issuing(OLD.jwk("old"), NEW.jwk("new")) as issuer, door(issuer) as subject:
        await issuer.stop()
        for algorithms, of_old, of_new in (
            (["ES256", "RS256", "HS256"], ALICE, ALICE),
            (["ES256"], 401, ALICE),
            (["EdDSA"], 401, 401),
            (["RS256"], ALICE, 401),
        ):
            subject.use(issuer.url, algorithms=algorithms)
            assert await subject.fetches.next() is False
            assert subject.identity.ready is (algorithms != ["EdDSA"])
            assert await subject.ask(by(OLD, "old")) == of_old
            assert await subject.ask(by(NEW, "new")) == of_new


async def test_each_reload_fetches() -> None:
    """A key that was taken out of the set counts no more, whenever the last fetch was."""
    async with issuing(OLD.jwk("old")) as issuer, door(issuer) as subject:
        assert await subject.ask(by(OLD, "old")) == ALICE
        issuer.held = asyncio.Event()
        issuer.came.clear()
        subject.use(issuer.url)
        await issuer.came.wait()
        issuer.jwks = [NEW.jwk("new")]
        subject.use(issuer.url)  # what is under way may have been answered before
        issuer.held.set()
        assert [await subject.fetches.next() for _ in range(2)] == [True, True]
        assert await subject.ask(by(OLD, "old")) == 401
        assert issuer.asked == 3


async def test_another_url_that_gives_no_keys() -> None:
    """Those of the former one serve for five minutes, however often it is said; then none do."""
    dead = Issuer().url
    async with issuing(OLD.jwk("old")) as issuer, door(issuer) as subject:
        subject.use(dead)
        token = by(OLD, "old")
        assert await subject.ask(token) == ALICE
        state = "of the former URL, failing: ClientConnectorError"
        assert (subject.identity.ready, subject.identity.state) == (True, state)
        subject.clock.now = FAREWELL - 1
        subject.use(dead, algorithms=["RS256"])
        assert await subject.ask(token) == ALICE
        subject.clock.now = FAREWELL
        subject.use(dead, algorithms=["RS256"])
        while subject.identity.ready:
            await subject.fetches.next()
        assert await subject.ask(token) == 503
        assert subject.identity.state == "missing, failing: ClientConnectorError"
        waiting = asyncio.create_task(subject.identity.available())
        subject.use(issuer.url)
        await asyncio.wait_for(waiting, 10)
        assert await subject.ask(token) == ALICE


async def test_the_url_before_that() -> None:
    """Who goes back to it has its keys, and without an end, though it is away by then."""
    async with issuing(OLD.jwk("old")) as issuer, door(issuer) as subject:
        await issuer.stop()
        for url in (Issuer().url, issuer.url):
            subject.use(url)
            assert await subject.fetches.next() is False
        subject.clock.now = FAREWELL
        subject.use(issuer.url)
        assert await subject.fetches.next() is False
        assert await subject.ask(by(OLD, "old")) == ALICE
        subject.use(None, algorithms=["HS256"])
        subject.use(Issuer().url)
        assert await subject.ask(by(OLD, "old")) == 503


async def test_another_url_has_other_keys() -> None:
    """The old URL is asked no more, and requests wait for the keys of the new one."""
    async with issuing(OLD.jwk("k")) as first, issuing(NEW.jwk("k")) as second:
        async with door(first) as subject:
            assert await subject.ask(by(OLD, "k")) == ALICE
            subject.use(second.url)
            assert await subject.ask(by(NEW, "k")) == ALICE
            assert await subject.ask(by(OLD, "k")) == 401
            subject.use(None, algorithms=["HS256"])
            assert subject.identity.ready is None
            assert await subject.ask(by(NEW, "k")) == 401
        assert (first.asked, second.asked) == (1, 1)


async def test_nothing_is_left_behind() -> None:
    """After the end no task fetches on, and who waited was let go."""
    tasks = asyncio.all_tasks()
    async with issuing(OLD.jwk("old")) as issuer:
        issuer.held = asyncio.Event()
        subject = Door(patience=60.0)
        subject.use(issuer.url)
        async with subject.identity:
            await issuer.came.wait()
            asked = asyncio.create_task(subject.ask(by(OLD, "old")))
            await asyncio.sleep(0)
        assert await asked == 503
    assert asyncio.all_tasks() == tasks
