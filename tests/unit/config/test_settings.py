"""The environment, its files and its faults."""

from pathlib import Path

import pytest

from config.faults import ConfigError
from config.settings import Settings, load_settings

SECRET = "0123456789abcdef" * 2
EVERYTHING = {
    "GATEWAY_CONFIG_DIR": "/etc/gateway",
    "GATEWAY_AMQP_URL": "amqps://me:hunter2@mq.internal:5671/vhost?heartbeat=10",
    "GATEWAY_AMQP_LANE": "off",
    "GATEWAY_DNS_NAMESERVERS": "10.0.0.10, [::1]:5353",
    "GATEWAY_REDIS_URL": "redis://:hunter2@redis.internal:6379/0",
    "GATEWAY_REDIS_TIMEOUT": "0.2",
    "GATEWAY_ELASTICSEARCH_URL": "https://me:hunter2@search.internal:9200",
    "GATEWAY_JWT_SECRET": SECRET,
    "GATEWAY_ADMIN_TOKEN": "hunter2",
    "GATEWAY_OTLP_ENDPOINT": "http://otel.internal:4318",
    "GATEWAY_ZONE": "eu-1a",
    "GATEWAY_LOG_LEVEL": "debug",
    "GATEWAY_LOG_FORMAT": "console",
}


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the gateway's from outside."""
    for name in EVERYTHING:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(f"{name}_FILE", raising=False)


def faults_of(**given: object) -> str:
    """What ``load_settings`` complains about."""
    with pytest.raises(ConfigError) as caught:
        load_settings(**given)
    return str(caught.value)


def check_everything(settings: Settings) -> None:
    """Each setting has the value that EVERYTHING gives it."""
    assert settings.config_dir == Path("/etc/gateway")
    assert settings.amqp_lane is False
    assert settings.zone == "eu-1a"
    assert settings.redis_timeout == 0.2
    assert settings.dns_nameservers == (("10.0.0.10", 53), ("::1", 5353))
    assert (settings.log_level, settings.log_format) == ("DEBUG", "console")
    for name in ("amqp_url", "redis_url", "elasticsearch_url", "jwt_secret", "otlp_endpoint"):
        assert getattr(settings, name).get_secret_value() == EVERYTHING[f"GATEWAY_{name.upper()}"]
    assert settings.admin_token is not None
    assert settings.admin_token.get_secret_value() == "hunter2"


def test_an_empty_environment_is_enough() -> None:
    """All in one process, with the shipped configuration."""
    settings = load_settings()
    assert settings.config_dir == Path("config")
    assert settings.amqp_lane is True
    assert (settings.log_level, settings.log_format) == ("INFO", "json")
    assert settings.amqp_url is settings.redis_url is settings.jwt_secret is None


def test_every_variable_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The names are those of the documentation."""
    for name, value in EVERYTHING.items():
        monkeypatch.setenv(name, value)
    check_everything(load_settings())


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_every_variable_is_read_from_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ending: str
) -> None:
    """``..._FILE`` names a file; the line break that editors put at its end is no part of it."""
    for name, value in EVERYTHING.items():
        (tmp_path / name).write_bytes((value + ending).encode())
        monkeypatch.setenv(f"{name}_FILE", str(tmp_path / name))
    check_everything(load_settings())


def test_only_one_line_break_is_taken_off(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Secrets are bytes that somebody chose."""
    (tmp_path / "secret").write_text(f" {SECRET}\n\n")
    monkeypatch.setenv("GATEWAY_JWT_SECRET_FILE", str(tmp_path / "secret"))
    secret = load_settings().jwt_secret
    assert secret is not None
    assert secret.get_secret_value() == f" {SECRET}\n"


def test_empty_variables_are_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose files pass on what is not set as an empty text."""
    for name in EVERYTHING:
        monkeypatch.setenv(name, "")
        monkeypatch.setenv(f"{name}_FILE", "")
    assert load_settings() == Settings()


def test_arguments_win_over_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What the library's caller gives holds, and what it leaves None is read from outside."""
    monkeypatch.setenv("GATEWAY_REDIS_URL", "redis://outside")
    monkeypatch.setenv("GATEWAY_AMQP_URL", "amqp://outside")
    monkeypatch.setenv("GATEWAY_JWT_SECRET_FILE", str(tmp_path / "not there"))
    settings = load_settings(redis_url="redis://inside", amqp_url=None, jwt_secret=SECRET)
    assert settings.redis_url is not None
    assert settings.redis_url.get_secret_value() == "redis://inside"
    assert settings.amqp_url is not None
    assert settings.amqp_url.get_secret_value() == "amqp://outside"


def test_nothing_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither secrets nor passwords in URLs are in a repr."""
    for name, value in EVERYTHING.items():
        monkeypatch.setenv(name, value)
    shown = f"{load_settings()!r} {load_settings()}"
    assert "hunter2" not in shown
    assert SECRET not in shown


def test_all_faults_are_told_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each by its variable, and none with its secret."""
    (tmp_path / "short").write_text("hunter2\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "large").write_bytes(b"x" * 100_000)
    (tmp_path / "empty").write_bytes(b"")
    for name, value in {
        "AMQP_URL": "http://me:hunter2@mq",
        "AMQP_LANE": "maybe",
        "REDIS_URL": "redis://r",
        "REDIS_TIMEOUT": "inf",
        "REDIS_URL_FILE": str(tmp_path / "short"),
        "ELASTICSEARCH_URL_FILE": str(tmp_path / "binary"),
        "ADMIN_TOKEN_FILE": str(tmp_path / "empty"),
        "OTLP_ENDPOINT_FILE": str(tmp_path / "large"),
        "CONFIG_DIR_FILE": str(tmp_path),
        "LOG_LEVEL": "loud",
        "LOG_FORMAT": "xml",
    }.items():
        monkeypatch.setenv(f"GATEWAY_{name}", value)
    assert faults_of().splitlines() == [
        f"environment: GATEWAY_{line}"
        for line in (
            "ADMIN_TOKEN_FILE: found an empty file, allowed: one with a value in it",
            'AMQP_LANE: found "maybe", allowed: on or off',
            "AMQP_URL: found ***, allowed: an amqp:// or amqps:// URL",
            "CONFIG_DIR_FILE: found no readable file (Is a directory), allowed: the path of one",
            "ELASTICSEARCH_URL_FILE: found a file that is no text, allowed: a file in UTF-8",
            'LOG_FORMAT: found "xml", allowed: json or console',
            'LOG_LEVEL: found "loud", allowed: DEBUG, INFO, WARNING, ERROR or CRITICAL',
            "OTLP_ENDPOINT_FILE: found a larger file, allowed: at most 65536 bytes",
            'REDIS_TIMEOUT: found "inf", allowed: a number of seconds from 0.02 to 1',
            "REDIS_URL_FILE: found GATEWAY_REDIS_URL beside it, allowed: one of the two",
        )
    ]


def test_a_secret_in_the_place_of_its_path_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who confuses the two variables must not find the secret in the log."""
    monkeypatch.setenv("GATEWAY_JWT_SECRET_FILE", "hunter2")
    assert "hunter2" not in faults_of()


@pytest.mark.parametrize(
    "known",
    [
        "-----BEGIN PUBLIC KEY-----\nhunter2\n-----END PUBLIC KEY-----",
        "\n-----BEGIN CERTIFICATE-----\nhunter2",
        "ssh-rsa AAAAB3hunter2",
        "ecdsa-sha2-nistp256 AAAAEhunter2",
        '{"kty": "RSA", "n": "hunter2"}',
        '{\n "keys": [{"kid": "hunter2"}]}',
    ],
)
def test_what_everybody_may_know_is_no_secret(known: str) -> None:
    """A public key there would let anybody sign tokens with it."""
    faults = faults_of(jwt_secret=known)
    assert "GATEWAY_JWT_SECRET: found ***, allowed: a shared secret of 32 bytes or more" in faults
    assert "public keys are for auth.public_keys" in faults
    assert "hunter2" not in faults


@pytest.mark.parametrize("secret", ["hunter2", "é" * 15 + "x", " " * 40, f"{'x' * 31}\n "])
def test_a_short_secret_is_refused(secret: str) -> None:
    """Tokens could be forged by trying: RFC 7518 wants a key as long as its hash."""
    faults = faults_of(jwt_secret=secret)
    assert "GATEWAY_JWT_SECRET: found ***, allowed: a shared secret of 32 bytes or more" in faults


def test_a_secrets_length_is_counted_in_bytes() -> None:
    """RFC 7518 speaks of the key's bits, not of characters; and what was given is the key."""
    secret = load_settings(jwt_secret="é" * 16 + " ").jwt_secret
    assert secret is not None
    assert secret.get_secret_value() == "é" * 16 + " "


def test_no_secret_is_not_called_a_hidden_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whoever gives an empty text, or an empty file, hears that it is empty."""
    assert 'GATEWAY_JWT_SECRET: found ""' in faults_of(jwt_secret="")
    (tmp_path / "secret").write_text("\n")
    monkeypatch.setenv("GATEWAY_JWT_SECRET_FILE", str(tmp_path / "secret"))
    assert faults_of() == (
        "environment: GATEWAY_JWT_SECRET_FILE: found an empty file, allowed: one with a value in it"
    )


@pytest.mark.parametrize(
    "url",
    ["amqp://", "amqp:", "mq.internal", "amqp://h:99999", "amqp://h\n", "amqp://a b", "amqp://[x"],
)
def test_what_is_no_url_of_a_broker(url: str) -> None:
    """Found at the start, not at the first connection."""
    assert "GATEWAY_AMQP_URL: found ***" in faults_of(amqp_url=url)


def test_redis_may_be_a_socket() -> None:
    """Such a URL has no host."""
    assert load_settings(redis_url="unix:///run/redis.sock").redis_url is not None


@pytest.mark.parametrize("text", ["ns1", "10.0.0.1:x", "10.0.0.1:0", "10.0.0.1,", "u@10.0.0.1"])
def test_nameservers_are_addresses(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Whoever looks names up can't be told by a name."""
    monkeypatch.setenv("GATEWAY_DNS_NAMESERVERS", text)
    assert faults_of() == (
        f'environment: GATEWAY_DNS_NAMESERVERS: found "{text}", allowed: '
        "addresses, each with a port if it is not 53, like 10.0.0.10, [::1]:5353"
    )


@pytest.mark.parametrize(
    "rest", ["?foo=hunter2", "/hunter2", "/1/2", "?socket_timeout=hunter2", "/?db=hunter2"]
)
def test_a_redis_url_that_would_fail_later(monkeypatch: pytest.MonkeyPatch, rest: str) -> None:
    """A parameter that nobody knows, or a database that is no number, is a fault at the start."""
    monkeypatch.setenv("GATEWAY_REDIS_URL", f"redis://localhost{rest}")
    with pytest.raises(ConfigError) as caught:
        load_settings()
    (fault,) = caught.value.faults
    assert fault.key == "GATEWAY_REDIS_URL"
    assert "number of a database" in fault.allowed
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("rest", ["", "/", "/3", "?db=3", "/0?health_check_interval=5"])
def test_redis_urls_that_are_good(rest: str) -> None:
    """A database by its number or none, and the parameters of the client library."""
    assert load_settings(redis_url=f"redis://localhost:6379{rest}").redis_url is not None
