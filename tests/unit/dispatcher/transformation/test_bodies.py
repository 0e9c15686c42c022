"""One body through several rules."""

import gzip
from typing import Any

import pytest

from config.models.transforms import BodyTransform
from dispatcher.transformation.bodies import TransformFailed, Untouched, changed
from dispatcher.transformation.budget import Budget
from dispatcher.transformation.rules import Rules
from dispatcher.transformation.sandbox import Sandbox

SANDBOX = Sandbox()
FIRST = {"jsonpath": {"b": "$.a"}}
SECOND = {"template": {"c": "{{ b }}!"}, "mode": "merge"}


def through(body: bytes, *configs: dict[str, Any], coding: bytes = b"", limit: int = 1000) -> bytes:
    rules = [
        Rules(f"t{number}", BodyTransform.model_validate(config), SANDBOX)
        for number, config in enumerate(configs)
    ]
    return changed(body, coding, rules, limit, Budget(60, 10_000))


def test_one_after_the_other() -> None:
    """The second sees what the first has made."""
    assert through(b'{"a": 1}', FIRST, SECOND) == b'{"b":1,"c":"1!"}'


def test_values_that_pass_are_not_changed() -> None:
    """Numbers of any size and precision, escapes and all, come out as the same values."""
    body = b'{"a":[1.10,1e400,123456789012345678901234567890,"\\u00e9\\n",{"x":null}]}'
    expected = '{"b":[1.10,1e400,123456789012345678901234567890,"é\\n",{"x":null}]}'
    assert through(body, FIRST).decode() == expected


def test_a_packed_body_comes_out_unpacked() -> None:
    """The fields are put right by whoever has them."""
    assert through(gzip.compress(b'{"a":1}'), FIRST, coding=b"gzip") == b'{"b":1}'


@pytest.mark.parametrize("body", [b"<html>", b"5", b'"text"', b"null", b'{"a":'])
def test_what_rules_can_not_change(body: bytes) -> None:
    """No JSON, and JSON without fields."""
    with pytest.raises(Untouched):
        through(body, FIRST)


@pytest.mark.parametrize(
    ("body", "options", "reason"),
    [
        (b"[" * 10_000, {"limit": 100_000}, "RecursionError"),
        (b'{"a":' + b"1" * 5000 + b"}", {"limit": 10_000}, "ValueError"),
        (b'{"a":1}' + b" " * 1000, {}, "the body is too large"),
        (gzip.compress(b" " * 100_000, mtime=0), {"coding": b"gzip"}, "too large when"),
        (b'{"a":1}', {"coding": b"br"}, "can't be undone"),
    ],
)
def test_what_can_not_be_read(body: bytes, options: dict[str, Any], reason: str) -> None:
    """Too deep, too large, in an unknown coding: it may be JSON, so it must not pass."""
    with pytest.raises(TransformFailed, match=reason) as caught:
        through(body, FIRST, **options)
    assert caught.value.name == "t0"


def test_the_failing_one_is_named() -> None:
    """Not the first; and the reason tells of a field, not of its value."""
    with pytest.raises(TransformFailed, match="'b' is undefined") as caught:
        through(b'{"a":1}', {"jsonpath": {"x": "$.a"}}, SECOND)
    assert caught.value.name == "t1"
    with pytest.raises(TransformFailed, match=r"^field x: TypeError: \* is for numbers$"):
        through(b'{"a":"secret"}', {"template": {"x": "{{ a * 2 }}"}})


def test_a_body_must_not_grow_beyond_the_limit() -> None:
    """Each field may repeat the whole, so the end is looked at, too."""
    body = b'{"a":"' + b"x" * 900 + b'"}'
    with pytest.raises(TransformFailed, match="becomes too large"):
        through(body, {"jsonpath": {"b": "$", "c": "$"}})
