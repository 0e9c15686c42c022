"""JSON (RFC 8259) that cannot be read in two ways: what readers disagree about is refused.

A service must not understand a body otherwise than whoever checked it did. So: UTF-8 without a byte
order mark, no lone surrogates, no NaN, and no key twice in an object (CVE-2022-25757 was a
validator that took the other one of two). Numbers are bounded before anything is parsed: reading
and comparing one takes time that grows with its power of ten; 1e300 takes a thousand times as long
as 1.
"""

import json
import re
from array import array
from collections import Counter
from itertools import accumulate
from typing import NamedTuple

import msgspec

MAX_DEPTH = 100  # arrays and objects inside of each other
MOST_DIGITS = 40  # of a number, its point included, its exponent not; 128 bits have 39
# Arrays and objects in a text: the collector of garbage goes over all of them again and again while
# they are made, so that a MiB of them took up to 160 ms.
MOST_CONTAINERS = 100_000
MOST_EXPONENTS = 100_000  # numbers with one, in a text
_LONGEST_SEARCHED = 65_536  # bytes

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode

_NO_BRACKET = bytes(set(range(256)) - set(b"[]{}"))
_STEPS = bytes.maketrans(b"[]{}", b"\x01\xff\x01\xff")  # as signed bytes: down, up
# The shape of numbers: digits are 0 and so are points, signs are -, and an exponent begins with e.
_SHAPE = bytes.maketrans(b"123456789.+E", b"0000000000-e")
_TOO_LONG = b"0" * (MOST_DIGITS + 1)
_LONG = b"0" * 19
_BETWEEN = b" \t\r\n-"
# Of as many digits as no double (of 53 bits) tells apart, or with an exponent.
_find_long_or_extreme = re.compile(rb"(?<![0-9.])-?(?:[0-9]{16}|[0-9.]++[eE])[0-9.eE+-]*+").findall


class NotStrict(ValueError):
    """The text is not JSON, or not such JSON; says why, and shows no value."""


class Numbers(NamedTuple):
    """How many numbers a text has, at most, by how they are written."""

    integers: int  # all numbers, as each has an integer part
    decimals: int
    extremes: int  # with an exponent, or of 19 digits and more


class Alike(NamedTuple):
    """Numbers that differ, and are the same as doubles: how many, and how many of one double."""

    numbers: int
    most: int


def read_json(text: bytes) -> tuple[object, int]:
    """The value, and how many values there are in it, itself among them, at most. Raises NotStrict.

    Depth and numbers are checked before anything is parsed. Takes time in proportion to the text.
    """
    outside = _outside_strings(text)
    containers = outside.count(b"[") + outside.count(b"{")
    if containers > MAX_DEPTH and _is_too_deep(outside):
        raise NotStrict(f"has more than {MAX_DEPTH} arrays and objects inside of each other")
    if containers > MOST_CONTAINERS:
        raise NotStrict(f"has more than {MOST_CONTAINERS} arrays and objects")
    _check_numbers(outside.translate(_SHAPE))
    try:
        value = _decode(text)
    except UnicodeDecodeError:
        raise NotStrict("is not UTF-8") from None
    except msgspec.MsgspecError as error:
        raise NotStrict(f"is not JSON that all readers agree on: {error}") from None
    members = outside.count(b":")
    # Of a key that comes twice only one member is left, so that a new text has fewer of them.
    if members > 1 and _outside_strings(_encode(value)).count(b":") < members:
        raise NotStrict(f"has {_repeated_key(text)} twice in an object")
    return value, outside.count(b",") + containers + 1


def count_numbers(text: bytes) -> Numbers:
    """The numbers in a text that ``read_json`` can read."""
    outside = _outside_strings(text)
    numbers = outside.translate(_SHAPE, _BETWEEN)
    return Numbers(
        integers=sum(map(numbers.count, (b"[0", b",0", b":0"))) + numbers.startswith(b"0"),
        decimals=outside.count(b"."),
        extremes=numbers.count(b"0e") + numbers.count(_LONG),
    )


def count_alike(text: bytes) -> Alike:
    """The same of numbers that only their last digits tell apart, each as often as it occurs."""
    alike: dict[float, list[int]] = {}
    for number, times in Counter(_find_long_or_extreme(_outside_strings(text))).items():
        alike.setdefault(float(number), []).append(times)
    groups = [sum(times) for times in alike.values() if len(times) > 1]
    return Alike(sum(groups), max(groups, default=0))


def _check_numbers(shape: bytes) -> None:
    if _TOO_LONG in shape:
        raise NotStrict(f"has a number of more than {MOST_DIGITS} digits, its point counted")
    if b"e000" in shape or b"e-000" in shape:
        raise NotStrict("has a number with an exponent of more than two digits")
    if shape.count(b"0e") > MOST_EXPONENTS:
        raise NotStrict(f"has more than {MOST_EXPONENTS} numbers with an exponent")


def _outside_strings(text: bytes) -> bytes:
    """What is left of a JSON text without its strings; of other text, up to its first fault."""
    if b"\\" in text:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(text.split(b'"')[::2])


def _is_too_deep(outside: bytes) -> bool:
    steps = array("b", outside.translate(_STEPS, _NO_BRACKET))
    return any(map(MAX_DEPTH.__lt__, accumulate(steps)))


class _Repeated(Exception):
    pass


def _repeated_key(text: bytes) -> str:
    """Found by a slower reader, for whoever has to look for it; in a long text it is not named."""
    try:
        if len(text) <= _LONGEST_SEARCHED:
            json.loads(text, object_pairs_hook=_check_pairs)
    except _Repeated as repeated:
        return f"the key {ascii(repeated.args[0])[:100]}"
    return "a key"


def _check_pairs(pairs: list[tuple[str, object]]) -> None:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise _Repeated(key)
        seen.add(key)
