"""Only a token that is genuine, current and meant for this gateway says who asks."""

import asyncio
import hashlib
import json
import string
from base64 import urlsafe_b64decode
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import jwt
import pytest

from broker.messages import Principal
from config.models.auth import Auth, Client
from config.models.gateway import GatewayOptions
from config.models.tiers import DEFAULT_TIERS
from config.snapshot import Snapshot
from ingress.identity.clients import generation
from ingress.identity.identity import Identity
from ingress.identity.jws import Signed
from ingress.identity.keys import Key
from ingress.policies.authentication import Authenticator, NotGenuine
from ingress.problems import Refused
from tests.unit.ingress.identity.signing import (
    EVERY_ALGORITHM,
    NOW,
    SECRET,
    Clock,
    bearer,
    encoded,
    key_pair,
    signed,
    token,
)

RSA, EC = key_pair("RSA"), key_pair("P-256")
SESSION = "gws_" + "a" * 22
ALICE = {"id": "alice", "secret_hash": "0" * 64}
OF_ALICE: dict[str, Any] = {"sid": SESSION, "gws": generation(Client.model_validate(ALICE))}


def authenticator(
    clock: Clock | None = None,
    secret: str | None = SECRET,
    public_keys: tuple[bytes, ...] = (),
    **auth: Any,
) -> Authenticator:
    files = [f"{number}.pem" for number, _ in enumerate(public_keys)]
    options = GatewayOptions(auth=Auth.model_validate({**auth, "public_keys": files}))
    snapshot = Snapshot((), {}, options=options, public_keys=public_keys)
    keyring = Identity(secret).keyring(snapshot)
    return Authenticator(options.auth, DEFAULT_TIERS, keyring, clock or Clock())


def fields(authorization: str | None) -> Mapping[str, str]:
    return {} if authorization is None else {"Authorization": authorization}


async def caller(
    subject: Authenticator, authorization: str | None, *, required: bool = True
) -> Principal | None:
    """As the pipeline asks."""
    given = fields(authorization)
    return subject.recall(given) or await subject.authenticate(given, required=required)


async def refusal(
    subject: Authenticator, authorization: str | None, *, required: bool = True
) -> Refused:
    with pytest.raises(Refused) as refused:
        await caller(subject, authorization, required=required)
    assert refused.value.problem_type.status == 401
    return refused.value


async def test_all_claims() -> None:
    """Every claim finds its place in the principal."""
    token = bearer(tier="PRO", roles=["admin"], scope="a b", org="acme", **OF_ALICE)
    assert await caller(authenticator(clients=[{**ALICE, "customer": "acme"}]), token) == Principal(
        "alice", "PRO", ("admin",), ("a", "b"), "acme", SESSION
    )


@pytest.mark.parametrize(
    "sid", ["s1", "gws_", "gws_" + "a" * 21, "gws_" + "a" * 23, "x" + "gws_" + "a" * 22]
)
async def test_a_session_that_is_not_one_of_the_gateway(sid: str) -> None:
    """Who shares the secret may have sessions of its own; they are never asked for."""
    found = await caller(authenticator(clients=[ALICE]), bearer(sid=sid))
    assert found == Principal("alice", "FREE")


async def test_a_session_that_only_looks_like_one_of_the_gateway() -> None:
    """What a public key vouches for is another issuer's, whatever it is called."""
    subject = authenticator(public_keys=(RSA.pem,), algorithms=["HS256", "RS256"], clients=[ALICE])
    found = await caller(subject, "Bearer " + RSA.token("RS256", sid=SESSION))
    assert found == Principal("alice", "FREE")


async def test_a_session_of_a_client_that_is_no_more() -> None:
    """Who takes a client out, or gives it another customer or secret, ends its tokens."""
    changes = ({"customer": "acme"}, {"id": "bob"}, {"secret_hash": "1" * 64})
    for clients in ([], *([{**ALICE, **change}] for change in changes)):
        refused = await refusal(authenticator(clients=clients), bearer(**OF_ALICE))
        assert refused.detail == "The session of this token is over."
        assert b'error="invalid_token"' in refused.headers[0][1]
    moved = authenticator(clients=[{**ALICE, "customer": "acme"}])
    assert await caller(moved, bearer(**OF_ALICE, org="acme")) is not None
    for claim in (..., 1, "x"):
        await refusal(authenticator(clients=[ALICE]), bearer(sid=SESSION, gws=claim))


async def test_least_claims() -> None:
    """A subject and an expiry are enough; the tier is FREE then."""
    assert await caller(authenticator(), bearer()) == Principal("alice", "FREE")


async def test_any_bytes_with_a_good_signature() -> None:
    """What the tests below sign by hand fails for its content, not for its signature."""
    token = "Bearer " + signed(b'{"alg":"HS256"}', b'{"sub":"alice","exp":9999999999}')
    assert await caller(authenticator(), token) == Principal("alice", "FREE")


async def test_claim_names_by_configuration() -> None:
    """Tier, roles and customer are read from the claims that the operator names."""
    subject = authenticator(tier_claim="plan", roles_claim="groups", customer_claim="tenant")
    token = bearer(plan="BASIC", groups="staff", tenant="acme", tier="PRO", roles=["admin"])
    assert await caller(subject, token) == Principal("alice", "BASIC", ("staff",), (), "acme")


@pytest.mark.parametrize(
    "token",
    [
        "Bearer ",
        "Bearer x",
        "Bearer a.b.c",
        "Bearer é",
        bearer(secret="another-secret-of-thirty-two-bytes!"),
        bearer(alg="HS512"),
        bearer(exp=NOW - 31),
        bearer(exp=...),
        bearer(exp=str(NOW + 60)),
        bearer(nbf=NOW + 31),
        bearer(iat=NOW + 31),
        bearer(sub=...),
        bearer(sub=""),
        "Bearer " + signed(b'{"alg":"HS256"}', json.dumps({"sub": 5, "exp": NOW + 60}).encode()),
        bearer(tier="GOLD"),
        bearer(tier=["PRO"]),
        bearer(roles={"admin": True}),
        bearer(headers={"crit": ["exp"]}),
        bearer(headers={"crit": ["b64"], "b64": True}),
        "Bearer " + signed(b'{"alg":"none"}', b'{"sub":"alice","exp":9999999999}'),
        "Bearer "
        + signed(b'{"alg":"HS256","crit":["b64"],"b64":true}', b'{"sub":"a","exp":9999999999}'),
        "Bearer " + signed(b'{"alg":"HS256"}', b"[1]"),
        "Bearer " + signed(b'{"alg":"HS256"}', b'{"sub":"\\ud800","exp":9999999999}'),
        "Bearer " + signed(b'{"alg":"HS256"}', b'{"sub":"\xff","exp":9999999999}'),
        "Bearer " + signed(b'{"alg":"HS256"}', b'{"sub":"alice","exp":1e999}'),
        "Bearer " + signed(b'{"alg":"HS256"}', b'{"sub":"alice","exp":NaN}'),
        "Bearer " + signed(b'{"alg":"HS256"}', b'{"a":' + b"[" * 10_000),
        "Bearer " + signed(b'{"alg":"HS256","a":' + b"[" * 10_000, b"{}"),
        "Bearer " + jwt.encode({"sub": "alice", "exp": NOW + 60}, "", algorithm="none"),
    ],
)
@pytest.mark.parametrize("required", [True, False])
async def test_invalid_token(token: str, required: bool) -> None:
    """A token that is not in order is a 401 with the RFC's error code, on open routes too."""
    error = await refusal(authenticator(), token, required=required)
    name, challenge = error.headers[0]
    assert name == b"WWW-Authenticate"
    assert b'error="invalid_token"' in challenge
    assert len(token) < 12 or token.removeprefix("Bearer ")[:20] not in f"{error} {challenge!r}"


@pytest.mark.parametrize(
    "claims",
    [{"exp": NOW - 29}, {"nbf": NOW + 29}, {"iat": NOW + 30}, {"aud": "elsewhere"}, {"iss": "any"}],
)
async def test_within_leeway_and_unasked(claims: dict[str, Any]) -> None:
    """Clocks may differ by the leeway; issuer and audience count only if configured."""
    assert await caller(authenticator(), bearer(**claims)) is not None


async def test_issuer_and_audience() -> None:
    """Both must be the configured ones; the audience may be one of several."""
    subject = authenticator(issuer="me", audience="api")
    assert await caller(subject, bearer(iss="me", aud=["x", "api"]))
    assert await caller(subject, bearer(iss="me", aud="api"))
    for given in (bearer(iss="me"), bearer(aud="api"), bearer(iss="you", aud="api")):
        await refusal(subject, given)
    await refusal(subject, bearer(iss="me", aud=["apis"]))


async def test_no_token() -> None:
    """Without a token an open route is anonymous, and another says 401 without an error code."""
    assert await caller(authenticator(), None, required=False) is None
    error = await refusal(authenticator(), None)
    assert error.headers == ((b"WWW-Authenticate", b'Bearer realm="api-gateway"'),)


async def test_other_schemes() -> None:
    """Basic is no bearer token: not enough where one is wanted, the upstream's affair elsewhere."""
    assert await caller(authenticator(), "Basic dTpw", required=False) is None
    error = await refusal(authenticator(), "Basic dTpw")
    assert b"error" not in error.headers[0][1]


@pytest.mark.parametrize(
    "before",
    [
        *("Bearer\t", "bearer,", ", Bearer ", ",\tBEARER ", "Bearer=", "Bearer", "Bearer_"),
        *("Bearer-", "Bearer.", "Bearers ", '"Bearer" ', "Basic x, Bearer ", "Basic x,,Bearer"),
        *('Digest realm="x", Bearer ', 'Digest realm="x, Bearer ', 'Basic "x, Bearer '),
    ],
)
@pytest.mark.parametrize("required", [True, False])
async def test_what_some_may_read_as_a_token(before: str, required: bool) -> None:
    """A bearer token in another form than the RFC's is none, however good, and counts as forged."""
    given = bearer().replace("Bearer ", before)
    error = await refusal(authenticator(), given, required=required)
    assert isinstance(error, NotGenuine)
    assert b'error="invalid_token"' in error.headers[0][1]


@pytest.mark.parametrize(
    "given",
    [
        *(
            "JWT x",
            "X-Bearer x",
            "Basic bearer",
            "Custom bearer=1",
            "Custom a=1, bearer_id = 2",
            "",
        ),
        'Digest username="bearer", uri="/bearer"',
        'Digest username="bob", realm="our bearer, bearer of rings"',
    ],
)
async def test_what_nobody_reads_as_a_bearer_token(given: str) -> None:
    """Other schemes are the upstream's affair, whatever they have in them."""
    assert await caller(authenticator(), given, required=False) is None


@pytest.mark.parametrize("part", [",", '="', ", bearer=", ',"', ",bearer", '="\\"', ", a", " "])
async def test_other_schemes_are_read_once(part: str) -> None:
    """However large the field, and whatever repeats in it, an answer comes."""
    given = "Basic " + part * (4_000_000 // len(part)) + "="
    with suppress(Refused):
        await authenticator().authenticate({"Authorization": given}, required=False)


async def test_scheme_in_any_case() -> None:
    """The scheme's name is case-insensitive."""
    token = bearer().replace("Bearer", "bEARER ")
    assert await caller(authenticator(), token) == Principal("alice", "FREE")


async def test_without_a_secret_nothing_is_valid() -> None:
    """With no key configured no token can be checked, so every one is refused."""
    for secret in (None, ""):
        await refusal(authenticator(secret=secret), bearer())


async def test_secret_checks_no_asymmetric_algorithm() -> None:
    """An RS256 that is allowed beside HS256 is never checked with the shared secret."""
    subject = authenticator(algorithms=["RS256"], public_keys=(RSA.pem,))
    await refusal(subject, bearer())
    await refusal(
        subject, "Bearer " + signed(b'{"alg":"RS256"}', b'{"sub":"alice","exp":9999999999}')
    )


async def test_remembered_until_it_expires() -> None:
    """A token that was verified once is known without any waiting, but not past its expiry."""
    clock = Clock()
    subject = authenticator(clock)
    good = bearer()
    assert subject.recall(fields(good)) is None
    first = await caller(subject, good)
    clock.now = NOW + 89
    assert subject.recall(fields("".join(good))) == first
    clock.now = NOW + 90
    assert subject.recall(fields(good)) is None
    await refusal(subject, good)


@pytest.mark.parametrize("skew", [30, -30, 600, -600])
async def test_skewed_clocks(skew: int) -> None:
    """30 s are within the leeway of both ends, ten minutes are not."""
    subject = authenticator(Clock(NOW + skew))
    fresh = bearer(iat=NOW, nbf=NOW, exp=NOW + 1)
    if abs(skew) == 30:
        assert await caller(subject, fresh) is not None
    else:
        await refusal(subject, fresh)


# --- public keys ----------------------------------------------------------------------------------


async def test_public_keys_by_algorithm() -> None:
    """With two files, tokens of either key are good, each by an algorithm that fits its key."""
    subject = authenticator(algorithms=EVERY_ALGORITHM, public_keys=(RSA.pem, EC.pem))
    for made in (RSA.token("RS256"), RSA.token("PS512", "any"), EC.token("ES256", "name")):
        assert await caller(subject, f"Bearer {made}") == Principal("alice", "FREE")
    await refusal(subject, "Bearer " + key_pair("RSA", 1).token("RS256"))
    await refusal(subject, "Bearer " + key_pair("P-384").token("ES384"))


@pytest.mark.parametrize("secret", [None, SECRET])
@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512"])
async def test_a_public_key_is_no_shared_secret(alg: str, secret: str | None) -> None:
    """Key confusion: HMAC with the text of the public key proves nothing (PyJWT CVE-2022-29217)."""
    subject = authenticator(
        secret=secret, algorithms=EVERY_ALGORITHM, public_keys=(RSA.pem, EC.pem)
    )
    forger = jwt.get_algorithm_by_name(alg)
    text = f"{encoded(json.dumps({'alg': alg}).encode())}.{encoded(b'{}')}"
    for material in (RSA.pem, RSA.pem.strip(), EC.pem, b""):
        forged = f"{text}.{encoded(forger.sign(text.encode(), material))}"
        await refusal(subject, f"Bearer {forged}")


async def test_only_allowed_algorithms() -> None:
    """A good signature by the right key counts for nothing if its algorithm is not allowed."""
    subject = authenticator(algorithms=["RS256"], public_keys=(RSA.pem,))
    assert await caller(subject, "Bearer " + RSA.token("RS256"))
    for alg in ("RS512", "PS256"):
        await refusal(subject, "Bearer " + RSA.token(alg))


@pytest.mark.parametrize(
    "header",
    [
        {"jwk": key_pair("RSA", 1).jwk("k")},
        {"jku": "https://attacker.example/keys", "kid": "k"},
        {"x5u": "https://attacker.example/cert"},
        {"x5c": ["MIIB"]},
        {"kid": "../../dev/null"},
        {"kid": "' OR '1'='1"},
        {"kid": "| cat /etc/passwd"},
        {"kid": "k\u0000"},
        {"kid": "k" * 300},
        {"crit": []},
        {"crit": ["http://example.com/UNDEFINED"]},
        {"crit": "exp"},
    ],
)
async def test_keys_that_a_token_brings_along(header: dict[str, Any]) -> None:
    """Whatever a token says of its key, one that is not the operator's has signed nothing."""
    subject = authenticator(algorithms=["RS256"], public_keys=(RSA.pem,))
    forged = token(key_pair("RSA", 1).private, "RS256", header)
    await refusal(subject, f"Bearer {forged}")


@pytest.mark.parametrize("b64", ["false", '"false"', "0", "null"])
async def test_payloads_that_are_not_encoded(b64: str) -> None:
    """The unencoded payload option (RFC 7797) is not understood, named in crit or not."""
    header = f'{{"alg":"HS256","b64":{b64}}}'.encode()
    await refusal(authenticator(), "Bearer " + signed(header, b'{"sub":"a","exp":9999999999}'))


@pytest.mark.parametrize("size", [17_000, 100_000])
async def test_enormous_tokens(size: int) -> None:
    """A token that no header block holds is refused unread, though its signature is good."""
    assert await caller(authenticator(), bearer(padding="x" * 9_000)) is not None
    await refusal(authenticator(), bearer(padding="x" * size))


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text + "=",
        lambda text: text + ".",
        lambda text: "." + text,
        lambda text: text.replace(".", "..", 1),
        lambda text: text.replace(".", ".\n", 1),
        lambda text: text.replace(".", ".+", 1),
        lambda text: text.rpartition(".")[0] + ".",
        lambda text: text.rpartition(".")[0],
        lambda text: text[:-1],
        lambda text: text[:-1] + ("B" if text[-1] == "A" else "A"),
        lambda text: text + ".a.b",
        lambda text: text.replace("e", "\u0435", 1),
    ],
)
async def test_malformed_tokens(change: Any) -> None:
    """One sign more or less, or another spelling of the same bytes, and it is no token."""
    good = signed(b'{"alg":"HS256"}', b'{"sub":"alice","exp":9999999999}')
    assert await caller(authenticator(), f"Bearer {good}") is not None
    await refusal(authenticator(), f"Bearer {change(good)}")


async def test_another_spelling_of_the_same_bytes() -> None:
    """The last sign has bits that count for nothing; with others there the token is refused."""
    good = signed(b'{"alg":"HS256"}', b'{"sub":"alice","exp":9999999999}')
    alphabet = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
    other = good[:-1] + alphabet[alphabet.index(good[-1]) ^ 1]
    assert urlsafe_b64decode(other.rpartition(".")[2] + "=") == urlsafe_b64decode(
        good.rpartition(".")[2] + "="
    )
    await refusal(authenticator(), f"Bearer {other}")


def checks_of(subject: Authenticator, monkeypatch: pytest.MonkeyPatch) -> list[Signed]:
    """Whatever has its signature checked from now on."""
    checked: list[Signed] = []
    checker = subject._keyring._checker
    real = checker.check

    def counted(signed: Signed, keys: Sequence[Key]) -> asyncio.Future[Key | None]:
        checked.append(signed)
        return real(signed, keys)

    monkeypatch.setattr(checker, "check", counted)
    return checked


async def test_concurrent_requests_share_one_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty requests with a token that is new cost one check of its signature."""
    subject = authenticator(algorithms=["RS256"], public_keys=(RSA.pem,))
    checked = checks_of(subject, monkeypatch)
    given = "Bearer " + RSA.token("RS256")
    callers = await asyncio.gather(*(caller(subject, given) for _ in range(50)))
    assert callers == [Principal("alice", "FREE")] * 50
    assert len(checked) == 1
    assert not subject._keyring._under_way


@pytest.mark.parametrize(
    "claims", [{"exp": NOW - 31, "aud": "a"}, {"aud": "x"}, {"nbf": NOW + 31, "aud": "a"}]
)
async def test_what_is_refused_is_not_verified_each_time(
    monkeypatch: pytest.MonkeyPatch, claims: dict[str, Any]
) -> None:
    """A signed token that is not good costs one check a second, and gets the same words."""
    clock = Clock()
    subject = authenticator(clock, algorithms=["RS256"], public_keys=(RSA.pem,), audience="a")
    given = "Bearer " + RSA.token("RS256", **claims)
    checked = checks_of(subject, monkeypatch)
    refusals = [await refusal(subject, given) for _ in range(5)]
    assert len({(error.detail, error.headers, type(error)) for error in refusals}) == 1
    assert len(checked) == 1
    clock.now += 1
    if "nbf" in claims:
        assert await caller(subject, given) is not None
    else:
        await refusal(subject, given)
    assert len(checked) == 2


async def test_what_is_forged_is_checked_and_counted_each_time() -> None:
    """Each is a guess, again and again."""
    subject = authenticator(algorithms=["RS256"], public_keys=(RSA.pem,))
    given = "Bearer " + RSA.token("RS256", exp=NOW - 31)[:-8] + "AAAAAAAA"
    for _ in range(3):
        assert isinstance(await refusal(subject, given), NotGenuine)


async def test_a_client_that_leaves_takes_the_check_from_nobody() -> None:
    """Of two requests with one token the first is cancelled, and the second is answered."""
    subject = authenticator(algorithms=["RS256"], public_keys=(RSA.pem,))
    given = "Bearer " + RSA.token("RS256")
    first = asyncio.create_task(caller(subject, given))
    second = asyncio.create_task(caller(subject, given))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == Principal("alice", "FREE")
    assert first.cancelled()


# --- API keys -------------------------------------------------------------------------------------

KEY = "0f3a-a-long-and-random-key"
HASH = hashlib.sha256(KEY.encode()).hexdigest()
API_KEYS = [
    {
        "id": "billing",
        "key_hash": HASH,
        "tier": "PRO",
        "roles": ["machine"],
        "scopes": ["invoices:read"],
        "org": "acme",
    },
    {"id": "other", "key_hash": hashlib.sha256(b"k2").hexdigest(), "subject": "svc-2"},
]


@pytest.mark.parametrize("required", [True, False])
async def test_api_keys(required: bool) -> None:
    """A key speaks for its caller, by its id where no subject is given."""
    subject = authenticator(api_keys=API_KEYS)
    found = await subject.authenticate({"X-API-Key": KEY}, required=required)
    assert found == Principal("billing", "PRO", ("machine",), ("invoices:read",), "acme")
    found = await subject.authenticate({"X-API-Key": "k2"}, required=required)
    assert found == Principal("svc-2", "FREE")


@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize("key", ["", KEY[:-1], KEY + " ", HASH, "\udc80é"])
async def test_unknown_api_keys(key: str, required: bool) -> None:
    """A key that is not known is a 401, on open routes too, and does not show in it."""
    subject = authenticator(api_keys=API_KEYS)
    with pytest.raises(Refused) as refused:
        await subject.authenticate({"X-API-Key": key}, required=required)
    assert refused.value.problem_type.status == 401
    assert refused.value.detail == "The API key is not known."


async def test_a_token_goes_before_a_key() -> None:
    """With both, the token counts, and a bad one is not made good by the key."""
    subject = authenticator(api_keys=API_KEYS)
    both = {"Authorization": bearer(), "X-API-Key": KEY}
    assert await subject.authenticate(both, required=True) == Principal("alice", "FREE")
    both["Authorization"] = bearer(exp=NOW - 600)
    with pytest.raises(Refused):
        await subject.authenticate(both, required=True)


async def test_without_api_keys_the_field_means_nothing() -> None:
    """Where none is configured the field is the upstream's affair."""
    assert await authenticator().authenticate({"X-API-Key": "any"}, required=False) is None
    with pytest.raises(Refused, match="wants a bearer token\\."):
        await authenticator().authenticate({"X-API-Key": "any"}, required=True)
