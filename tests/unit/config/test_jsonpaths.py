"""Which JSONPaths are let in."""

import json
import os
from pathlib import Path

import pytest

from config.jsonpaths import LONGEST, BadJsonPath, is_single, parse_jsonpath

SUITE = Path(os.environ.get("CASES_DIR", "../shared/cases")) / "jsonpath-cts.json"


@pytest.mark.parametrize(
    ("path", "single"),
    [
        ("$", True),
        ("$.id", True),
        ("id", True),
        ("$.a.b[0]", True),
        ("$['first name']", True),
        ("$.items.`len`", True),
        ("$.items[-1].id", True),
        ("$.items[*].id", False),
        ("$.items[1:3]", False),
        ("$['a','b']", False),
        ("$..id", False),
        ("$.a.`keys`", False),
        ("$.items[?(@.price < 10 && @.name)]", False),
        ("$.items[?(@.owner == $.owner)].id", False),
    ],
)
def test_what_can_be_bounded_is_allowed(path: str, single: bool) -> None:
    """Names, numbers, slices, wildcards, one descent, filters; and which lead to one place."""
    assert is_single(parse_jsonpath(path)) is single


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("", "like"),
        ("$.", "like"),
        ("$[", "like"),
        ("a b", "like"),
        ("$..a..b", "once"),
        ("$.a.$.b", "beginning"),
        ("$..$", "beginning"),
        ("$['a','a']", "once"),
        ("$[0,-1]", "one end"),
        ("$.a.`parent`", "names"),
        ("$.a + $.b", "names"),
        ("$.a where b", "names"),
        (r"$.a[\x]", "sorting"),
        ("$.a.`sorted`", "sorting"),
        ("$.a[?(@.b =~ '(x+)+')]", "filter"),
        ("$.a[?(@..b)]", "filter"),
        ("$.a[?(@.b[*] == 1)]", "filter"),
        ("$.a[?(@.b || $.c[*])]", "filter"),
        (r"$.a[?(@.b[\c] == 1)]", "filter"),
        ("$." + ".".join("a" * LONGEST), "characters"),
    ],
)
def test_what_can_not_is_refused(path: str, word: str) -> None:
    """What does not parse, and what could take more time than the data is long."""
    with pytest.raises(BadJsonPath, match=word):
        parse_jsonpath(path)


@pytest.mark.filterwarnings("ignore:An unquoted word:DeprecationWarning")
@pytest.mark.skipif(not SUITE.exists(), reason=f"no {SUITE}: set CASES_DIR")
def test_the_public_suite_of_selectors_is_read_or_refused() -> None:
    """No selector does anything but parse, or come back as a bad one; those evaluated end."""
    read = 0
    for case in json.loads(SUITE.read_text(encoding="utf-8"))["tests"]:
        try:
            path = parse_jsonpath(case["selector"])
        except BadJsonPath:
            continue
        read += 1
        path.find(case.get("document", {}))
    assert read > 300
