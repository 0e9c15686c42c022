"""The grammar of path patterns: ``/users``, ``/users/{id}``, ``/files/*``.

Segments are those of RFC 3986 section 3.3. A pattern must be one that a normalised request path can
match: no dot segments, no empty ones but at the end, nothing encoded that needs no encoding.
"""

import re

# Answered by the gateway itself, with everything below them.
RESERVED = ("auth", "requests", "problems")

REST = "*"
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
    return _ENCODED.sub(lambda code: code[0].upper(), _PARAMETER.sub("{}", pattern))


def segments_lie_below(pattern: str, wildcard: str) -> bool:
    """Whether another pattern takes paths that are also for one that ends in ``/*``."""
    front = wildcard.split("/")[:-1]
    segments = pattern.split("/")
    pairs = zip(segments, front, strict=False)
    return len(segments) > len(front) and all(
        shape(a) == shape(b) or "{" in a + b or a == REST for a, b in pairs
    )


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
