"""The grammar of path patterns: ``/users``, ``/users/{id}``, ``/files/*``.

Segments are those of RFC 3986 section 3.3. A pattern must be one that a normalised request path can
match: no dot segments, no empty ones but at the end, nothing encoded that needs no encoding.
"""

import re
from collections.abc import Iterator

# Answered by the gateway itself, with everything below them.
RESERVED = ("auth", "requests", "problems")

REST = "*"
ANY_SEGMENT = "{}"  # a parameter, in a shape
_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SEGMENT = re.compile(r"(?:[A-Za-z0-9._~!$&'()+,;=:@-]|%[0-9A-Fa-f]{2})*")
_ENCODED = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]")


class BadPattern(ValueError):
    """A path pattern breaks the grammar; the text says what is allowed."""


def pattern_parameters(pattern: str) -> tuple[str, ...]:
    """The names of a pattern's parameters in order, ``*`` for the rest. Raises BadPattern."""
    if not pattern.startswith("/"):
        raise BadPattern("a path that begins with /")
    if "?" in pattern or "#" in pattern:
        raise BadPattern("a path without query and fragment")
    *front, last = pattern[1:].split("/")
    names = [name for segment in front if (name := _parameter(segment))]
    if "" in front:
        raise BadPattern("a path without empty segments, but for one at its end")
    if last == REST:
        names.append(REST)
    elif name := _parameter(last):
        names.append(name)
    if len(set(names)) < len(names):
        raise BadPattern("each {parameter} once in a path")
    return tuple(names)


def is_reserved(pattern: str) -> bool:
    """Whether the gateway itself answers below this path."""
    first, slash, _ = pattern[1:].partition("/")
    return bool(slash) and first in RESERVED


def shape(pattern: str) -> str:
    """What decides in a pattern: equal shapes match the same requests (RFC 3986, 6.2.2.1)."""
    return _ENCODED.sub(lambda code: code[0].upper(), _PARAMETER.sub(ANY_SEGMENT, pattern))


def takes_spellings_of(pattern: str, other: str) -> bool:
    """Whether it takes paths that do not match another one, but that servers may read as if.

    Servers may drop what follows a ``;`` in a segment, or a slash at the end, know no case, or take
    ``%2F`` for a slash: so a parameter may stand for any segment, and for several.
    """
    theirs = shape(other).split("/")
    states = {(0, False)}  # of their segments so many are behind, some of them not as they stand
    for segment in shape(pattern).split("/"):
        if segment == REST:
            return any(respelt or theirs[at:] != [REST] for at, respelt in states)
        states = {after for at, respelt in states for after in _after(segment, theirs, at, respelt)}
    return any(respelt and theirs[at:] in ([], [REST]) for at, respelt in states)


def _after(segment: str, theirs: list[str], at: int, respelt: bool) -> Iterator[tuple[int, bool]]:
    """How many of their segments may be behind with a segment of ours more."""
    if theirs[at:] == [REST]:
        yield at, respelt
    elif at < len(theirs) and segment != ANY_SEGMENT:
        if theirs[at] in (segment, ANY_SEGMENT):
            yield at + 1, respelt
    elif at < len(theirs):
        yield at + 1, respelt or theirs[at] != ANY_SEGMENT
        for end in range(at + 2, len(theirs) + 1):
            yield end, True


def _parameter(segment: str) -> str | None:
    """The name that a segment binds, or None for a literal one. Raises BadPattern."""
    if "{" in segment or "}" in segment:
        match = _PARAMETER.fullmatch(segment)
        if match is None:
            raise BadPattern("a {parameter} that fills its segment, named by letters, digits and _")
        return match[1]
    if "*" in segment:
        raise BadPattern("* only as the whole last segment")
    if segment in (".", ".."):
        raise BadPattern("a path without . and .. segments")
    if _SEGMENT.fullmatch(segment) is None:
        raise BadPattern("a path whose special characters are percent-encoded")
    if any(_UNRESERVED.match(chr(int(code, 16))) for code in _ENCODED.findall(segment)):
        raise BadPattern("percent-encoding only of characters that need it")
    return None
