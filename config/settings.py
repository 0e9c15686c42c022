"""What the environment says: addresses, secrets and logging.

``GATEWAY_JWT_SECRET`` holds the secret itself, ``GATEWAY_JWT_SECRET_FILE`` the path of a file with
it (a line break at its end is not part of it); so for every setting. Empty variables count as
absent.
"""

import os
import re
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    AllowInfNan,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from config.allowed import allowed_at
from config.faults import ConfigError, Fault, shown
from config.redis_urls import REDIS_TIMEOUT, check_redis_url

_PREFIX = "GATEWAY_"
_FILE = "_FILE"
_LAST_LINE_BREAK = re.compile(r"\r?\n\Z")
# PEM, OpenSSH, a JWK or a set of them.
_PUBLIC = re.compile(r"\s*(-----BEGIN |(ssh|ecdsa|sk)-\S+ AAAA|\{.*\"(kty|keys)\")", re.DOTALL)
_LARGEST_FILE = 64 * 1024  # bytes
_SHORTEST_KEY = 32  # bytes: a key for HS256 is at least as long as its hash, RFC 7518 section 3.2


def _url_of(*schemes: str) -> Callable[[SecretStr], SecretStr]:
    def check(value: SecretStr) -> SecretStr:
        text = value.get_secret_value()
        url = urlsplit(text)
        if url.scheme not in schemes or not (url.hostname or url.scheme == "unix"):
            raise ValueError("another scheme, or no host")
        if url.port == 0 or not text.isprintable() or " " in text:
            raise ValueError("no URL")
        return value

    return check


def _redis_url(value: SecretStr) -> SecretStr:
    check_redis_url(value.get_secret_value())
    return value


def _words(text: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "description": text})


# Secret as a whole: passwords stand in URLs.
_AmqpUrl = Annotated[
    SecretStr, AfterValidator(_url_of("amqp", "amqps")), _words("an amqp:// or amqps:// URL")
]
_RedisUrl = Annotated[
    SecretStr,
    AfterValidator(_url_of("redis", "rediss", "unix")),
    AfterValidator(_redis_url),
    _words(
        "a redis://, rediss:// or unix:// URL; its path is the number of a database, its "
        "parameters are those of redis-py"
    ),
]
_RedisTimeout = Annotated[
    float,
    AllowInfNan(False),
    Field(ge=0.02, le=1),
    _words("a number of seconds from 0.02 to 1"),
]
_HttpUrl = Annotated[
    SecretStr, AfterValidator(_url_of("http", "https")), _words("an http:// or https:// URL")
]
_Token = Annotated[SecretStr, Field(min_length=1), _words("text that is not empty")]


def _no_public_key(value: SecretStr) -> SecretStr:
    """What everybody may know makes no shared secret (RFC 8725 section 3.1)."""
    if _PUBLIC.match(value.get_secret_value()):
        raise ValueError("a public key")
    return value


def _long_enough(value: SecretStr) -> SecretStr:
    """Tokens under a short key can be forged by trying; blanks around it make it no harder."""
    if len(value.get_secret_value().strip().encode()) < _SHORTEST_KEY:
        raise ValueError("a short key")
    return value


_SharedSecret = Annotated[
    SecretStr,
    AfterValidator(_no_public_key),
    AfterValidator(_long_enough),
    _words(
        f"a shared secret of {_SHORTEST_KEY} bytes or more, random ones, blanks around it not "
        "counted; public keys are for auth.public_keys in gateway.yaml"
    ),
]
_Zone = Annotated[str, Field(max_length=200), _words("the name of a zone, as instances have it")]
_OnOff = Annotated[
    bool,
    BeforeValidator(lambda value: {"on": True, "off": False}.get(value, value)),
    Field(strict=True),
    _words("on or off"),
]


def _nameservers(value: object) -> object:
    """Addresses and ports of ``10.0.0.10, 10.0.0.11:5353, [::1]:53``."""
    if not isinstance(value, str):
        return value
    found = []
    for text in value.split(","):
        url = urlsplit(f"//{text.strip()}")
        if url.path or url.query or url.fragment or url.username is not None or url.port == 0:
            raise ValueError("more than an address and a port")
        found.append((str(ip_address(url.hostname or "")), url.port or 53))
    return tuple(found)


_Nameservers = Annotated[
    tuple[tuple[str, int], ...],
    NoDecode,
    BeforeValidator(_nameservers),
    _words("addresses, each with a port if it is not 53, like 10.0.0.10, [::1]:5353"),
]
_LEVELS = {level.lower(): level for level in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")}
_LogLevel = Annotated[
    Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"],
    BeforeValidator(lambda value: _LEVELS.get(value, value)),
]


class Settings(BaseSettings):
    """The environment, checked; ``load_settings`` makes it. What may be secret shows as stars."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, env_ignore_empty=True, frozen=True, hide_input_in_errors=True
    )

    config_dir: Path = Path("config")
    amqp_url: _AmqpUrl | None = None
    amqp_lane: _OnOff = True  # off: requests and replies too go by way of aio-pika
    redis_url: _RedisUrl | None = None
    redis_timeout: _RedisTimeout = REDIS_TIMEOUT
    dns_nameservers: _Nameservers = ()  # empty: those of /etc/resolv.conf
    elasticsearch_url: _HttpUrl | None = None
    jwt_secret: _SharedSecret | None = None
    admin_token: _Token | None = None
    otlp_endpoint: _HttpUrl | None = None
    zone: _Zone | None = None  # instances of the same zone are preferred
    log_level: _LogLevel = "INFO"
    log_format: Literal["json", "console"] = "json"


# These may be shown in a fault.
_HARMLESS = (
    *("config_dir", "amqp_lane", "redis_timeout", "dns_nameservers"),
    *("zone", "log_level", "log_format"),
)


class _BadVariable(Exception):
    """A variable that can't be used; the arguments are what was found and what is allowed."""


def load_settings(**given: Any) -> Settings:
    """Read the environment; what is given here, and not None, wins over it.

    Raises ConfigError, with every fault, named by its variable.
    """
    values = {name: value for name, value in given.items() if value is not None}
    variables = {name: _PREFIX + name.upper() for name in Settings.model_fields}
    faults: list[Fault] = []
    for name in variables.keys() - values.keys():
        if not os.environ.get(variables[name] + _FILE):
            continue
        variables[name] += _FILE
        try:
            values[name] = _from_file(variables[name])
        except _BadVariable as error:
            faults.append(_fault(variables[name], *error.args))
    try:
        settings = Settings(**values)
    except ValidationError as error:
        faults += [_of_detail(detail, variables) for detail in error.errors(include_url=False)]
    if faults:
        raise ConfigError(sorted(faults, key=str))
    return settings


def _from_file(variable: str) -> str:
    plain = variable.removesuffix(_FILE)
    if os.environ.get(plain):
        raise _BadVariable(f"{plain} beside it", "one of the two")
    try:
        with open(os.environ[variable], "rb") as file:
            text = file.read(_LARGEST_FILE + 1).decode()
    except OSError as error:
        # The path stays unsaid: it may be the secret itself, in the wrong variable.
        raise _BadVariable(f"no readable file ({error.strerror})", "the path of one") from error
    except UnicodeDecodeError as error:
        raise _BadVariable("a file that is no text", "a file in UTF-8") from error
    if len(text) > _LARGEST_FILE:
        raise _BadVariable("a larger file", f"at most {_LARGEST_FILE} bytes")
    if not (value := _LAST_LINE_BREAK.sub("", text)):
        raise _BadVariable("an empty file", "one with a value in it")
    return value


def _of_detail(detail: ErrorDetails, variables: Mapping[str, str]) -> Fault:
    name = str(detail["loc"][0])
    found = shown(detail["input"]) if name in _HARMLESS or not detail["input"] else "***"
    return _fault(variables[name], found, allowed_at(Settings, (name,)))


def _fault(variable: str, found: str, allowed: str) -> Fault:
    return Fault(file="environment", key=variable, found=found, allowed=allowed)
