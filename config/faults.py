"""What is wrong with a configuration, said so that an operator can put it right.

Values found are shown, but never a secret: what stands under a key that smells of one is masked,
and so are passwords and query values inside URLs.
"""

import difflib
import json
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

KeyPath = tuple[str | int, ...]

_MASK = "***"
_LONGEST_SHOWN = 60
_LONGEST_LIST = 200
_MOST_COMPARED = 200
_SMELLS_OF_SECRET = re.compile(
    r"secret|passw|passphrase|pwd|token|credential|private|api.?key|authorization|cookie|jwt|hash",
    re.IGNORECASE,
)
_QUERY_VALUE = re.compile(r"([?&][^=&?\s]*=)[^&\s]*")


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a file; both count from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong at a key path, before anybody has named the entry and the file.

    ``position`` is given where it is not that of the key path.
    """

    path: KeyPath
    found: str
    allowed: str = ""
    position: Position | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """One mistake: where it is, what was found there, and what is allowed.

    ``position`` is None where the data did not come from a file. ``entry`` names the route,
    service, transform or tier; ``key`` is the path to the key inside it.
    """

    file: str
    found: str
    allowed: str = ""
    entry: str = ""
    key: str = ""
    position: Position | None = None

    def __str__(self) -> str:
        at = self.position
        place = f"{self.file}:{at.line}:{at.column}" if at else self.file
        finding = f"found {self.found}" + (f", allowed: {self.allowed}" if self.allowed else "")
        return _printable(": ".join(filter(None, (place, self.entry, self.key, finding))))


class ConfigError(Exception):
    """The configuration can't be used; ``faults`` has every reason."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = list(faults)
        super().__init__(self.faults)

    def __str__(self) -> str:
        """All faults, one a line."""
        return "\n".join(map(str, self.faults))


def is_secret(key: str | int) -> bool:
    """Whether values under this key must not be shown."""
    return isinstance(key, str) and _SMELLS_OF_SECRET.search(key) is not None


def shown(value: object, path: KeyPath = ()) -> str:
    """The value found at a key path, on one line, short and without secrets."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return f"a mapping with {listed(map(str, value))}" if value else "an empty mapping"
    if isinstance(value, list | tuple):
        return "a list" if value else "an empty list"
    if any(map(is_secret, path)):
        return _MASK
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return _shown_number(value)
    return quoted(str(value))


def quoted(text: str) -> str:
    """Text in quotes, shortened, with nothing in it that could break a line or drive a terminal."""
    before, at, after = text.rpartition("@")
    if ":" in before:  # a user and a password
        text = _MASK + at + after
    text = _QUERY_VALUE.sub(r"\1" + _MASK, text)
    return f'"{_shortened(text)}"'


def listed(names: Iterable[str]) -> str:
    """Names with commas between them, as many as fit on a line."""
    text = ""
    for name in names:
        if len(text) + len(name) > _LONGEST_LIST:
            return f"{text}, ..." if text else _shortened(name)
        text += f", {name}" if text else name
    return _printable(text)


def nearest(name: str, known: Collection[str]) -> str:
    """What is allowed instead of an unknown name: the one that was meant, or else all of them."""
    comparable = len(known) <= _MOST_COMPARED and len(name) <= _LONGEST_LIST
    close = difflib.get_close_matches(name, known, 1) if comparable else []
    return f"{_printable(close[0])} (the nearest)" if close else listed(known) or "none is declared"


def key_text(path: KeyPath) -> str:
    """A key path as people write it: ``instances[0].url``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return _shortened(text.removeprefix("."), _LONGEST_LIST)


def _shown_number(value: float) -> str:
    try:
        return _shortened(str(value))
    except ValueError:  # Python refuses to write out integers of thousands of digits
        return "a number of too many digits"


def _shortened(text: str, longest: int = _LONGEST_SHOWN) -> str:
    return _printable(text if len(text) <= longest else text[:longest] + "...")


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)
