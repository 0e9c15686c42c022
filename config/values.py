"""The kinds of single values that configuration is made of.

Each says in its JSON schema, in plain words, what is allowed; faults quote those words.
"""

import ipaddress
import re
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    AllowInfNan,
    BeforeValidator,
    Field,
    HttpUrl,
    PlainSerializer,
    Strict,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from config.faults import Problem
from config.header_fields import HOP_BY_HOP, ORIGIN, SET_BY_INGRESS, SET_BY_THE_CALLER, folded
from config.paths import BadPattern, pattern_parameters

_SIZE = re.compile(r"([0-9]{1,12}) *(B|KiB|MiB|GiB)?")
_SIZE_UNITS = {None: 1, "B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_PLAIN_URL = re.compile(r"https?://[^\s/?#@\\]+(/[^\s?#\\]*)?")
# As browsers serialise them (HTML standard): small letters, no default port, no path. A first label
# `*` makes a pattern.
_ORIGIN = re.compile(
    r"\*|null|(?!https://.*:443$)(?!http://.*:80$)[a-z][a-z0-9+.-]*://"
    r"((\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(:[1-9][0-9]{0,4})?"
)
_JWKS_URL = re.compile(
    r"(https://[^\s/?#@\\]+|http://(127(\.[0-9]{1,3}){3}|\[::1\]|localhost)(:[0-9]+)?)([/?][^\s#\\]*)?"
)
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}")  # RFC 9110 section 5.6.2
_DAY = 86_400
_PEM_FILE = "the absolute path of a readable PEM file"
_LARGEST_PEM_FILE = 1024**2  # bytes; the authorities that systems trust are a fifth of that
# What the hash comes out as when the variable with the secret was not set.
_OF_NOTHING = frozenset(sha256(text).hexdigest() for text in (b"", b"\n"))
# Fields that say how a message travels, and fields by which the gateway vouches for something.
_NOT_CHANGEABLE = frozenset(
    HOP_BY_HOP + SET_BY_THE_CALLER + SET_BY_INGRESS + ORIGIN + ("via", "content-encoding")
)


def refusal(allowed: str, found: str = "") -> PydanticCustomError:
    """An error that says in its own words what is allowed, and what was found if not the value."""
    return PydanticCustomError("refused", "{allowed}", {"allowed": allowed, "found": found})


def refuse_places(problems: Iterable[Problem]) -> None:
    """Raise what was found at places inside of a value, if anything was."""
    errors = [
        InitErrorDetails(type=refusal(each.allowed, each.found), loc=each.path, input=None)
        for each in problems
    ]
    if errors:
        raise ValidationError.from_exception_data("refused", errors)


def _words(text: str, kind: str = "string") -> WithJsonSchema:
    return WithJsonSchema({"type": kind, "description": text})


def parse_size(value: object) -> object:
    """Bytes from ``"1048576"``, ``"1MiB"``, ``"64 KiB"``; other values pass on to pydantic."""
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value.strip())
    if match is None:
        raise ValueError("a size is a number of bytes, or one with B, KiB, MiB or GiB behind it")
    return int(match[1]) * _SIZE_UNITS[match[2]]


def _parse_network(value: object) -> object:
    if isinstance(value, str):
        return ipaddress.ip_network(value)
    if isinstance(value, ipaddress.IPv4Network | ipaddress.IPv6Network):
        return value
    raise ValueError("a network is text")


def is_address(host: str) -> bool:
    """Whether the host of a URL is an IP address, and no name."""
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _matches(pattern: re.Pattern[str]) -> BeforeValidator:
    def check(value: object) -> object:
        if pattern.fullmatch(str(value)) is None:
            raise ValueError("another text")
        return value

    return BeforeValidator(check)


def _path_pattern(value: str) -> str:
    try:
        pattern_parameters(value)
    except BadPattern as error:
        raise refusal(str(error)) from error
    return value


def _readable(value: str) -> str:
    """Secrets stay in files, so what is no path is not shown."""
    if "-----BEGIN" in value:
        raise refusal(f"{_PEM_FILE}, not what is in it", found="PEM text")
    path = Path(value)
    if not path.is_absolute():
        raise refusal(_PEM_FILE)
    try:
        with path.open("rb") as file:
            size = len(file.read(_LARGEST_PEM_FILE + 1))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no path"
        raise refusal(_PEM_FILE, f"{path} ({reason.lower()})") from error
    if size > _LARGEST_PEM_FILE:
        raise refusal(_PEM_FILE, f"{path}, which has over {_LARGEST_PEM_FILE} bytes")
    return value


def _json_path(value: str) -> str:
    from config.jsonpaths import BadJsonPath, parse_jsonpath  # only where there are transforms

    try:
        parse_jsonpath(value)
    except BadJsonPath as error:
        raise refusal(str(error)) from error
    return value


def _template(value: str) -> str:
    from config.templates import BadTemplate, parse_template  # only where there are transforms

    try:
        parse_template(value)
    except BadTemplate as error:
        raise refusal(str(error)) from error
    return value


def _changeable(value: str) -> str:
    if _HEADER_NAME.fullmatch(value) is None:
        raise refusal("the name of a header field")
    if folded(value) in _NOT_CHANGEABLE:
        raise refusal("the name of a field that is not the gateway's own")
    return value


def _visible(value: str) -> str:
    if not value.isprintable() or value != value.strip():
        raise ValueError("something that does not show")
    return value


def _of_something(value: str) -> str:
    if value in _OF_NOTHING:
        raise refusal("that of a secret that is long and random", found="the SHA-256 of nothing")
    return value


def _each_once(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(values)) < len(values):
        raise refusal("each method once", found="a method twice")
    return values


def _of_a_port(value: str) -> str:
    urlsplit(value).port  # noqa: B018 - raises ValueError above 65535
    return value


Flag = Annotated[bool, Strict()]
WholeNumber = Annotated[int, Strict(), Field(le=1_000_000_000)]
Count = Annotated[WholeNumber, Field(ge=0)]
PositiveCount = Annotated[WholeNumber, Field(ge=1)]
Number = Annotated[float, Strict(), AllowInfNan(False)]
Size = Annotated[
    int,
    Strict(),
    BeforeValidator(parse_size),
    Field(ge=0, le=1024**3),
    _words("a size like 1048576, 64KiB or 1MiB, at most 1GiB"),
]
PositiveSize = Annotated[
    Size, Field(ge=1), _words("a size from 1 on like 1048576, 64KiB or 1MiB, at most 1GiB")
]
# RabbitMQ can be told no more than 512 MiB.
MessageSize = Annotated[
    int,
    Strict(),
    BeforeValidator(parse_size),
    Field(ge=64 * 1024, le=512 * 1024**2),
    _words("a size from 64KiB to 512MiB"),
]
Seconds = Annotated[
    Number,
    Field(gt=0, le=_DAY),
    _words(f"a number of seconds above 0 and up to {_DAY}", "number"),
]
SecondsFromZero = Annotated[
    Number,
    Field(ge=0, le=_DAY),
    _words(f"a number of seconds from 0 to {_DAY}", "number"),
]
Part = Annotated[
    Number, Field(gt=0, le=1), _words("a part of the whole, above 0 and up to 1", "number")
]
Network = Annotated[
    ipaddress.IPv4Network | ipaddress.IPv6Network,
    BeforeValidator(_parse_network),
    PlainSerializer(str),
    _words(
        "an address or a network like 10.0.0.0/8 or 2001:db8::/32, no bits set behind its prefix"
    ),
]
Name = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100),
    _words("a name of up to 100 letters, digits, _, - and ."),
]
# No dot: "<service>.<tier>" must be a routing key of one service and tier only.
TierName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=100),
    _words("a tier's name, of up to 100 letters, digits, _ and -"),
]
Method = Annotated[
    str,
    Field(pattern=r"^[A-Z][A-Z0-9-]*$", max_length=32),
    _words("an HTTP method in capitals like GET"),
]
Methods = Annotated[
    tuple[Method, ...],
    Field(min_length=1),
    BeforeValidator(lambda value: (value,) if isinstance(value, str) else value),
    AfterValidator(_each_once),
]
HeaderName = Annotated[str, _matches(_HEADER_NAME), _words("the name of a header field")]
ChangeableHeader = Annotated[str, AfterValidator(_changeable), _words("the name of a header field")]
HeaderValue = Annotated[
    str,
    Field(pattern=r"^[^\x00-\x08\x0a-\x1f\x7f]*$", max_length=8192),
    _words("text without line breaks or other control characters"),
]
PathPattern = Annotated[
    str,
    Field(max_length=2048),
    AfterValidator(_path_pattern),
    _words("a path like /users, /users/{id} or /files/*"),
]
ProbePath = Annotated[  # written into a request line as it is: RFC 9112 section 3
    str,
    Field(pattern=r'^/[!"$-~]*$', max_length=2048),
    _words("a path of visible ASCII characters without #, like /health or /health?deep=1"),
]
PemFile = Annotated[
    str, Field(min_length=1, max_length=4096), AfterValidator(_readable), _words(_PEM_FILE)
]
HostName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$", max_length=253),
    _words("the name of a host like users.internal"),
]
JsonPathText = Annotated[
    str, AfterValidator(_json_path), _words("a JSONPath like $.id or $.items[*].id")
]
TemplateText = Annotated[str, AfterValidator(_template), _words("a Jinja2 template")]
PlainUrl = Annotated[
    HttpUrl,
    _matches(_PLAIN_URL),
    _words("an http:// or https:// URL without user, query and fragment"),
]
# Whoever can change what comes from there makes the keys: over a network only with TLS.
JwksUrl = Annotated[
    HttpUrl,
    _matches(_JWKS_URL),
    _words("an https:// URL without user and fragment, or an http:// one of this very machine"),
]
DnsName = Annotated[  # labels of up to 63 characters, as RFC 1035 has them, and _ as in SRV's
    str,
    Field(pattern=r"^([A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}\.?$", max_length=253),
    _words("a DNS name like users.example"),
]
FilePath = Annotated[
    str,
    Field(pattern=r"^[^\x00]+$", max_length=4096),
    _words("the path of a file, from the configuration directory on"),
]
Role = Annotated[
    str,
    Field(min_length=1, max_length=200),
    AfterValidator(_visible),
    _words("a name of 1 to 200 visible characters, without spaces at its ends"),
]
Scope = Annotated[  # a scope-token, RFC 6749 section 3.3
    str,
    Field(pattern=r"^[!#-\[\]-~]{1,200}$"),
    _words("a scope of printable ASCII characters without space, quote and backslash"),
]
Sha256 = Annotated[
    str,
    Field(pattern=r"^[0-9a-f]{64}$"),
    AfterValidator(_of_something),
    _words("a SHA-256 in 64 digits and letters a to f"),
]
Origin = Annotated[
    str,
    _matches(_ORIGIN),
    AfterValidator(_of_a_port),
    _words(
        "an origin as browsers write it, like https://app.example or https://*.app.example, or *"
    ),
]
# RFC 7518 section 3.1 and RFC 8037; never "none".
# fmt: off
Algorithm = Literal[
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512",
    "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
]
# fmt: on
