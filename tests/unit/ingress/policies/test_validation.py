"""What passes validation, and what is said of the rest."""

import gzip
import logging
from typing import Any

import pytest

from broker.messages import Headers
from broker.problems import ProblemType
from config.models.routes import Route
from ingress.policies.validation import ValidationListener, Validator, validator
from ingress.problems import Refused

JSON = (b"Content-Type", b"application/json")
USER = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "additionalProperties": False,
}


class Door(ValidationListener):
    """A route with those schemas."""

    def __init__(self, **rules: Any) -> None:
        route = Route.model_validate({"path": "/a", "service": "s", "name": "r", "validate": rules})
        made = validator(route)
        assert isinstance(made, Validator)
        self._validator = made
        self.failed: list[tuple[str, str]] = []

    def validation_failed(self, route: str, mode: str) -> None:
        self.failed.append((route, mode))

    def check(
        self,
        body: bytes = b"",
        *headers: tuple[bytes, bytes],
        query: str = "",
        method: str = "POST",
    ) -> None:
        self._validator.check(method, query, headers, body, "id-1", self)

    def refusal(self, *args: Any, **kwargs: Any) -> Refused:
        with pytest.raises(Refused) as caught:
            self.check(*args, **kwargs)
        return caught.value

    def errors(self, *args: Any, **kwargs: Any) -> list[tuple[str, str, str]]:
        refused = self.refusal(*args, **kwargs)
        assert refused.problem_type is ProblemType.INVALID
        return [(each.part, each.pointer, each.detail) for each in refused.errors]


def test_without_schemas() -> None:
    """A route without any has no validator."""
    assert validator(Route.model_validate({"path": "/a", "service": "s"})) is None


def test_all_parts_are_told_together() -> None:
    """Whoever asks wrongly hears of everything at once."""
    door = Door(
        query={"properties": {"page": {"type": "integer"}}},
        headers={"required": ["X-Tenant"]},
        body=USER,
    )
    door.check(b'{"name":"a"}', JSON, (b"x-tenant", b"t"), query="?page=1")
    assert door.failed == []
    assert sorted(door.errors(b'{"age":-1}', JSON, query="?page=x")) == [
        ("body", "/age", "must be at least 0"),
        ("body", "/name", "is required"),
        ("header", "/X-Tenant", "is required"),
        ("query", "/page", "must be of the type integer"),
    ]
    assert door.failed == [("r", "enforce")]


@pytest.mark.parametrize(
    "kind",
    [
        b"application/json",
        b"Application/JSON; Charset=UTF-8",
        b'application/json;charset="utf-8"',
        b"application/problem+json",
        b'application/vnd.api+json; ext="a b";',
        b"model/gltf+json",
    ],
)
def test_json_by_its_media_type(kind: bytes) -> None:
    """JSON, and all that is written in JSON; only in UTF-8."""
    Door(body=USER).check(b'{"name":"a"}', (b"content-type", kind))


@pytest.mark.parametrize(
    "headers",
    [
        (),
        ((b"Content-Type", b"text/plain"),),
        ((b"Content-Type", b"text/json"),),
        ((b"Content-Type", b"application/jsonp"),),
        ((b"Content-Type", b"application/json-seq"),),
        ((b"Content-Type", b"application/json, text/plain"),),
        ((b"Content-Type", b"application/json; charset=utf-16"),),
        ((b"Content-Type", b"application/json; charset=utf-8; charset=utf-7"),),
        ((b"Content-Type", b"application/json" + b" ;  " * 4000 + b"\x01"),),
        ((b"Content-Type", b""),),
        (JSON, JSON),
        (JSON, (b"content-type", b"text/plain")),
        (JSON, (b"Content_Type", b"application/json")),
        ((b"Content_Type", b"application/json"),),
        ((b"content.type", b"application/json"),),
    ],
)
def test_other_media_types(headers: Headers) -> None:
    """415 tells what would be taken; a second Content-Type is no way around."""
    refused = Door(body=USER).refusal(b'{"name":"a"}', *headers)
    assert refused.problem_type is ProblemType.UNSUPPORTED_MEDIA_TYPE
    assert refused.headers == ((b"Accept", b"application/json"),)


@pytest.mark.parametrize("coding", [b"gzip", b"deflate", b"br", b"identity, gzip", b"GZIP", b"x"])
def test_compressed_bodies(coding: bytes) -> None:
    """Nothing is inflated, so that no bomb goes off: 415, whatever is inside."""
    bomb = gzip.compress(b"[" + b" " * 10_000_000 + b"]")
    for headers in (
        (JSON, (b"Content-Encoding", coding)),
        (JSON, (b"content-encoding", b"identity"), (b"Content-Encoding", coding)),
    ):
        refused = Door(body=USER).refusal(bomb, *headers)
        assert refused.problem_type is ProblemType.UNSUPPORTED_MEDIA_TYPE
        assert refused.headers == ((b"Accept-Encoding", b"identity"),)


def test_a_coding_that_is_none() -> None:
    """RFC 9110 section 8.4.1: identity means that nothing was done."""
    Door(body=USER).check(b'{"name":"a"}', JSON, (b"Content-Encoding", b"Identity"))


def test_no_body() -> None:
    """Required where the method has content; where not, it may be absent, but not be wrong."""
    door = Door(body=USER)
    for method in ("POST", "PUT", "PATCH", "QUERY"):
        assert door.errors(b"", method=method) == [("body", "", "is required")]
    for method in ("GET", "HEAD", "DELETE", "OPTIONS"):
        door.check(b"", method=method)
        assert door.errors(b"{}", JSON, method=method) == [("body", "/name", "is required")]


def test_a_body_that_is_not_json() -> None:
    """It is an invalid request that says why, and shows nothing of the body."""
    door = Door(body=True)
    assert door.errors(b'{"a":1,"a":2}', JSON) == [
        ("body", "", "has the key 'a' twice in an object")
    ]
    for body in (b"hunter2", b'{"password":hunter2}', b"\xffhunter2"):
        [(part, pointer, detail)] = door.errors(body, JSON)
        assert (part, pointer) == ("body", "")
        assert "hunter2" not in detail


@pytest.mark.parametrize(
    "schema",
    [
        {"minimum": -1e99, "maximum": 1e99},
        {"type": "integer", "minimum": 0},
        {"multipleOf": 0.01},
        {"not": {"enum": ["a", 1, 2, 3]}},
        {"not": {"const": 7}},
        {"anyOf": [{"minimum": 10**50 + step} for step in range(20)] + [{}]},
    ],
)
@pytest.mark.parametrize("number", [b"1e60", b"1234567890" * 4])
def test_a_body_that_takes_long_to_check_is_not_checked(
    schema: dict[str, Any], number: bytes
) -> None:
    """Its values and numbers are counted before; a body of usual size is checked as ever."""
    door = Door(body={"items": schema})
    [(_, pointer, detail)] = door.errors(b"[" + b",".join([number] * 100_000) + b"]", JSON)
    assert (pointer, detail) == (
        "",
        "has more to check than this route allows: 100001 values, 100000 of them numbers",
    )
    Door(body={"items": {"minimum": 0, "multipleOf": 0.01}}).check(
        b"[" + b",".join([b"12345678.91"] * 17_000) + b"]", JSON
    )


def test_unique_items_that_take_long_to_tell_apart() -> None:
    """Are not compared, in no part of a request."""
    unique = {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}
    of_names = {"properties": {"X-Ids": unique}}
    numbers = [str(10**19 + step).encode() for step in range(600)]
    door = Door(query=of_names, headers=of_names, body=unique)
    query = "?" + "&".join(f"X-Ids={number.decode()}" for number in numbers)
    fields = (JSON, (b"X-Ids", b",".join(numbers)))
    found = door.errors(b"[" + b",".join(numbers) + b"]", *fields, query=query)
    assert [(part, pointer) for part, pointer, _ in found] == [
        ("query", ""),
        ("header", ""),
        ("body", ""),
    ]
    assert all("600 of them numbers that differ in their last digits" in each[2] for each in found)
    door.check(b"[" + b",".join(numbers[:300]) + b"]", JSON, (b"X-Ids", b"1,2"), query="?X-Ids=1")


def test_values_that_are_cheap_to_check_are_many() -> None:
    """As many as a body has room for, where nothing is compared."""
    Door(body={"items": {"type": "string"}}).check(b"[" + b'"ab",' * 200_000 + b'""]', JSON)


def test_queries_and_header_fields() -> None:
    """What is repeated, and what can't be read, is named by part and place."""
    door = Door(
        query={"properties": {"id": {"type": "integer"}}, "additionalProperties": False},
        headers={"properties": {"X-Role": {"not": {"const": "admin"}}}},
    )
    door.check(query="?id=1", method="GET")
    assert door.errors(query="?id=1&id=2") == [("query", "/id", "must occur once")]
    assert door.errors(query="?id=%zz") == [("query", "", "has a broken percent-encoding")]
    assert door.errors(query="?debug=1") == [("query", "/debug", "is not allowed")]
    twice = ((b"X-Role", b"user"), (b"X_ROLE", b"admin"))
    assert door.errors(b"", *twice) == [("header", "/X-Role", "must occur once")]


def test_the_list_is_bounded() -> None:
    """However many fields are wrong, and however they are written, ten are told."""
    names = [f"p{number}" for number in range(50)]
    door = Door(query={"properties": {name: {} for name in names}}, headers={"required": names})
    query = "?" + "&".join(f"{name}=1&{name}=2" for name in names)
    assert len(door.errors(query=query)) == 10
    many = Door(
        query={"additionalProperties": {"type": "null"}},
        headers={"properties": {"X-Ids": {"type": "array", "items": {"type": "integer"}}}},
    )
    query = "?" + "&".join(f"{number}" for number in range(2000))
    found = many.errors(b"", (b"X-Ids", b"x," * 2000), query=query)
    assert [(part, pointer) for part, pointer, _ in found] == [("query", ""), ("header", "")]
    large = Door(body={"required": names}).errors(b'{"x":"' + b"x" * 70_000 + b'"}', JSON)
    assert [pointer for _, pointer, _ in large] == [""]


def test_log_mode(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is refused; each failure is counted, and logged without values, on one line."""
    door = Door(body=USER, query={"required": ["q"]}, mode="log")
    with caplog.at_level(logging.WARNING):
        door.check(b'{"name":"a"}', JSON, query="?q=1")
        assert not caplog.records
        door.check(b'{"age":-4711,"x\\ny":1}', JSON)
        door.check(b"no json", (b"Content-Type", b"text/plain"), query="?q=1")
        door.check(b'{"a":' * 10_000, JSON)
    assert door.failed == [("r", "log")] * 3
    lines = [record.getMessage() for record in caplog.records]
    assert all(record.__dict__["request_id"] == "id-1" for record in caplog.records)
    assert lines[0].startswith("r: passed, but invalid: query '/q' is required; body ")
    assert "\n" not in lines[0]
    assert "4711" not in lines[0]
    assert "Content-Type must say so" in lines[1]
    assert "more than 100 arrays" in lines[2]
    assert len({record.msg for record in caplog.records}) == 1
