"""One normalisation of request targets; what comes out is both matched and forwarded.

RFC 3986 section 6.2.2 (case, percent-encoding, dot segments), and duplicate slashes merged first,
as nginx does. Whatever two readers of a path could take for different things is refused instead.
"""

import re
from string import ascii_letters, digits

from broker.problems import ProblemType
from ingress.problems import Refused

_UNRESERVED = frozenset(ascii_letters + digits + "-._~")

# A target that needs no work: no escapes, no empty segment, none that starts with a dot.
_clean = re.compile(
    r"(?=/)((?:/(?!\.)[A-Za-z0-9._~!$&'()*+,;=:@-]+)*/?)(\?[!\"$-~]*)?", re.ASCII
).fullmatch
_visible_path = re.compile(r"/[!\"$-\[\]-~]*").fullmatch
_visible_query = re.compile(r"[!\"$-~]*").fullmatch
_unescape = re.compile(r"%([0-9A-Fa-f]{2})?").sub
# A dot segment that shows only to a reader who cuts off parameters or decodes slashes.
_hidden_dots = re.compile(r"(?:^|%2F|%5C)\.\.?(?:$|;|%3B|%2F|%5C)").search


def split_target(target: str) -> tuple[str, str]:
    """The normalised path and the query of an origin-form target.

    The query is returned byte for byte with its ``?``, or is empty. Raises Refused (400).
    """
    if clean := _clean(target):
        return clean[1], clean[2] or ""
    path, mark, query = target.partition("?")
    if _visible_query(query) is None:
        raise _malformed("The query may hold printable ASCII only, and no '#'.")
    return normalise(path), mark + query


def normalise(path: str) -> str:
    """The one spelling of a path. Idempotent. Raises Refused (400)."""
    if _visible_path(path) is None:
        raise _malformed("The path must begin with '/' and hold printable ASCII, no '#' or '\\'.")
    return "/" + "/".join(_without_dots(_unescape(_normal_escape, path).split("/")[1:]))


def _normal_escape(escape: re.Match[str]) -> str:
    if escape[1] is None:
        raise _malformed("A '%' in the path is not followed by two hexadecimal digits.")
    code = int(escape[1], 16)
    if code < 0x20 or code == 0x7F:
        raise _malformed("The path holds an encoded control character.")
    character = chr(code)
    return character if character in _UNRESERVED else f"%{code:02X}"


def _without_dots(segments: list[str]) -> list[str]:
    """RFC 3986 section 5.2.4, but no way leads above the root; the last segment may be empty."""
    kept: list[str] = []
    for segment in segments:
        if segment == "..":
            if not kept:
                raise _malformed("The path leads above the root.")
            kept.pop()
        elif segment not in ("", "."):
            if _hidden_dots(segment):
                raise _malformed("The path hides a dot segment.")
            kept.append(segment)
    if segments[-1] in ("", ".", ".."):
        kept.append("")
    return kept


def _malformed(detail: str) -> Refused:
    return Refused(ProblemType.BAD_REQUEST, detail)
