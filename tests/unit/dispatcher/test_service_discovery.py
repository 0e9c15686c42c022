"""Where the instances of a service are."""

from dispatcher.service_discovery import Instance, StaticDiscovery
from dispatcher.upstream import Address
from tests.unit.dispatcher.doubles import service


def test_a_base_url_is_one_instance() -> None:
    """A base URL names one instance, and its path goes in front of targets."""
    discovery = StaticDiscovery(service(base_url="http://users.test:8080/v2/"))

    assert discovery.instances == (
        Instance("http://users.test:8080/v2", Address("http", "users.test", 8080, "/v2")),
    )


def test_instances_keep_order_weight_and_zone() -> None:
    """Several instances come in the order of the configuration, with what it says about them."""
    urls = [{"url": "https://a.test", "weight": 3, "zone": "east"}, {"url": "http://[::1]:81"}]
    discovery = StaticDiscovery(service(base_url=None, instances=urls))

    assert discovery.instances == (
        Instance("https://a.test", Address("https", "a.test", 443), weight=3, zone="east"),
        Instance("http://[::1]:81", Address("http", "::1", 81)),
    )


def test_a_service_that_registers_has_none_yet() -> None:
    """Without a configured address there is no instance, and no error."""
    assert StaticDiscovery(service(base_url=None, discovery={"type": "registry"})).instances == ()
