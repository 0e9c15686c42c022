"""The discovery of each service, from one configuration to the next."""

from prometheus_client import CollectorRegistry

from dispatcher.discovery.discoveries import Discoveries
from dispatcher.discovery.embedded_registry import EmbeddedRegistry
from dispatcher.discovery.listener import DiscoveryMetrics
from dispatcher.discovery.registration import Lease
from tests.dns_server import DnsServer
from tests.unit.dispatcher.doubles import service

REGISTRY = {"type": "registry"}
DNS = {"type": "dns"}
NAME = "dispatcher_instances"


async def test_those_whose_settings_stay_live_on() -> None:
    """A change elsewhere in the service does not end what is known; one of its own does."""
    before = service(discovery=REGISTRY)
    async with EmbeddedRegistry() as registry, Discoveries(registry) as discoveries:
        await discoveries.use({"users": before, "orders": service("orders")})
        first = discoveries["users"]
        await discoveries.use({"users": service(discovery=REGISTRY, timeout=1)})
        assert discoveries["users"] is first
        await discoveries.use({"users": service(discovery=REGISTRY, base_url="http://b.test")})
        assert discoveries["users"] is not first
        await registry.register("users", Lease("http://a.test", 60))
        assert [each.name for each in discoveries["users"].instances] == ["http://a.test"]
        assert [each.name for each in first.instances] == ["http://users.test:8080"]


async def test_what_is_known_stays_until_more_is() -> None:
    """A change of the settings while DNS finds nothing takes nothing away."""
    async with DnsServer() as server, EmbeddedRegistry() as registry:
        server.zone["users.test.", "A"] = ["10.0.0.1"]
        async with Discoveries(registry, server.nameservers) as discoveries:
            await discoveries.use({"users": service(discovery=DNS)})
            del server.zone["users.test.", "A"]
            await discoveries.use({"users": service(discovery={**DNS, "record": "A"})})
            assert discoveries.failing == {"users": True}
            assert [each.name for each in discoveries["users"].instances] == [
                "http://10.0.0.1:8080"
            ]


async def test_instances_are_counted_while_a_service_is_there() -> None:
    """A service that is gone has no figure."""
    page = CollectorRegistry()
    async with (
        EmbeddedRegistry() as registry,
        Discoveries(registry, listener=DiscoveryMetrics(page)) as discoveries,
    ):
        await discoveries.use({"users": service(base_url=None, discovery=REGISTRY)})
        assert page.get_sample_value(NAME, {"service": "users"}) == 0
        await registry.register("users", Lease("http://a.test", 60))
        assert page.get_sample_value(NAME, {"service": "users"}) == 1
        assert [each.name for each in discoveries.instances("users")] == ["http://a.test"]
        assert discoveries.instances("gone") == ()
        await discoveries.use({})
        assert page.get_sample_value(NAME, {"service": "users"}) is None


async def test_names_are_known_when_a_service_is_used() -> None:
    """What DNS has is waited for; whether it answers is told, and a failure is counted."""
    page = CollectorRegistry()
    async with DnsServer() as server, EmbeddedRegistry() as registry:
        server.zone["users.test.", "A"] = ["10.0.0.1"]
        async with Discoveries(registry, server.nameservers, DiscoveryMetrics(page)) as discoveries:
            gone = service("gone", base_url="http://gone.test", discovery=DNS)
            await discoveries.use({"users": service(discovery=DNS), "gone": gone})
            assert [each.name for each in discoveries["users"].instances] == [
                "http://10.0.0.1:8080"
            ]
            assert discoveries.failing == {"users": False, "gone": True}
    failed = {"service": "gone", "reason": "no_such_name"}
    assert page.get_sample_value("dispatcher_lookups_failed_total", failed) == 1
