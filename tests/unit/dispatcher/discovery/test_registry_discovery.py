"""From leases to instances."""

import pytest

from dispatcher.discovery.embedded_registry import EmbeddedRegistry
from dispatcher.discovery.registration import Lease
from dispatcher.discovery.registry_discovery import RegistryDiscovery
from dispatcher.service_discovery import Instance, StaticDiscovery
from dispatcher.upstream import Address
from tests.unit.dispatcher.doubles import service

REGISTRY = {"type": "registry"}


async def test_leases_are_instances_until_it_is_left() -> None:
    """With URL, weight and zone; afterwards they stay as they were."""
    async with EmbeddedRegistry() as registry:
        of = service(base_url=None, discovery=REGISTRY)
        async with RegistryDiscovery(of, registry) as discovery:
            await discovery.tried()
            assert list(discovery.instances) == []
            await registry.register("users", Lease("http://a.test:81/v2", 60, 3, "east"))
            expected = Instance(
                "http://a.test:81/v2", Address("http", "a.test", 81, "/v2"), 3, "east"
            )
            assert list(discovery.instances) == [expected]
        await registry.remove("users", "http://a.test:81/v2")
        assert list(discovery.instances) == [expected]


async def test_the_configured_serve_while_none_is_registered() -> None:
    """They give way to the first that registers, and come back after the last."""
    of = service(discovery=REGISTRY)
    async with EmbeddedRegistry() as registry, RegistryDiscovery(of, registry) as discovery:
        names = [[each.name for each in discovery.instances]]
        await registry.register("users", Lease("http://a.test", 60))
        names.append([each.name for each in discovery.instances])
        await registry.remove("users", "http://a.test")
        names.append([each.name for each in discovery.instances])
    assert names == [["http://users.test:8080"], ["http://a.test"], ["http://users.test:8080"]]


def test_until_it_is_read_those_of_before_serve() -> None:
    """Unless the configuration names some, which hold at once."""
    before = StaticDiscovery(service(base_url="http://before.test"))
    names = []
    for base_url in (None, "http://now.test"):
        of = service(base_url=base_url, discovery=REGISTRY)
        discovery = RegistryDiscovery(of, EmbeddedRegistry())
        discovery.take_over(before)
        names.append([each.name for each in discovery.instances])
    assert names == [["http://before.test"], ["http://now.test"]]


async def test_what_is_not_allowed_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever has let it in: another node's configuration, or a hand in the store."""
    of = service(base_url=None, discovery={**REGISTRY, "allow": ["10.0.0.0/8"]})
    async with EmbeddedRegistry() as registry, RegistryDiscovery(of, registry) as discovery:
        for url in ("http://10.0.0.1", "http://11.0.0.1", "no url", "http://a:b"):
            await registry.register("users", Lease(url, 60))
        assert [each.name for each in discovery.instances] == ["http://10.0.0.1"]
    assert "the registered http://11.0.0.1 of users is not allowed" in caplog.messages


async def test_who_came_and_went_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """By name, for whoever looks for the instance that took calls at that time."""
    caplog.set_level("INFO")
    of = service(base_url=None, discovery=REGISTRY)
    async with EmbeddedRegistry() as registry, RegistryDiscovery(of, registry):
        await registry.register("users", Lease("http://a.test", 60))
        await registry.remove("users", "http://a.test")
    assert caplog.messages[-2:] == [
        "1 instances of users are registered; came: http://a.test",
        "0 instances of users are registered; gone: http://a.test",
    ]
