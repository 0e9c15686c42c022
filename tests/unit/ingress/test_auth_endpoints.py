"""The token endpoints: who gets tokens, who is told what, and how often one may guess."""

import json
import logging
from base64 import b64encode
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from broker.messages import Headers, Principal
from broker.problems import ProblemType
from config.models.gateway import GatewayOptions
from config.models.tiers import DEFAULT_TIERS
from config.snapshot import Snapshot
from ingress.auth_endpoints import AuthEndpoints
from ingress.identity.clients import hashed_secret
from ingress.identity.embedded_sessions import EmbeddedSessions
from ingress.identity.identity import Identity
from ingress.identity.session_store import SessionsUnavailable
from ingress.limits.allowance import Outcome, Store, StoreUnavailable
from ingress.limits.embedded import EmbeddedStore
from ingress.metrics import IngressListener
from ingress.origin import Origins
from ingress.policies.authentication import Authenticator
from ingress.policies.endpoint_limits import EndpointLimits
from ingress.policies.guesses import GuardedAuthenticator, Guesses
from ingress.problems import Refused
from ingress.request import Response
from tests.unit.ingress.identity.signing import SECRET, Clock, bearer
from tests.unit.ingress.requests import make_request

FORM = (b"Content-Type", b"application/x-www-form-urlencoded")
PASSWORD = "the-secret-of-billing"
CLIENT = {"id": "billing", "secret_hash": hashed_secret(PASSWORD).hex(), "scopes": ["read"]}
OTHER = {"id": "other", "secret_hash": hashed_secret("x").hex()}
FETCH = "grant_type=client_credentials"


class Heard(IngressListener):
    """What was told, each as a line."""

    def __init__(self) -> None:
        self.lines: Counter[str] = Counter()

    def tokens_asked(self, result: str) -> None:
        self.lines[result] += 1

    def authentication_failed(self, credential: str, limited: bool) -> None:
        self.lines[f"{credential} {'limited' if limited else 'refused'}"] += 1

    def refresh_token_reused(self) -> None:
        self.lines["reused"] += 1

    def session_ended(self, reason: str) -> None:
        self.lines[f"ended by {reason}"] += 1


class Desk:
    """Token endpoints of two clients, with a clock of the test's own."""

    def __init__(
        self,
        store: Store | None = None,
        rules: Sequence[dict[str, Any]] = (),
        most: int = 1000,
        **auth: Any,
    ) -> None:
        self.clock = Clock()
        self.heard = Heard()
        sessions = EmbeddedSessions(self.clock, most)
        embedded = EmbeddedStore(lambda: int(self.clock.now * 1_000_000), sessions=sessions)
        self.store = embedded if store is None else store
        options = GatewayOptions.model_validate(
            {"auth": {"clients": [CLIENT, OTHER], **auth}, "rate_limits": rules}
        )
        identity = Identity(SECRET, listener=self.heard)
        keyring = identity.keyring(Snapshot((), {}, options=options))
        authenticator = Authenticator(options.auth, DEFAULT_TIERS, keyring, self.clock)
        issuing = identity.sessions(options.auth, self.store.sessions, self.clock)
        assert issuing is not None
        parts = (self.store, Origins(()).accountable)
        self.endpoints = AuthEndpoints(
            issuing,
            GuardedAuthenticator(authenticator, Guesses("caller", *parts, self.heard)),
            Guesses("client", *parts, self.heard, "closed"),
            EndpointLimits(options, *parts),
            self.heard,
        )

    async def ask(
        self,
        method: str,
        path: str,
        *headers: tuple[bytes, bytes],
        body: str = "",
        peer: str = "192.0.2.1",
        principal: Principal | None = None,
    ) -> Response:
        """The answer, a refusal included."""
        request = make_request(method, path, headers, body=body.encode(), peer=peer)
        request.principal = principal
        try:
            return await self.endpoints.answer(request, path.partition("?")[0], "r1")
        except Refused as refused:
            return refused.response(request_id="r1", instance=path)

    async def form(
        self,
        path: str,
        body: str,
        password: str = PASSWORD,
        peer: str = "192.0.2.1",
        name: str = "billing",
    ) -> Response:
        """A form of a client that authenticates."""
        headers = (FORM, basic(name, password))
        return await self.ask("POST", path, *headers, body=body, peer=peer)

    async def fetch(self, **more: str) -> dict[str, Any]:
        """Tokens."""
        return page(await self.form("/auth/token", FETCH, **more))

    async def pages(self, tokens: dict[str, Any]) -> list[int]:
        """How many sessions of their own a client sees on each page."""
        seen: set[str] = set()
        sizes, where = [], "/auth/sessions"
        while where:
            found = page(await self.ask("GET", where, by(tokens)))
            sizes.append(len(found["sessions"]))
            seen.update(each["id"] for each in found["sessions"])
            where = found.get("next", "")
        assert len(seen) == sum(sizes)
        return sizes


def basic(name: str, password: str) -> tuple[bytes, bytes]:
    return (b"Authorization", b"Basic " + b64encode(f"{name}:{password}".encode()))


def by(tokens: dict[str, Any]) -> tuple[bytes, bytes]:
    return (b"Authorization", f"Bearer {tokens['access_token']}".encode())


def page(response: Response) -> dict[str, Any]:
    found = json.loads(response.body)
    assert isinstance(found, dict)
    return found


def fields(response: Response) -> dict[bytes, bytes]:
    """All of an answer that nobody may keep."""
    found = dict(response.headers)
    assert found[b"Cache-Control"] == b"no-store"
    assert found[b"X-Request-ID"] == b"r1"
    return found


def failure(response: Response) -> tuple[int, str]:
    """Status, and error or problem."""
    said = page(response)
    fields(response)
    return response.status, said.get("error") or said["type"].removeprefix("/problems/")


# --- tokens ---------------------------------------------------------------------------------------


async def test_client_credentials() -> None:
    """In the field or in the form."""
    desk = Desk()
    by_field = await desk.form("/auth/token", FETCH)
    body = f"{FETCH}&client_id=billing&client_secret={PASSWORD}&scope=read"
    by_form = await desk.ask("POST", "/auth/token", FORM, body=body)
    for response in (by_field, by_form):
        assert response.status == 200
        fields(response)
        assert page(response)["token_type"] == "Bearer"
        assert page(response)["scope"] == "read"


@pytest.mark.parametrize("path", ["/auth/token", "/auth/refresh"])
async def test_refresh(path: str) -> None:
    """A refresh token gives new tokens once; then it ends the session."""
    desk = Desk()
    tokens = await desk.fetch()
    body = f"grant_type=refresh_token&refresh_token={tokens['refresh_token']}"
    renewed = page(await desk.form(path, body))
    assert renewed["refresh_token"] != tokens["refresh_token"]
    assert (await desk.ask("GET", "/auth/sessions", by(tokens))).status == 200
    assert failure(await desk.form(path, body)) == (400, "invalid_grant")
    for each in (tokens, renewed):
        assert failure(await desk.ask("GET", "/auth/sessions", by(each))) == (401, "unauthorized")


async def test_the_refresh_endpoint_needs_no_grant_type() -> None:
    """It has only one."""
    desk = Desk()
    tokens = await desk.fetch()
    body = f"refresh_token={tokens['refresh_token']}"
    assert (await desk.form("/auth/refresh", body)).status == 200


@pytest.mark.parametrize(
    ("path", "body", "error"),
    [
        ("/auth/token", "", "invalid_request"),
        ("/auth/token", "grant_type=", "invalid_request"),
        ("/auth/token", "grant_type=password&username=a&password=b", "unsupported_grant_type"),
        ("/auth/token", "grant_type=authorization_code", "unsupported_grant_type"),
        ("/auth/token", "grant_type=refresh_token", "invalid_request"),
        ("/auth/token", f"{FETCH}&{FETCH}", "invalid_request"),
        ("/auth/token", f"{FETCH}&scope=read+admin", "invalid_scope"),
        ("/auth/token", f"{FETCH}&scope=read++read", "invalid_scope"),
        ("/auth/token", f"{FETCH}&client_secret=x", "invalid_request"),
        ("/auth/token", f"{FETCH}&client_id=other", "invalid_request"),
        ("/auth/refresh", "", "invalid_request"),
        ("/auth/refresh", FETCH, "unsupported_grant_type"),
        ("/auth/refresh", "refresh_token=x", "invalid_grant"),
    ],
)
async def test_errors_of_a_client(path: str, body: str, error: str) -> None:
    """What is wrong with a request is told in the words of RFC 6749 section 5.2."""
    assert failure(await Desk().form(path, body)) == (400, error)


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (basic("billing", "wrong"),),
        (basic("nobody", PASSWORD),),
        (basic("other", PASSWORD),),
        ((b"Authorization", b"Basic !"),),
        ((b"Authorization", b"Digest x"),),
    ],
)
@pytest.mark.parametrize("path", ["/auth/token", "/auth/refresh"])
async def test_who_is_no_client(headers: Headers, path: str) -> None:
    """All get the same words, whichever part is wrong."""
    body = f"{FETCH}&refresh_token=x"
    response = await Desk().ask("POST", path, FORM, *headers, body=body)
    assert failure(response) == (401, "invalid_client")
    assert fields(response)[b"WWW-Authenticate"].startswith(b"Basic ")
    assert page(response)["error_description"] == (
        "There is no such client with such a secret, or none was given."
    )


async def test_nothing_secret_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Neither in answers that are no tokens, nor in the log."""
    caplog.set_level(logging.DEBUG)
    desk = Desk()
    tokens = await desk.fetch()
    stolen = f"refresh_token={tokens['refresh_token']}"
    answers = [
        await desk.form("/auth/token", FETCH, "a-wrong-secret"),
        await desk.form("/auth/refresh", stolen + "x"),
        await desk.form("/auth/refresh", stolen, "x", name="other"),
    ]
    await desk.form("/auth/refresh", stolen)
    answers.append(await desk.form("/auth/refresh", stolen))
    answers.append(await desk.ask("GET", "/auth/sessions", by(tokens)))
    told = caplog.text + str([(each.headers, each.body) for each in answers])
    for secret in (PASSWORD, "a-wrong-secret", tokens["access_token"]):
        assert secret not in told
    assert tokens["refresh_token"].partition(".")[2] not in told


# --- sessions -------------------------------------------------------------------------------------


async def test_own_sessions() -> None:
    """They are listed with their times; the one that asks is marked."""
    desk = Desk(refresh_ttl=3600)
    tokens = await desk.fetch()
    desk.clock.now += 10
    await desk.fetch()
    await desk.fetch(name="other", password="x")
    listed = page(await desk.ask("GET", "/auth/sessions", by(tokens)))["sessions"]
    assert await desk.pages(tokens) == [2]
    began = int(desk.clock.now) - 10
    assert [each.pop("id")[:4] for each in listed] == ["gws_"] * 2
    assert listed == [
        {
            "scope": "read",
            "opened_at": began + later,
            "renewed_at": began + later,
            "ends_at": began + later + 3600,
            "current": later == 0,
        }
        for later in (10, 0)
    ]


async def test_many_sessions_are_listed_by_pages() -> None:
    """Each is on one of them, while others are ended; each page says where the next one begins."""
    desk = Desk()
    for _ in range(120):
        desk.clock.now += 0.125
        tokens = await desk.fetch()
    assert await desk.pages(tokens) == [50, 50, 20]
    first = page(await desk.ask("GET", "/auth/sessions", by(tokens)))
    for each in first["sessions"][1:]:
        await desk.ask("DELETE", f"/auth/sessions/{each['id']}", by(tokens))
    second = page(await desk.ask("GET", first["next"], by(tokens)))
    listed = first["sessions"] + second["sessions"]
    assert len({each["id"] for each in listed}) == 100
    assert [each["current"] for each in listed] == [True] + [False] * 99
    times = [each["renewed_at"] for each in listed]
    assert times == sorted(times, reverse=True)


@pytest.mark.parametrize("before", ["x", "-1", "1e9", "nan", "%D9%A1", "1" * 13])
async def test_a_page_that_is_none(before: str) -> None:
    """400, and it is said what is wrong."""
    desk = Desk()
    response = await desk.ask("GET", f"/auth/sessions?before={before}", by(await desk.fetch()))
    assert failure(response) == (400, "invalid-request")
    assert page(response)["errors"][0]["pointer"] == "/before"


async def test_ending_a_session() -> None:
    """Of one's own any, once; of a stranger none, which looks like one that never was."""
    desk = Desk()
    mine, second = await desk.fetch(), await desk.fetch()
    foreign = await desk.fetch(name="other", password="x")

    async def current(tokens: dict[str, Any]) -> str:
        listed = page(await desk.ask("GET", "/auth/sessions", by(tokens)))["sessions"]
        return str(next(each["id"] for each in listed if each["current"]))

    names = [await current(each) for each in (second, foreign)]
    ended = [await desk.ask("DELETE", f"/auth/sessions/{name}", by(mine)) for name in names * 2]
    assert [response.status for response in ended] == [204, 404, 404, 404]
    assert page(ended[1]) == {**page(ended[2]), "instance": page(ended[1])["instance"]}
    assert (await desk.ask("GET", "/auth/sessions", by(second))).status == 401
    assert (await desk.ask("GET", "/auth/sessions", by(foreign))).status == 200
    never = await desk.ask("DELETE", "/auth/sessions/x%0d|kept", by(mine))
    assert failure(never) == (404, "no-route")


async def test_logout() -> None:
    """It ends the session of the token, for its refresh token too."""
    desk = Desk()
    tokens, other = await desk.fetch(), await desk.fetch()
    response = await desk.ask("POST", "/auth/logout", by(tokens))
    assert (response.status, response.body) == (204, b"")
    fields(response)
    again = await desk.ask("POST", "/auth/logout", by(tokens))
    assert failure(again) == (401, "unauthorized")
    assert b'error="invalid_token"' in fields(again)[b"WWW-Authenticate"]
    body = f"refresh_token={tokens['refresh_token']}"
    assert failure(await desk.form("/auth/refresh", body)) == (400, "invalid_grant")
    assert (await desk.ask("GET", "/auth/sessions", by(other))).status == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/auth/logout"), ("GET", "/auth/sessions"), ("DELETE", "/auth/sessions/x")],
)
async def test_callers_without_a_session(method: str, path: str) -> None:
    """A token of another issuer, an API key, a caller of the application: 403. Nobody: 401."""
    key = {"id": "k", "key_hash": hashed_secret("key").hex(), "subject": "billing"}
    desk = Desk(api_keys=[key])
    token = (b"Authorization", bearer(sub="billing", sid="s1").encode())
    for headers in ((token,), ((b"X-API-Key", b"key"),)):
        assert failure(await desk.ask(method, path, *headers)) == (403, "forbidden")
    vouched = await desk.ask(method, path, principal=Principal("billing", "FREE"))
    assert failure(vouched) == (403, "forbidden")
    assert failure(await desk.ask(method, path)) == (401, "unauthorized")


# --- HTTP -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/auth/token", b"POST"),
        ("/auth/refresh", b"POST"),
        ("/auth/logout", b"POST"),
        ("/auth/sessions", b"GET, HEAD"),
        ("/auth/sessions/x", b"DELETE"),
    ],
)
async def test_other_methods(path: str, allow: bytes) -> None:
    """405 with those that there are."""
    for method in {"GET", "POST", "PUT", "DELETE", "OPTIONS"} - set(allow.decode().split(", ")):
        response = await Desk().ask(method, path)
        of_oauth = path in ("/auth/token", "/auth/refresh")
        assert failure(response) == (405, "invalid_request" if of_oauth else "method-not-allowed")
        assert fields(response)[b"Allow"] == allow


@pytest.mark.parametrize("path", ["/auth/", "/auth/x", "/auth/token/", "/auth/tokens"])
async def test_other_paths(path: str) -> None:
    """There is nothing."""
    assert failure(await Desk().ask("POST", path)) == (404, "no-route")


async def test_other_media_types() -> None:
    """415, and credentials are not even looked at."""
    headers = ((b"Content-Type", b"application/json"), basic("billing", PASSWORD))
    response = await Desk().ask("POST", "/auth/token", *headers, body="{}")
    assert failure(response) == (415, "invalid_request")
    assert response.problem == "unsupported-media-type"


async def test_the_body_is_bounded() -> None:
    """By far less than that of routes."""
    asked = []

    async def read_body(limit: int) -> bytes:
        asked.append(limit)
        raise Refused(ProblemType.BODY_TOO_LARGE, 'too "large"', close=True)

    request = make_request("POST", "/auth/token", (FORM,))
    request.read_body = read_body
    response = await Desk().endpoints.answer(request, "/auth/token", "r1")
    assert asked == [8192]
    assert failure(response) == (413, "invalid_request")
    assert page(response)["error_description"] == "too 'large'"
    assert response.close


@pytest.mark.parametrize("second", ["Authorization", "AUTHORIZATION"])
async def test_two_credentials(second: str) -> None:
    """Nobody can tell which one counts, so none does."""
    desk = Desk()
    tokens = await desk.fetch()
    for others in (basic("other", "x"), basic("billing", PASSWORD)):
        both = (FORM, basic("billing", PASSWORD), (second.encode(), others[1]))
        response = await desk.ask("POST", "/auth/token", *both, body=FETCH)
        assert failure(response) == (400, "invalid_request")
    twice = (by(tokens), (second.encode(), by(tokens)[1]))
    assert failure(await desk.ask("GET", "/auth/sessions", *twice)) == (400, "bad-request")


# --- how often ------------------------------------------------------------------------------------


async def test_guesses_are_bounded() -> None:
    """30 at once; then who is right does not hear of it either, but from other addresses.

    Who is logged in can still end sessions.
    """
    desk = Desk()
    tokens = await desk.fetch()
    guesses = [await desk.form("/auth/token", FETCH, str(n)) for n in range(40)]
    assert [each.status for each in guesses] == [401] * 30 + [429] * 10
    assert int(fields(guesses[-1])[b"Retry-After"]) == 6
    right = await desk.form("/auth/token", FETCH)
    refused = (429, "temporarily_unavailable")
    assert (failure(right), fields(right)[b"Retry-After"]) == (refused, b"6")
    assert (await desk.ask("POST", "/auth/logout", by(tokens))).status == 204
    assert (await desk.form("/auth/token", FETCH, peer="192.0.2.2")).status == 200
    desk.clock.now += 6
    assert (await desk.form("/auth/token", FETCH)).status == 200
    assert (await desk.form("/auth/token", FETCH)).status == 200
    assert (await desk.form("/auth/token", FETCH, "wrong")).status == 401
    assert (await desk.form("/auth/token", FETCH)).status == 429


async def test_forged_tokens_are_guesses() -> None:
    """Whichever endpoint they are sent to."""
    desk = Desk()
    forged = (b"Authorization", bearer(secret="another-secret-of-thirty-two-bytes!").encode())
    paths = [("POST", "/auth/logout"), ("GET", "/auth/sessions"), ("DELETE", "/auth/sessions/x")]
    found = [await desk.ask(*paths[n % 3], forged) for n in range(31)]
    assert [each.status for each in found] == [401] * 30 + [429]


async def test_success_is_no_guess() -> None:
    """A client may fetch tokens far more often than fail to."""
    desk = Desk()
    assert {(await desk.form("/auth/token", FETCH)).status for _ in range(100)} == {200}


async def test_nobody_keeps_the_store_busy() -> None:
    """A client has 3,000 requests at once, whichever they are, and then 50 a second."""
    desk = Desk()
    mine, other = await desk.fetch(), await desk.fetch(name="other", password="x")
    for n in range(2999):
        where = ("/auth/sessions", "/auth/sessions/x")[n % 2]
        await desk.ask(("GET", "DELETE")[n % 2], where, by(mine))
    for _ in range(2):
        refused = await desk.ask("GET", "/auth/sessions", by(mine))
        assert failure(refused) == (429, "rate-limited")
    assert (await desk.form("/auth/token", FETCH)).status == 429
    assert (await desk.ask("GET", "/auth/sessions", by(other))).status == 200
    desk.clock.now += 0.02
    assert (await desk.ask("GET", "/auth/sessions", by(mine))).status == 200


async def test_without_a_store() -> None:
    """Nothing is given, nothing is told, nobody gets in: 503, and when to come back."""

    class Away(EmbeddedStore):
        async def check(self, charges: Any, cost: int = 1, session: Any = None) -> Outcome:
            raise StoreUnavailable if session is None else SessionsUnavailable

    desk = Desk()
    tokens = await desk.fetch()
    away = Desk(Away())
    for path in ("/auth/token", "/auth/refresh"):
        for password in (PASSWORD, "wrong"):
            response = await away.form(path, f"{FETCH}&refresh_token=x", password)
            assert failure(response) == (503, "temporarily_unavailable")
            assert fields(response)[b"Retry-After"] == b"1"
    response = await away.ask("GET", "/auth/sessions", by(tokens))
    assert failure(response) == (503, "sessions-unavailable")
    assert fields(response)[b"Retry-After"] == b"1"
    forged = await away.ask("GET", "/auth/sessions", (b"Authorization", b"Bearer x"))
    assert failure(forged) == (401, "unauthorized")


# --- the operator's limits ------------------------------------------------------------------------


def rule(key: str, **match: Any) -> dict[str, Any]:
    """One login a minute."""
    return {"name": "logins", "key": key, "match": match, "requests_per_minute": 1}


async def test_rules_for_subjects() -> None:
    """A client that is known is counted as itself, from wherever it comes; others by address."""
    desk = Desk(rules=[rule("subject", path="/auth/token")])
    first = await desk.form("/auth/token", FETCH)
    assert first.status == 200
    refused = await desk.form("/auth/token", FETCH, peer="192.0.2.2")
    assert failure(refused) == (429, "temporarily_unavailable")
    assert fields(refused)[b"Retry-After"] == b"60"
    assert b"RateLimit" in fields(refused)
    assert (await desk.form("/auth/token", FETCH, "x", name="other")).status == 200
    assert (await desk.form("/auth/token", FETCH, "wrong")).status == 401
    assert (await desk.form("/auth/token", FETCH, "wrong")).status == 429
    assert (await desk.ask("GET", "/auth/sessions", by(page(first)))).status == 200


async def test_rules_for_roles_and_customers() -> None:
    """Who has a session is counted by what its token says; the rule is for no others."""
    clients = [{**CLIENT, "roles": ["machine"], "customer": "acme"}, OTHER]
    desk = Desk(rules=[rule("customer", roles=["machine"])], clients=clients)
    tokens = await desk.fetch()
    assert failure(await desk.ask("GET", "/auth/sessions", by(tokens))) == (429, "rate-limited")
    others = await desk.fetch(name="other", password="x")
    assert (await desk.ask("GET", "/auth/sessions", by(others))).status == 200
    desk.clock.now += 60
    assert (await desk.ask("GET", "/auth/sessions", by(tokens))).status == 200


# --- how many -------------------------------------------------------------------------------------


async def test_sessions_in_use_make_no_room(caplog: pytest.LogCaptureFixture) -> None:
    """A login too many is refused until an access token has expired; what is in use goes on."""
    desk = Desk(most=2, access_ttl=60, leeway=0)
    first = await desk.fetch()
    desk.clock.now += 20
    second = await desk.fetch()
    refused = await desk.form("/auth/token", FETCH)
    assert failure(refused) == (429, "temporarily_unavailable")
    assert fields(refused)[b"Retry-After"] == b"40"
    assert "keep tokens" in page(refused)["error_description"]
    for tokens in (first, second):
        assert (await desk.ask("GET", "/auth/sessions", by(tokens))).status == 200
    assert "all the sessions that billing may have are in use" in caplog.text
    desk.clock.now += 40
    third = await desk.fetch()
    assert "a session of billing was ended" in caplog.text
    for tokens in (second, third):
        assert (await desk.ask("GET", "/auth/sessions", by(tokens))).status == 200
    assert desk.heard.lines == {"opened": 3, "too_many_sessions": 1, "ended by room": 1}


# --- what is told ---------------------------------------------------------------------------------


async def test_what_operators_can_see(caplog: pytest.LogCaptureFixture) -> None:
    """Logins by their results, failures, reuse and ends; the log names clients that there are."""
    desk = Desk()
    tokens, other = await desk.fetch(), await desk.fetch()
    body = f"refresh_token={tokens['refresh_token']}"
    await desk.form("/auth/refresh", body)
    await desk.form("/auth/refresh", body)
    await desk.ask("POST", "/auth/logout", by(other))
    for _ in range(31):
        failed = await desk.form("/auth/token", FETCH, "wrong")
    assert failed.problem == "rate-limited"
    await desk.form("/auth/token", FETCH, peer="192.0.2.2", name="nobody\n")
    await desk.ask("GET", "/auth/sessions", (b"Authorization", b"Bearer x"))
    assert desk.heard.lines == {
        "opened": 2,
        "renewed": 1,
        "invalid_grant": 1,
        "invalid_client": 31,
        "rate-limited": 1,
        "client refused": 31,
        "client limited": 1,
        "caller refused": 1,
        "reused": 1,
        "ended by reuse": 1,
        "ended by client": 1,
    }
    assert "authentication of client billing from 192.0.2.1: failed" in caplog.text
    assert "authentication of an unknown client from 192.0.2.2: failed" in caplog.text
    assert "nobody" not in caplog.text
    assert "wrong" not in caplog.text


async def test_errors_have_names_for_metrics() -> None:
    """Those of OAuth their codes."""
    response = await Desk().form("/auth/token", FETCH, "wrong")
    assert response.problem == "invalid_client"


async def test_guesses_are_counted_apart() -> None:
    """Bad tokens keep nobody from logging in, bad secrets nobody from ending sessions."""
    desk = Desk()
    tokens = await desk.fetch()
    forged = (b"Authorization", b"Bearer x")
    for status in [401] * 30 + [429]:
        assert (await desk.ask("GET", "/auth/sessions", forged)).status == status
    assert (await desk.form("/auth/token", FETCH)).status == 200
    assert (await desk.ask("GET", "/auth/sessions", by(tokens))).status == 200


async def test_what_was_given_out_is_no_guess() -> None:
    """A token that expired, one of an ended session, and none at all are not counted."""
    desk = Desk()
    tokens = await desk.fetch()
    await desk.ask("POST", "/auth/logout", by(tokens))
    expired = (b"Authorization", bearer(exp=1).encode())
    for headers in (by(tokens), expired, (b"Accept", b"*/*")):
        found = [await desk.ask("GET", "/auth/sessions", headers) for _ in range(40)]
        assert {response.status for response in found} == {401}


async def test_another_secret_ends_the_sessions_of_the_one_before() -> None:
    """Tokens that came by a stolen secret are over under the configuration that has another."""
    desk = Desk()
    stolen = await desk.fetch()
    changed = {**CLIENT, "secret_hash": hashed_secret("new").hex()}
    later = Desk(desk.store, clients=[changed, OTHER])
    assert failure(await later.ask("GET", "/auth/sessions", by(stolen))) == (401, "unauthorized")
    body = f"refresh_token={stolen['refresh_token']}"
    assert failure(await later.form("/auth/refresh", body)) == (401, "invalid_client")
    renewed = page(await later.form("/auth/refresh", body, "new"))
    assert (await later.ask("GET", "/auth/sessions", by(renewed))).status == 200
