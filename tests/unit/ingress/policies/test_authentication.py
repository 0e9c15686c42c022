"""Only a token that is genuine, current and meant for this gateway says who asks."""

import base64
import hmac
import json
from typing import Any

import jwt
import pytest

from broker.messages import Principal
from config.models import DEFAULT_TIERS, Auth
from ingress.policies.authentication import Authenticator
from ingress.problems import Refused

SECRET = "a-secret-that-is-long-enough-for-every-algorithm-that-is-tried-here"
NOW = 1_700_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def authenticator(
    clock: Clock | None = None, secret: str | None = SECRET, **auth: Any
) -> Authenticator:
    return Authenticator(Auth.model_validate(auth), secret, DEFAULT_TIERS, clock or Clock())


def bearer(
    secret: str = SECRET, algorithm: str = "HS256", headers: Any = None, **claims: Any
) -> str:
    claims = {"sub": "alice", "exp": NOW + 60, **claims}
    claims = {name: value for name, value in claims.items() if value is not ...}
    return "Bearer " + jwt.encode(claims, secret, algorithm, headers=headers)


def signed(header: bytes, payload: bytes) -> str:
    """A token of any bytes, with a good signature."""
    text = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in (header, payload))
    signature = hmac.digest(SECRET.encode(), text, "sha256")
    return f"Bearer {text.decode()}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def refusal(subject: Authenticator, authorization: str | None, *, required: bool = True) -> Refused:
    with pytest.raises(Refused) as refused:
        subject.authenticate(authorization, required=required)
    assert refused.value.problem_type.status == 401
    return refused.value


def test_all_claims() -> None:
    """Every claim finds its place in the principal."""
    token = bearer(tier="PRO", roles=["admin"], scope="a b", org="acme", sid="s1")
    assert authenticator().authenticate(token, required=True) == Principal(
        "alice", "PRO", ("admin",), ("a", "b"), "acme", "s1"
    )


def test_least_claims() -> None:
    """A subject and an expiry are enough; the tier is FREE then."""
    assert authenticator().authenticate(bearer(), required=True) == Principal("alice", "FREE")


def test_any_bytes_with_a_good_signature() -> None:
    """What the tests below sign by hand fails for its content, not for its signature."""
    token = signed(b'{"alg":"HS256"}', b'{"sub":"alice","exp":9999999999}')
    assert authenticator().authenticate(token, required=True) == Principal("alice", "FREE")


def test_claim_names_by_configuration() -> None:
    """Tier, roles and customer are read from the claims that the operator names."""
    subject = authenticator(tier_claim="plan", roles_claim="groups", customer_claim="tenant")
    token = bearer(plan="BASIC", groups="staff", tenant="acme", tier="PRO", roles=["admin"])
    assert subject.authenticate(token, required=True) == Principal(
        "alice", "BASIC", ("staff",), (), "acme"
    )


@pytest.mark.parametrize(
    "token",
    [
        "Bearer ",
        "Bearer x",
        "Bearer a.b.c",
        "Bearer é",
        bearer(secret="another-secret-of-thirty-two-bytes!"),
        bearer(algorithm="HS512"),
        bearer(exp=NOW - 31),
        bearer(exp=...),
        bearer(exp=str(NOW + 60)),
        bearer(nbf=NOW + 31),
        bearer(iat=NOW + 31),
        bearer(sub=...),
        bearer(sub=""),
        signed(b'{"alg":"HS256"}', json.dumps({"sub": 5, "exp": NOW + 60}).encode()),
        bearer(tier="GOLD"),
        bearer(tier=["PRO"]),
        bearer(roles={"admin": True}),
        bearer(headers={"crit": ["exp"]}),
        bearer(headers={"crit": ["b64"], "b64": True}),
        signed(b'{"alg":"none"}', b'{"sub":"alice","exp":9999999999}'),
        signed(b'{"alg":"HS256","crit":["b64"],"b64":true}', b'{"sub":"a","exp":9999999999}'),
        signed(b'{"alg":"HS256"}', b"[1]"),
        signed(b'{"alg":"HS256"}', b'{"sub":"\\ud800","exp":9999999999}'),
        signed(b'{"alg":"HS256"}', b'{"sub":"\xff","exp":9999999999}'),
        signed(b'{"alg":"HS256"}', b'{"sub":"alice","exp":1e999}'),
        signed(b'{"alg":"HS256"}', b'{"sub":"alice","exp":NaN}'),
        signed(b'{"alg":"HS256"}', b'{"a":' + b"[" * 100_000),
        signed(b'{"alg":"HS256","a":' + b"[" * 100_000, b"{}"),
        "Bearer " + jwt.encode({"sub": "alice", "exp": NOW + 60}, "", algorithm="none"),
    ],
)
@pytest.mark.parametrize("required", [True, False])
def test_invalid_token(token: str, required: bool) -> None:
    """A token that is not in order is a 401 with the RFC's error code, on open routes too."""
    error = refusal(authenticator(), token, required=required)
    name, challenge = error.headers[0]
    assert name == b"WWW-Authenticate"
    assert b'error="invalid_token"' in challenge
    assert len(token) < 12 or token.removeprefix("Bearer ")[:20] not in f"{error} {challenge!r}"


@pytest.mark.parametrize(
    "claims",
    [{"exp": NOW - 29}, {"nbf": NOW + 29}, {"iat": NOW + 30}, {"aud": "elsewhere"}, {"iss": "any"}],
)
def test_within_leeway_and_unasked(claims: dict[str, Any]) -> None:
    """Clocks may differ by the leeway; issuer and audience count only if configured."""
    assert authenticator().authenticate(bearer(**claims), required=True) is not None


def test_issuer_and_audience() -> None:
    """Both must be the configured ones; the audience may be one of several."""
    subject = authenticator(issuer="me", audience="api")
    assert subject.authenticate(bearer(iss="me", aud=["x", "api"]), required=True)
    assert subject.authenticate(bearer(iss="me", aud="api"), required=True)
    for claims in ({"iss": "me"}, {"aud": "api"}, {"iss": "you", "aud": "api"}):
        refusal(subject, bearer(**claims))
    refusal(subject, bearer(iss="me", aud=["apis"]))


def test_no_token() -> None:
    """Without a token an open route is anonymous, and another says 401 without an error code."""
    assert authenticator().authenticate(None, required=False) is None
    error = refusal(authenticator(), None)
    assert error.headers == ((b"WWW-Authenticate", b'Bearer realm="api-gateway"'),)


def test_other_schemes() -> None:
    """Basic is no bearer token: not enough where one is wanted, the upstream's affair elsewhere."""
    assert authenticator().authenticate("Basic dTpw", required=False) is None
    assert b"error" not in refusal(authenticator(), "Basic dTpw").headers[0][1]


def test_scheme_in_any_case() -> None:
    """The scheme's name is case-insensitive."""
    token = bearer().replace("Bearer", "bEARER ")
    assert authenticator().authenticate(token, required=True) == Principal("alice", "FREE")


def test_without_a_secret_nothing_is_valid() -> None:
    """With no key configured no token can be checked, so every one is refused."""
    for secret in (None, ""):
        refusal(authenticator(secret=secret), bearer())


def test_secret_checks_no_asymmetric_algorithm() -> None:
    """An RS256 that is allowed beside HS256 is never checked with the shared secret."""
    subject = authenticator(algorithms=["RS256"])
    refusal(subject, bearer())
    refusal(subject, signed(b'{"alg":"RS256"}', b'{"sub":"alice","exp":9999999999}'))


def test_remembered_until_it_expires() -> None:
    """A token that was verified once is the same object again, but not past its expiry."""
    clock = Clock()
    subject = authenticator(clock)
    token = bearer()
    first = subject.authenticate(token, required=True)
    clock.now = NOW + 89
    assert subject.authenticate("".join(token), required=True) is first
    clock.now = NOW + 90
    refusal(subject, token)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The least recently used token is verified anew once there are too many; long ones always."""
    monkeypatch.setattr("ingress.policies.authentication._CACHE_SIZE", 2)
    subject = authenticator()
    one, two, three = (bearer(sub=name) for name in ("1", "2", "3"))
    first = subject.authenticate(one, required=True)
    second = subject.authenticate(two, required=True)
    assert subject.authenticate(one, required=True) is first
    subject.authenticate(three, required=True)
    assert subject.authenticate(one, required=True) is first
    assert subject.authenticate(two, required=True) is not second
    long = bearer(padding="x" * 5000)
    assert subject.authenticate(long, required=True) is not subject.authenticate(
        long, required=True
    )
