"""The grammar of path patterns; what it refuses is in the fixtures of ``faults/``."""

import pytest

from config.paths import BadPattern, is_reserved, pattern_parameters, shape, takes_spellings_of


@pytest.mark.parametrize(
    ("pattern", "parameters"),
    [
        ("/", ()),
        ("/users", ()),
        ("/users/", ()),
        ("/users/{id}", ("id",)),
        ("/{a}/x/{_b2}", ("a", "_b2")),
        ("/*", ("*",)),
        ("/files/{owner}/*", ("owner", "*")),
        ("/caf%C3%A9/a;b=c/@me/1,2", ()),
        ("/a%2Fb", ()),
    ],
)
def test_parameters_are_named_in_order(pattern: str, parameters: tuple[str, ...]) -> None:
    """Patterns that are sound give their parameters, the rest as a star."""
    assert pattern_parameters(pattern) == parameters


@pytest.mark.parametrize(
    "pattern",
    ["", "x", "//", "/{}", "/{1a}", "/{a}{b}", "/a}", "/**", "/*/", "/.", "/a/..", "/%2e", "/%zz"],
)
def test_everything_else_is_refused(pattern: str) -> None:
    """What no normalised request path could match, or what is ambiguous, is no pattern."""
    with pytest.raises(BadPattern):
        pattern_parameters(pattern)


def test_shapes_forget_what_makes_no_difference() -> None:
    """Two patterns of one shape match the same requests."""
    assert shape("/caf%c3%a9") == shape("/caf%C3%A9")
    assert shape("/a/{x}/*") == shape("/a/{y}/*") != shape("/a/x/*")


@pytest.mark.parametrize(
    ("pattern", "other"),
    [
        ("/*", "/pay"),
        ("/*", "/pay/*"),
        ("/*", "/{x}"),
        ("/{x}", "/pay"),
        ("/{x}", "/pay/"),
        ("/{x}", "/pay/{y}"),
        ("/{x}", "/pay/*"),
        ("/{x}/{y}", "/pay/*"),
        ("/{x}/{y}", "/a/b/c"),
        ("/{x}/b", "/a/{y}"),
        ("/a/{x}", "/{t}/b"),
        ("/a/{x}", "/a/b/c/*"),
        ("/pay/*", "/pay"),
        ("/{x}/*", "/pay/*"),
    ],
)
def test_other_spellings_of_a_path(pattern: str, other: str) -> None:
    """Parameters and wildcards take them, and slashes that are encoded with them."""
    assert takes_spellings_of(pattern, other)


@pytest.mark.parametrize(
    ("pattern", "other"),
    [
        ("/*", "/*"),
        ("/{x}", "/{y}"),
        ("/{x}", "/*"),
        ("/pay", "/pay"),
        ("/pay", "/pay/*"),
        ("/pay/{x}", "/pay"),
        ("/pay/{x}", "/pay/*"),
        ("/{x}/{y}", "/pay"),
        ("/a/{x}", "/b/c"),
        ("/a/*", "/b"),
        ("/{x}/b", "/a/c"),
    ],
)
def test_no_other_spellings_of_a_path(pattern: str, other: str) -> None:
    """What takes the paths as they stand, or others, or is a part that is set apart."""
    assert not takes_spellings_of(pattern, other)


def test_the_gateways_own_paths() -> None:
    """Only what lies below them is reserved."""
    assert is_reserved("/auth/token")
    assert is_reserved("/requests/*")
    assert not is_reserved("/auth")
    assert not is_reserved("/authors/auth/x")
    assert not is_reserved("/*")
