"""From files, or from data, to a snapshot."""

from dataclasses import replace as changed
from pathlib import Path
from textwrap import dedent

import pytest

import config
from config.faults import ConfigError
from config.loader import load, replace
from config.models.gateway import GatewayOptions
from config.models.tiers import DEFAULT_TIERS
from config.snapshot import Snapshot

SERVICES = "- {name: users, base_url: 'http://127.0.0.1:9000'}\n"


def write(directory: Path, **files: str) -> Path:
    """A configuration directory with these files."""
    for name, text in files.items():
        (directory / f"{name}.yaml").write_text(dedent(text), encoding="utf-8")
    return directory


@pytest.fixture
def snapshot(tmp_path: Path) -> Snapshot:
    """One route to one service."""
    return load(write(tmp_path, routes="- {path: /users, service: users}\n", services=SERVICES))


def test_the_files_that_ship_load_and_are_the_documented_defaults() -> None:
    """What `make run` uses is sound; tiers.yaml and gateway.yaml say what holds without them."""
    shipped = load(Path(next(iter(config.__path__))))
    assert {"user_service", "demo"} == set(shipped.services)
    assert shipped.tiers == DEFAULT_TIERS
    assert shipped.options == GatewayOptions()
    assert shipped.transforms == ()
    by_name = {route.label: route for route in shipped.routes}
    assert by_name["list-users"].auth_required
    assert not by_name["status"].auth_required


def test_two_files_are_enough(snapshot: Snapshot) -> None:
    """Without the optional files the defaults hold."""
    assert [route.path for route in snapshot.routes] == ["/users"]
    assert list(snapshot.services) == ["users"]
    assert (snapshot.tiers, snapshot.options) == (DEFAULT_TIERS, GatewayOptions())
    assert snapshot.version == 1


def test_files_of_comments_alone_are_empty(tmp_path: Path) -> None:
    """A file with nothing in it says nothing."""
    empty = dict.fromkeys(("routes", "services", "transforms", "tiers", "gateway"), "# later\n")
    assert load(write(tmp_path, **empty)) == Snapshot((), {}, directory=tmp_path)


def test_every_key_of_a_route_is_understood(tmp_path: Path) -> None:
    """The whole of a route as documented."""
    routes = """
        - path: "/api/{version}/files/*"
          methods: [GET, POST]
          service: "users"
          auth_required: true
          rate_limit: {requests_per_minute: 100, burst: 20}
          timeout: 30.0
          retry_count: 3
          name: "files"
          upstream_path: "/{version}/*"
          roles: {any: [admin, support]}
          scopes: {all: [users:read]}
          priority: PRO
          delivery: at_most_once
          async: allowed
          max_body: 1MiB
          validate: {query: {type: object}, body: true, mode: log}
          ip_filter: {allow: [10.0.0.0/8], deny: ["2001:db8::/32"]}
          cors: {allow_origins: ["https://app.example"], allow_methods: [GET], max_age: 600}
          when_open: hold
        """
    (route,) = load(write(tmp_path, routes=routes, services=SERVICES)).routes
    assert route.methods == ("GET", "POST")
    assert route.rate_limit is not None
    assert route.rate_limit.burst == 20
    assert route.async_mode == "allowed"
    assert route.max_body == 1024**2
    assert route.validation is not None
    assert route.validation.body is True
    assert route.label == "files"


def test_aliases_and_merges_spare_repetition(tmp_path: Path) -> None:
    """What `<<` brings in gives way to the mapping's own keys, and to what was merged before."""
    routes = """
        - &base {path: /a, service: users, timeout: 5, retry_count: 1}
        - &more {path: /b, service: users, timeout: 6, max_body: 7}
        - {path: /c, <<: [*base, *more], retry_count: 2}
        """
    *_, route = load(write(tmp_path, routes=routes, services=SERVICES)).routes
    assert (route.path, route.timeout, route.retry_count, route.max_body) == ("/c", 5.0, 2, 7)


def test_one_route_for_all_methods_leaves_named_ones_to_another(tmp_path: Path) -> None:
    """A route without methods and one with them may share a path."""
    routes = "- {path: /a, service: users}\n- {path: /a, method: GET, service: users}\n"
    assert len(load(write(tmp_path, routes=routes, services=SERVICES)).routes) == 2


def test_missing_files_are_named(tmp_path: Path) -> None:
    """Both required files are asked for at once."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    assert str(caught.value) == (
        "routes.yaml: found no such file, allowed: a YAML file, as it is required\n"
        "services.yaml: found no such file, allowed: a YAML file, as it is required"
    )


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    """A directory where a file should be is a fault like others."""
    (tmp_path / "tiers.yaml").mkdir()
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, routes="", services=""))
    assert str(caught.value) == (
        "tiers.yaml: found no readable file (Is a directory), allowed: a YAML file"
    )


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    """The directory itself may be the mistake."""
    with pytest.raises(ConfigError, match=r"/nowhere: found no such directory"):
        load(tmp_path / "nowhere")


def test_a_thousand_routes_load_whole(tmp_path: Path) -> None:
    """Size is no obstacle, and the last route's fault still has its line."""
    routes = [f"- {{path: '/api/r{n}/{{id}}', method: GET, service: users}}\n" for n in range(1000)]
    write(tmp_path, routes="".join(routes), services=SERVICES)
    assert len(load(tmp_path).routes) == 1000
    write(tmp_path, routes="".join(routes) + "- {path: /api/r0/{x}, service: nobody}\n")
    with pytest.raises(ConfigError, match=r"^routes.yaml:1001:"):
        load(tmp_path)


def test_a_thousand_faulty_routes_are_a_thousand_faults(tmp_path: Path) -> None:
    """Nothing is left out, and each is in the order of its line."""
    routes = "".join(f"- {{path: /r{n}, service: nobody}}\n" for n in range(1000))
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, routes=routes, services=SERVICES))
    lines = [fault.position.line for fault in caught.value.faults if fault.position]
    assert lines == list(range(1, 1001))


class TestReplace:
    """One kind made anew from plain data, as the admin API and the library hand it in."""

    def test_the_new_kind_is_in_the_next_version(self, snapshot: Snapshot) -> None:
        """Routes are new, all else stays, the old snapshot is untouched."""
        data = [{"path": "/api/v1/users", "method": "GET", "service": "users"}]
        after = replace(snapshot, "routes", data)
        assert [route.label for route in after.routes] == ["GET /api/v1/users"]
        assert changed(after, routes=snapshot.routes, version=1) == snapshot
        assert after.version == 2
        assert [route.label for route in snapshot.routes] == ["ANY /users"]

    @pytest.mark.parametrize(
        ("kind", "data"),
        [
            ("services", [{"name": "users", "instances": [{"url": "http://a"}]}]),
            ("transforms", [{"name": "t", "response_transform": {"template": {"a": "b"}}}]),
            ("tiers", {"FREE": {"requests_per_minute": 1}}),
            ("gateway", {"drain": {"delay": 0}}),
        ],
    )
    def test_every_kind_can_be_replaced(self, snapshot: Snapshot, kind: str, data: object) -> None:
        """Exactly that kind differs afterwards."""
        after = replace(snapshot, kind, data)
        fields = {"gateway": "options"}
        differing = [f for f in Snapshot.__slots__ if getattr(after, f) != getattr(snapshot, f)]
        assert sorted(differing) == sorted([fields.get(kind, kind), "version"])

    def test_faults_name_no_line(self, snapshot: Snapshot) -> None:
        """Data that came without a file has entries and keys, but no lines."""
        with pytest.raises(ConfigError) as caught:
            replace(snapshot, "routes", [{"path": "/a", "service": "nobody", "retry_count": "x"}])
        assert str(caught.value) == (
            'routes: route "ANY /a": retry_count: found "x", allowed: a whole number from 0 to 20\n'
            'routes: route "ANY /a": service: found "nobody", which is no service, allowed: users'
        )

    def test_what_others_need_cannot_be_taken_away(self, snapshot: Snapshot) -> None:
        """Services without the one that a route names are refused as a whole."""
        with pytest.raises(ConfigError, match=r'route "ANY /users": service: found "users"'):
            replace(snapshot, "services", [{"name": "others", "base_url": "http://a"}])

    @pytest.mark.parametrize("data", ["text", 5, {"path": "/a"}, None])
    def test_data_of_another_shape_is_refused(self, snapshot: Snapshot, data: object) -> None:
        """Routes are a list; nothing at all is not an empty list."""
        with pytest.raises(ConfigError, match=r"^routes: found"):
            replace(snapshot, "routes", data)

    def test_an_unknown_kind_is_refused(self, snapshot: Snapshot) -> None:
        """The nearest kind is suggested."""
        with pytest.raises(ConfigError, match=r'"route", allowed: routes \(the nearest\)'):
            replace(snapshot, "route", [])


class TestPublicKeys:
    """PEM files that gateway.yaml names."""

    @pytest.fixture
    def directory(self, tmp_path: Path) -> Path:
        """A configuration with one key, named from its directory on."""
        pem = Path(__file__).parent / "faults" / "public_key_without_algorithm" / "keys" / "a.pem"
        (tmp_path / "a.pem").write_bytes(pem.read_bytes())
        gateway = "auth: {algorithms: [ES256], public_keys: [a.pem]}"
        return write(tmp_path, routes="", services=SERVICES, gateway=gateway)

    def test_the_contents_are_in_the_snapshot(self, directory: Path) -> None:
        """So that requests under it need no file any more."""
        assert load(directory).public_keys == ((directory / "a.pem").read_bytes(),)

    def test_absolute_paths(self, directory: Path) -> None:
        """A path from the root on is taken as it is."""
        options = {"algorithms": ["ES256"], "public_keys": [str(directory / "a.pem")]}
        before = load(directory)
        assert replace(before, "gateway", {"auth": options}).public_keys == before.public_keys

    def test_later_configurations_read_the_files_again(self, directory: Path) -> None:
        """From the same directory; a file that is gone by then is a fault."""
        before = load(directory)
        assert replace(before, "services", []).public_keys == before.public_keys
        (directory / "a.pem").unlink()
        with pytest.raises(ConfigError, match=r'public_keys\[0\]: found "a.pem", which is no read'):
            replace(before, "services", [])
