"""Targets have one spelling, and what could be read in two ways is refused."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingress.paths import normalise, split_target
from ingress.problems import Refused

PIECES = st.sampled_from(
    [
        "/",
        "//",
        ".",
        "..",
        "a",
        "B",
        "~",
        "%2e",
        "%2E",
        "%2f",
        "%5C",
        "%41",
        "%25",
        "%252e",
        ";",
        "=x",
    ]
)
PATHS = st.lists(PIECES, max_size=12).map(lambda pieces: "/" + "".join(pieces))


@pytest.mark.parametrize(
    ("raw", "normal"),
    [
        ("/", "/"),
        ("//", "/"),
        ("/api/v1/users", "/api/v1/users"),
        ("/api//v1///users", "/api/v1/users"),
        ("/a/./b/../c", "/a/c"),
        ("/a/.", "/a/"),
        ("/a/b/..", "/a/"),
        ("/a/%2e%2E/b", "/b"),
        ("/%41%7e%2d%5F", "/A~-_"),
        ("/a%2fb", "/a%2Fb"),
        ("/a%2Fb/c", "/a%2Fb/c"),
        ("/a;v=1/b;w=%3b", "/a;v=1/b;w=%3B"),
        ("/.well-known/x", "/.well-known/x"),
        ("/...", "/..."),
        ("/%252e%252e/x", "/%252e%252e/x"),
        ("/users/CORP%5calice", "/users/CORP%5Calice"),
        ("/{id}|^[]", "/{id}|^[]"),
        ("//evil.example/x", "/evil.example/x"),
    ],
)
def test_one_spelling(raw: str, normal: str) -> None:
    """Paths that mean the same get the same spelling, and different ones stay different."""
    assert normalise(raw) == normal
    assert split_target(raw) == (normal, "")


@pytest.mark.parametrize(
    "raw",
    [
        *("", "a", "*", "?x", "http://host/"),
        *("/..", "/a/../..", "/%2e%2e", "/a/..//../b"),
        *("/..;x/", "/a/..;/b", "/.;x/a", "/a/%2e%2e;x", "/..%3bx/", "/..%2Fa", "/a%2f../b"),
        *("/..%5Ca", "/a%5c..%5cb"),
        *("/%00", "/a%0d%0ab", "/%7f", "/%1F"),
        *("/%", "/%4", "/%zz", "/%2", "/a%G0"),
        *("/a\\b", "/a#b", "/a b", "/a\tb", "/a\r\nb", "/é", "/\udcff", "/a\x00"),
        *("/a?b#c", "/a?b c", "/a?b\r\nX: y", "/a?é"),
    ],
)
def test_refused(raw: str) -> None:
    """What is malformed, or hides a dot segment, is a 400."""
    with pytest.raises(Refused) as refused:
        split_target(raw)
    assert refused.value.problem_type.status == 400


@pytest.mark.parametrize(
    "query", ["", "?", "?a=1&a=2", "?a=%2e%00%zz/../;x", "?a?b\\[]{}|", '?q="x"']
)
@pytest.mark.parametrize("path", ["/clean/path", "/a/../un%63lean"])
def test_query_passes_byte_for_byte(path: str, query: str) -> None:
    """Nothing in a query is decoded, merged or lost, whichever way the path goes."""
    assert split_target(path + query)[1] == query


@given(PATHS)
def test_idempotent(path: str) -> None:
    """Normalising what is normal already changes nothing."""
    try:
        normal = normalise(path)
    except Refused:
        return
    assert normalise(normal) == normal
    assert split_target(normal) == (normal, "")


@given(PATHS)
def test_no_dot_segment_survives(path: str) -> None:
    """No reader who cuts parameters or decodes slashes finds a dot segment in what comes out."""
    try:
        normal = normalise(path)
    except Refused:
        return
    bare = re.sub(r"(;|%3B)[^/]*", "", normal)
    assert not {".", ".."} & set(re.split(r"/|%2F|%5C", bare))
    assert "//" not in normal


@given(st.lists(st.sampled_from(["a", "b%2Fc", "%2f", "d;x", "%41"]), min_size=1, max_size=6))
def test_segments_are_kept_apart(segments: list[str]) -> None:
    """Without dot segments every segment stays one segment, encoded slashes inside it or not."""
    assert normalise("/" + "/".join(segments)).count("/") == len(segments)
