"""Tokens for clients: what they say, how long they live, and what is done with a stolen one."""

import asyncio
import logging
from typing import Any

import jwt
import pytest

from broker.messages import Principal
from config.models.auth import Auth, Client
from ingress.identity.clients import generation
from ingress.identity.embedded_sessions import EmbeddedSessions
from ingress.identity.session_store import is_session_id
from ingress.identity.sessions import InvalidGrant, InvalidScope, Sessions, Tokens
from tests.unit.ingress.identity.signing import SECRET, Clock

CLIENT = Client.model_validate(
    {
        "id": "billing",
        "secret_hash": "0" * 64,
        "tier": "PRO",
        "roles": ["machine"],
        "scopes": ["read", "write"],
        "customer": "acme",
    }
)
OTHER = CLIENT.model_copy(update={"id": "other"})


class Office:
    """Sessions over a store of this process, with a clock of the test's own."""

    def __init__(self, **auth: Any) -> None:
        self.clock = Clock()
        self.store = EmbeddedSessions(self.clock)
        self.sessions = self.under(**auth)

    def under(self, **auth: Any) -> Sessions:
        """As after a change of the configuration."""
        return Sessions(Auth.model_validate(auth), SECRET, self.store, clock=self.clock)

    def lasts(self, tokens: Tokens) -> bool:
        session = self.sessions.of(principal(tokens))
        assert session is not None
        return self.store.holds(session)


def claims(tokens: Tokens) -> dict[str, Any]:
    found: dict[str, Any] = jwt.decode(
        tokens.access_token,
        SECRET,
        algorithms=["HS256"],
        options={"verify_exp": False, "verify_iat": False, "verify_aud": False},
    )
    return found


def principal(tokens: Tokens) -> Principal:
    said = claims(tokens)
    return Principal(said["sub"], said["tier"], customer=said["org"], session=said["sid"])


async def test_what_a_token_says() -> None:
    """All that the configuration says of the client, in the claims that it names."""
    office = Office(issuer="me", audience="all", roles_claim="groups", access_ttl=300)
    tokens = await office.sessions.open(CLIENT, None)
    said = claims(tokens)
    assert len(said.pop("jti")) == 32
    assert is_session_id(said.pop("sid"))
    assert said == {
        "sub": "billing",
        "tier": "PRO",
        "groups": ["machine"],
        "scope": "read write",
        "org": "acme",
        "iss": "me",
        "aud": "all",
        "iat": int(office.clock.now),
        "exp": int(office.clock.now) + 300,
        "gws": generation(CLIENT),
    }
    assert (tokens.expires_in, tokens.scopes) == (300, ("read", "write"))


async def test_an_access_token_lives_no_longer_than_its_session() -> None:
    """Whatever access_ttl says."""
    tokens = await Office(access_ttl=300, refresh_ttl=60).sessions.open(CLIENT, None)
    assert tokens.expires_in == 60


async def test_nothing_repeats_and_nothing_is_kept_in_clear() -> None:
    """Tokens have 256 random bits each; the store has none of them."""
    office = Office()
    several = [await office.sessions.open(CLIENT, None) for _ in range(3)]
    several.append(await office.sessions.renew(CLIENT, several[0].refresh_token, None))
    assert len({tokens.access_token for tokens in several}) == 4
    secrets = {tokens.refresh_token.partition(".")[2] for tokens in several}
    assert {len(secret) for secret in secrets} == {43}
    assert len(secrets) == 4
    kept = str([vars_of(each) for each in office.store._owners.values()])
    assert not [secret for secret in secrets if secret in kept]


def vars_of(sessions: Any) -> list[tuple[Any, ...]]:
    return [(name, kept.digest, kept.scopes) for name, kept in sessions.items()]


async def test_scopes_can_only_be_narrowed() -> None:
    """For the session when it is opened, and for one access token when it is renewed."""
    office = Office()
    with pytest.raises(InvalidScope):
        await office.sessions.open(CLIENT, {"read", "admin"})
    tokens = await office.sessions.open(CLIENT, {"read"})
    assert (tokens.scopes, claims(tokens)["scope"]) == (("read",), "read")
    with pytest.raises(InvalidScope):
        await office.sessions.renew(CLIENT, tokens.refresh_token, {"write"})
    narrowed = await office.sessions.renew(CLIENT, tokens.refresh_token, {"read"})
    assert narrowed.scopes == ("read",)


async def test_a_narrow_access_token_does_not_narrow_the_session() -> None:
    """The next renewal gives all again (RFC 6749 section 6)."""
    office = Office()
    tokens = await office.sessions.open(CLIENT, None)
    tokens = await office.sessions.renew(CLIENT, tokens.refresh_token, {"write"})
    assert tokens.scopes == ("write",)
    tokens = await office.sessions.renew(CLIENT, tokens.refresh_token, None)
    assert tokens.scopes == ("read", "write")


async def test_a_renewal_follows_the_configuration() -> None:
    """Tier and scopes that a client no longer has are not in its next token."""
    office = Office()
    tokens = await office.sessions.open(CLIENT, None)
    reduced = CLIENT.model_copy(update={"tier": "FREE", "scopes": ("read", "new")})
    with pytest.raises(InvalidScope):
        await office.sessions.renew(reduced, tokens.refresh_token, {"write"})
    tokens = await office.sessions.renew(reduced, tokens.refresh_token, None)
    assert (tokens.scopes, claims(tokens)["tier"]) == (("read",), "FREE")


async def test_renewals_go_on_as_long_as_they_come_in_time() -> None:
    """Each gives the session as much time again."""
    office = Office(refresh_ttl=3600)
    tokens = await office.sessions.open(CLIENT, None)
    for _ in range(5):
        office.clock.now += 3599
        tokens = await office.sessions.renew(CLIENT, tokens.refresh_token, None)
    office.clock.now += 3600
    assert not office.lasts(tokens)
    with pytest.raises(InvalidGrant):
        await office.sessions.renew(CLIENT, tokens.refresh_token, None)


async def test_a_shorter_life_holds_at_once() -> None:
    """When refresh_ttl is changed, it is changed for sessions that there are."""
    office = Office(refresh_ttl=3600)
    tokens = await office.sessions.open(CLIENT, None)
    office.clock.now += 100
    with pytest.raises(InvalidGrant):
        await office.under(refresh_ttl=60).renew(CLIENT, tokens.refresh_token, None)


@pytest.mark.parametrize(
    "token", ["", "x", "gws_x.y", "gws_" + "a" * 22 + "." + "b" * 43, "é" * 70]
)
async def test_a_token_that_is_none(token: str) -> None:
    """It renews nothing, and ends nothing."""
    office = Office()
    tokens = await office.sessions.open(CLIENT, None)
    with pytest.raises(InvalidGrant):
        await office.sessions.renew(CLIENT, token, None)
    assert office.lasts(tokens)


async def test_a_token_of_another_client() -> None:
    """It renews nothing, and whose it is loses nothing."""
    office = Office()
    tokens = await office.sessions.open(CLIENT, None)
    with pytest.raises(InvalidGrant):
        await office.sessions.renew(OTHER, tokens.refresh_token, None)
    assert office.lasts(tokens)


async def test_fifty_parallel_uses(caplog: pytest.LogCaptureFixture) -> None:
    """One succeeds, and what it got is worth nothing; the log says so, without any token."""
    caplog.set_level(logging.DEBUG)
    office = Office()
    tokens = await office.sessions.open(CLIENT, None)
    uses = [office.sessions.renew(CLIENT, tokens.refresh_token, None) for _ in range(50)]
    found = await asyncio.gather(*uses, return_exceptions=True)
    [winner] = [each for each in found if isinstance(each, Tokens)]
    assert sum(isinstance(each, InvalidGrant) for each in found) == 49
    assert not office.lasts(winner)
    with pytest.raises(InvalidGrant):
        await office.sessions.renew(CLIENT, winner.refresh_token, None)
    [line] = caplog.records
    assert line.levelno == logging.WARNING
    assert claims(tokens)["sid"] in line.getMessage()
    for each in (tokens, winner):
        assert each.refresh_token.partition(".")[2] not in caplog.text
        assert each.access_token not in caplog.text


async def test_own_sessions() -> None:
    """A caller sees and ends its own, and no other's."""
    office = Office()
    one, two = [await office.sessions.open(CLIENT, None) for _ in range(2)]
    foreign = await office.sessions.open(OTHER, None)
    me = principal(one)
    listed = await office.sessions.listed(me, 3)
    assert [each.id for each in listed] == [claims(tokens)["sid"] for tokens in (two, one)]
    assert office.sessions.ends(listed[0]) == office.clock.now + 1_209_600
    assert not await office.sessions.end(me, claims(foreign)["sid"])
    assert await office.sessions.end(me, claims(two)["sid"])
    assert [office.lasts(each) for each in (one, two, foreign)] == [True, False, True]
