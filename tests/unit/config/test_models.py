"""What the models promise to code that makes or reads them directly."""

import pytest
from pydantic import ValidationError

from config.models.auth import Auth
from config.models.origins import Cors
from config.models.routes import Route
from config.models.services import Service


def test_routes_can_be_made_by_field_name() -> None:
    """In code the fields have their own names; in files ``async`` and ``validate`` are the keys."""
    route = Route(path="/a", methods=("GET",), service="s", async_mode="always")
    assert (route.methods, route.async_mode) == (("GET",), "always")


@pytest.mark.parametrize("spelling", [{"method": "GET"}, {"methods": ["GET"]}])
def test_one_method_has_two_spellings(spelling: dict[str, object]) -> None:
    """Both fill the same field."""
    assert Route.model_validate({"path": "/a", "service": "s", **spelling}).methods == ("GET",)


def test_labels_tell_routes_apart() -> None:
    """The name, or else methods and path."""
    assert Route(path="/a", service="s").label == "ANY /a"
    assert Route(path="/a", methods=("GET", "PUT"), service="s").label == "GET,PUT /a"
    assert Route(path="/a", service="s", name="x").label == "x"


def test_a_base_url_counts_as_one_instance() -> None:
    """Whoever calls a service needs to know only of instances."""
    (instance,) = Service.model_validate({"name": "s", "base_url": "http://a:81/b"}).addresses
    assert (instance.url.host, instance.url.port, instance.url.path) == ("a", 81, "/b")


def test_a_registered_service_needs_no_address() -> None:
    """Its instances report themselves."""
    assert Service.model_validate({"name": "s", "discovery": {"type": "registry"}}).addresses == ()


def test_credentials_go_with_named_origins() -> None:
    """Only the star is refused beside them."""
    assert Cors(allow_origins=("https://app.example",), allow_credentials=True).allow_credentials


def test_a_broken_path_is_one_fault_not_two() -> None:
    """Without a sound path nothing can be said of the parameters of ``upstream_path``."""
    with pytest.raises(ValidationError) as caught:
        Route(path="/{a", service="s", upstream_path="/{b}")
    assert [error["loc"] for error in caught.value.errors()] == [("path",)]


def test_models_are_immutable() -> None:
    """A request lives under the configuration it came with."""
    with pytest.raises(ValidationError):
        Route(path="/a", service="s").path = "/b"


@pytest.mark.parametrize("algorithm", ["none", "None", "HS1", "hs256", ""])
def test_only_listed_algorithms_are_allowed(algorithm: str) -> None:
    """Tokens without a signature can't be switched on."""
    with pytest.raises(ValidationError):
        Auth.model_validate({"algorithms": ["HS256", algorithm]})


def test_errors_of_models_hide_what_was_given() -> None:
    """Even where pydantic's own error is printed, no value is in it."""
    with pytest.raises(ValidationError) as caught:
        Auth.model_validate({"clients": [{"id": "c", "secret_hash": 42424242}]})
    assert "42424242" not in str(caught.value)
