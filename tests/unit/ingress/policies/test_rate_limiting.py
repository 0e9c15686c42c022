"""Which limits are for a request, and whom they count."""

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

import pytest

from broker.messages import Headers, Principal
from broker.problems import ProblemType
from config.models.gateway import GatewayOptions
from config.models.routes import Route
from config.models.services import Service
from config.models.tiers import Tier
from config.snapshot import Snapshot
from ingress.addresses import Address
from ingress.identity.session_store import SessionsUnavailable, owner_of, session_of
from ingress.limits.allowance import Charge, Outcome, Store, StoreUnavailable
from ingress.limits.embedded import EmbeddedStore
from ingress.origin import Origins
from ingress.policies.rate_limiting import RateLimiting
from ingress.problems import Refused
from ingress.routing import Router
from tests.unit.ingress.requests import make_request

ALICE = Principal("alice", "FREE")
BOB = Principal("bob", "FREE", roles=("partner",))
ACME = Principal("carol", "ENTERPRISE", customer="acme")
NO_LIMITS = {"FREE": {"requests_per_minute": None}}
ENTERPRISE = {"requests_per_minute": None, "customers": {"acme": {"requests_per_minute": 3}}}


class Door:
    """Rate limiting for some routes, rules and tiers."""

    def __init__(
        self,
        *routes: dict[str, Any],
        rules: list[dict[str, Any]] | None = None,
        tiers: Mapping[str, dict[str, Any]] = NO_LIMITS,
        store: Store | None = None,
        **options: Any,
    ) -> None:
        made = [Route.model_validate({"service": "s", **r}) for r in routes or [{"path": "/*"}]]
        snapshot = Snapshot(
            tuple(made),
            {"s": Service.model_validate({"name": "s", "base_url": "http://upstream"})},
            tiers={name: Tier.model_validate(tier) for name, tier in tiers.items()},
            options=GatewayOptions.model_validate({"rate_limits": rules or [], **options}),
        )
        self._router = Router(snapshot)
        self.store = EmbeddedStore(lambda: 0) if store is None else store
        self.policy = RateLimiting(snapshot, self.store, Origins(()).accountable)

    async def ask(
        self,
        principal: Principal | None = None,
        path: str = "/x",
        peer: str = "192.0.2.1",
        headers: Headers = (),
    ) -> dict[str, str]:
        """One request; the fields that tell what is left."""
        request = make_request("GET", path, headers, peer=peer)
        route, _ = self._router.match("GET", path)
        fields = await self.policy.check(request, path, route, principal)
        return {name.decode(): value.decode() for name, value in fields}

    async def passes(self, *args: Any, **kwargs: Any) -> bool:
        """Whether one more request does."""
        try:
            await self.ask(*args, **kwargs)
        except Refused as refused:
            return refused.problem_type is not ProblemType.RATE_LIMITED
        return True


def rule(key: str, per_minute: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "name": f"by-{key.replace(':', '-')}",
        "key": key,
        "requests_per_minute": per_minute,
        **more,
    }


async def test_tier() -> None:
    """A caller has what its tier gives, and no caller has another's."""
    door = Door(tiers={"FREE": {"requests_per_minute": 1, "burst": 1}})
    assert await door.ask(ALICE) == {
        "RateLimit-Policy": '"free";q=1;w=60',
        "RateLimit": '"free";r=1;t=60',
    }
    assert await door.passes(ALICE)
    assert not await door.passes(ALICE)
    assert await door.passes(BOB)


async def test_refusal() -> None:
    """A 429 names the limit and what it is, and says when to come back, not before its t."""
    door = Door({"path": "/x", "rate_limit": 2}, tiers={"FREE": {"requests_per_minute": 60}})
    await door.ask(ALICE)
    await door.ask(ALICE)
    with pytest.raises(Refused) as caught:
        await door.ask(ALICE)
    assert caught.value.problem_type is ProblemType.RATE_LIMITED
    assert '"ANY /x" of 2 requests a minute' in caught.value.detail
    assert caught.value.retry_after == 30
    assert caught.value.headers == (
        (b"RateLimit-Policy", b'"free";q=60;w=60, "ANY /x";q=2;w=60'),
        (b"RateLimit", b'"ANY /x";r=0;t=30'),
    )


async def test_cost() -> None:
    """A request counts for as many as its route says, under every limit; at most for all of it."""
    routes = ({"path": "/x", "rate_limit_cost": 3}, {"path": "/y", "rate_limit_cost": 100})
    door = Door(*routes, tiers={"FREE": {"requests_per_minute": 10}})
    assert (await door.ask(ALICE))["RateLimit"] == '"free";r=7;t=6'
    with pytest.raises(Refused) as caught:
        await door.ask(ALICE, "/y")
    assert caught.value.retry_after == 18
    assert (await door.ask(BOB, "/y"))["RateLimit"] == '"free";r=0;t=6'
    assert not await door.passes(BOB)


async def test_old_fields() -> None:
    """Where they are asked for, X-RateLimit-* are on admitted and on refused answers."""
    door = Door({"path": "/x", "rate_limit": 1}, x_ratelimit_fields=True)
    fields = await door.ask(ALICE)
    told = {name: value for name, value in fields.items() if name.startswith("X-")}
    left = {"X-RateLimit-Limit": "1", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "60"}
    assert told == left
    with pytest.raises(Refused) as caught:
        await door.ask(ALICE)
    assert (b"X-RateLimit-Remaining", b"0") in caught.value.headers


async def test_customers_share() -> None:
    """All subjects of a customer that its tier names share its limit; others have the tier's."""
    door = Door(tiers={"ENTERPRISE": ENTERPRISE, **NO_LIMITS})
    for subject in "abc":
        assert await door.passes(Principal(subject, "ENTERPRISE", customer="acme"))
    assert not await door.passes(ACME)
    assert await door.ask(Principal("d", "ENTERPRISE", customer="other")) == {}


async def test_route_counts_each_caller() -> None:
    """A route's limit is for each caller on that route, whoever shares its customer's limit."""
    routes = ({"path": "/x", "rate_limit": 1}, {"path": "/y", "rate_limit": 1}, {"path": "/z"})
    door = Door(*routes)
    assert await door.passes(ALICE)
    assert not await door.passes(ALICE)
    assert await door.passes(ALICE, "/y")
    assert await door.passes(BOB)
    assert await door.ask(ALICE, "/z") == {}


async def test_anonymous_callers() -> None:
    """Who has no token has the FREE tier, by address; IPv6 by site, mapped IPv4 as IPv4."""
    door = Door(tiers={"FREE": {"requests_per_minute": 1}})
    assert await door.passes(peer="192.0.2.1")
    assert not await door.passes(peer="::ffff:192.0.2.1")
    assert await door.passes(peer="192.0.2.2")
    assert await door.passes(peer="2001:db8::1")
    assert not await door.passes(peer="2001:db8::2%eth0")
    assert await door.passes(ALICE, peer="192.0.2.1")


async def test_rule_by_address() -> None:
    """Counted by where requests come from, whoever sends them."""
    door = Door(rules=[rule("ip")])
    assert await door.passes(ALICE, peer="192.0.2.1")
    assert not await door.passes(BOB, peer="192.0.2.1")
    assert not await door.passes(peer="192.0.2.1")
    assert await door.passes(ALICE, peer="192.0.2.2")


async def test_rule_by_subject() -> None:
    """Counted by the subject on all routes together; anonymous ones by address."""
    door = Door({"path": "/x"}, {"path": "/y"}, rules=[rule("subject")])
    assert await door.passes(ALICE)
    assert not await door.passes(ALICE, "/y", peer="192.0.2.9")
    assert await door.passes(BOB)
    assert await door.passes()
    assert not await door.passes(path="/y")


async def test_rule_by_customer() -> None:
    """Counted by the customer; who has none, by itself."""
    door = Door(
        rules=[rule("customer")], tiers={"ENTERPRISE": {"requests_per_minute": None}, **NO_LIMITS}
    )
    assert await door.passes(ACME)
    assert not await door.passes(Principal("dave", "FREE", customer="acme"))
    assert await door.passes(ALICE)
    assert not await door.passes(ALICE)


async def test_rule_by_header() -> None:
    """Counted by the value of a field; who leaves it out is counted by itself."""
    door = Door(rules=[rule("header:X-App")])
    one, other = ((b"x-app", b"1"),), ((b"X-App", b"2"),)
    assert await door.passes(ALICE, headers=one)
    assert not await door.passes(BOB, headers=one)
    assert await door.passes(BOB, headers=other)
    assert await door.passes(ALICE)
    assert not await door.passes(ALICE)


async def test_spellings_of_a_field_are_one() -> None:
    """All values count, in their order; the name in any case, with `_` or `-`."""
    door = Door(rules=[rule("header:X-App")])
    assert await door.passes(ALICE, headers=((b"X-App", b"r0"),))
    for names in ((b"X_App",), (b"x.app",)):
        assert not await door.passes(ALICE, headers=tuple((name, b"r0") for name in names))
    assert await door.passes(ALICE, headers=((b"X-App", b"new"), (b"X-App", b"r0")))
    for headers in (((b"X_App", b"new"), (b"x-app", b"r0")), ((b"X-App", b"new, r0"),)):
        assert not await door.passes(ALICE, headers=headers)
    assert await door.passes(ALICE, headers=((b"XApp", b"r0"),))


async def test_rule_for_some_roles() -> None:
    """It is only for those who have one of its roles."""
    door = Door(rules=[rule("subject", match={"roles": ["ops", "partner"]})])
    assert await door.passes(BOB)
    assert not await door.passes(BOB)
    assert await door.ask(ALICE) == {}
    assert await door.ask() == {}


@pytest.mark.parametrize(
    ("pattern", "path", "counted"),
    [
        ("/api/*", "/api/a/b", True),
        ("/api/*", "/api/", True),
        ("/api/*", "/apis", False),
        ("/a.b/{id}", "/a.b/7", True),
        ("/a.b/{id}", "/axb/7", False),
        ("/a.b/{id}", "/a.b/7/8", False),
        ("/a.b/{id}", "/a.b/", False),
        ("/x", "/x", True),
        ("/x", "/x/", False),
    ],
)
async def test_rule_for_some_paths(pattern: str, path: str, counted: bool) -> None:
    """It is only for paths that match, by the rules that those of routes have."""
    door = Door(rules=[rule("subject", match={"path": pattern})])
    assert bool(await door.ask(ALICE, path)) is counted


async def test_nothing_to_limit() -> None:
    """Nobody is concerned without any limit, but for who has a session; with one, everybody is."""
    assert not Door().policy.concerns(None)
    assert not Door().policy.concerns(ALICE)
    assert Door().policy.concerns(Principal("alice", "FREE", session="gws_x"))
    assert Door(rules=[rule("ip")]).policy.concerns(None)
    assert Door(rules=[rule("header:X")]).policy.concerns(None)
    assert Door({"path": "/x", "rate_limit": 1}).policy.concerns(None)
    assert Door(tiers={"ENTERPRISE": ENTERPRISE}).policy.concerns(None)
    assert Door(tiers={"FREE": {"requests_per_minute": 1}}).policy.concerns(None)


async def test_store_that_must_be_asked() -> None:
    """Where a limit must hold and can't be checked, the request is refused with a 503."""

    class Away(EmbeddedStore):
        async def check(self, charges: Any, cost: int = 1, session: Any = None) -> Outcome:
            raise StoreUnavailable

    with pytest.raises(Refused) as caught:
        await Door(rules=[rule("ip")], store=Away()).ask()
    assert caught.value.problem_type is ProblemType.LIMITS_UNAVAILABLE
    assert caught.value.executed == "no"


async def test_keys_of_a_caller_share_a_slot() -> None:
    """All that is counted for a caller or its customer has one hash tag, for Redis Cluster."""
    asked: list[Charge] = []

    class Seen(EmbeddedStore):
        async def check(self, charges: Any, cost: int = 1, session: Any = None) -> Outcome:
            asked.extend(charges)
            return await super().check(charges, cost, session)

    door = Door(
        {"path": "/x", "rate_limit": 9},
        rules=[rule("subject", 9), rule("customer", 9)],
        tiers={"ENTERPRISE": ENTERPRISE},
        store=Seen(),
    )
    await door.ask(ACME)
    assert len({charge.key for charge in asked}) == 4
    assert owner_of(ACME, 1).key.startswith(b"session:{org:acme}|")
    assert all(charge.key.startswith(b"rl:{org:acme}|") for charge in asked)


async def test_session() -> None:
    """A caller with a session passes while it lasts, with limits and without; then it is a 401."""
    for tiers in (NO_LIMITS, {"FREE": {"requests_per_minute": 9}}):
        door = Door(tiers=tiers)
        caller = Principal("alice", "FREE", session="gws_x")
        session = session_of(caller, 1_209_600)
        assert session is not None
        await door.store.sessions.open(session, bytes(32), ())
        fields = await door.ask(caller)
        assert ("RateLimit" in fields) == (tiers is not NO_LIMITS)
        await door.store.sessions.end(session)
        with pytest.raises(Refused) as caught:
            await door.ask(caller)
        assert caught.value.problem_type is ProblemType.UNAUTHORIZED
        assert b'error="invalid_token"' in caught.value.headers[0][1]
        assert await door.passes(ALICE)


async def test_session_that_can_not_be_checked() -> None:
    """Whoever has one is refused with a 503; who has none goes by the limits."""

    class Away(EmbeddedStore):
        async def check(self, charges: Any, cost: int = 1, session: Any = None) -> Outcome:
            if session is not None:
                raise SessionsUnavailable
            return await super().check(charges, cost)

    door = Door(store=Away())
    with pytest.raises(Refused) as caught:
        await door.ask(Principal("alice", "FREE", session="gws_x"))
    assert caught.value.problem_type is ProblemType.SESSIONS_UNAVAILABLE
    assert caught.value.executed == "no"
    assert await door.ask(ALICE) == {}


async def test_plans_are_bounded() -> None:
    """Any number of callers can come; what each has used stays."""
    door = Door(tiers={"FREE": {"requests_per_minute": 1}})
    assert await door.passes(ALICE)
    for number in range(5_000):
        await door.ask(Principal(str(number), "FREE"))
    assert len(door.policy._plans) <= 4096
    assert not await door.passes(ALICE)


async def test_where_the_client_is() -> None:
    """The address is asked for where something is counted by it, and only there."""
    asked: list[str] = []

    def client(peer: str, headers: Headers) -> Address | None:
        asked.append(peer)
        return ip_address("198.51.100.7")

    door = Door(tiers={"FREE": {"requests_per_minute": 1}})
    door.policy._accountable = client
    assert await door.passes(ALICE, peer="10.0.0.1")
    assert not asked
    assert await door.passes(peer="10.0.0.1")
    assert not await door.passes(peer="10.0.0.2")
    assert asked == ["10.0.0.1", "10.0.0.2"]
