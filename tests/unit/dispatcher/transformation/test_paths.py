"""JSONPaths as functions."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonpath_ng.ext.parser import parse

from config.jsonpaths import BadJsonPath
from dispatcher.transformation.paths import ABSENT, path_function

names = st.sampled_from(["a", "b", "c-d", "0", "id"])
indexes = st.integers(-4, 4)
steps = st.one_of(
    names.map(lambda name: f"['{name}']"),
    st.sampled_from(["a", "b", "id"]).map(lambda name: f".{name}"),
    indexes.map(lambda index: f"[{index}]"),
)
paths = st.lists(steps, max_size=5).map(lambda parts: "$" + "".join(parts))
data = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(names, inner, max_size=5),
    max_leaves=30,
)


@given(paths, data)
def test_plain_look_ups_agree_with_jsonpath_ng(path: str, value: Any) -> None:
    """What names one place gives the one value that jsonpath-ng finds, or nothing where it does."""
    found = [match.value for match in parse(path).find(value)]
    result = path_function(path)(value)
    assert ([] if result is ABSENT else [result]) == found


@pytest.mark.parametrize(
    ("path", "result"),
    [
        ("$.user.id", 1),
        ("user.id", 1),
        ("$.tags[0]", "x"),
        ("$.tags[-1]", "y"),
        ("$.tags[7]", ABSENT),
        ("$.user.id.more", ABSENT),
        ("$.none", None),
        ("$.missing", ABSENT),
        ("$.tags.`len`", 2),
        ("$.missing.`len`", ABSENT),
        ("$.items[*].id", [1, 2]),
        ("$.items[?(@.id > 1)].id", [2]),
        ("$.items[?(@.id > 9)].id", []),
        ("$.missing[*]", []),
        ("$..id", [1, 1, 2]),
    ],
)
def test_one_place_gives_a_value_and_several_a_list(path: str, result: Any) -> None:
    """By the path alone, so that the shape never depends on how much is found."""
    value = {
        "user": {"id": 1},
        "tags": ["x", "y"],
        "none": None,
        "items": [{"id": 1}, {"id": 2}],
    }
    assert path_function(path)(value) == result


def test_a_bad_path_is_refused() -> None:
    """With the error of the configuration."""
    with pytest.raises(BadJsonPath):
        path_function("$..a..b")
