"""A YAML file as plain data that remembers where each key stands.

Only plain YAML passes: no tags that make objects, text as keys, each key once. Dates stay text.
Size, depth and the number of values (aliases counted at each use) are bounded before anything is
built.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from config.faults import KeyPath, Position, Problem, quoted

MAX_BYTES = 4 * 1024**2
MAX_VALUES = 200_000
MAX_DEPTH = 50

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_MERGE = _TAG + "merge"
_TEXT_TAGS = {_TAG + "str", _TAG + "timestamp"}
_SCALAR_TAGS = {_TAG + name for name in ("null", "bool", "int", "float")}


@dataclass(frozen=True, slots=True)
class Document:
    """Data of one file, or data that came without one (then nothing has a position)."""

    name: str
    data: object = None
    positions: Mapping[KeyPath, Position] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    readable: bool = True

    def position(self, path: KeyPath) -> Position | None:
        """Where the key at this path stands, or else the nearest thing around it."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.positions:
                return self.positions[path[:length]]
        return None


class _Unreadable(Exception):
    """The file as a whole is of no use."""

    def __init__(self, found: str, allowed: str = "", position: Position | None = None) -> None:
        super().__init__(found)
        self.problem = Problem((), found, allowed, position)


def read(path: Path, *, required: bool = True) -> Document:
    """Read one file; what is wrong with it is in the document's ``problems``.

    A file that is not there, and not required, is an empty one.
    """
    try:
        text = _text(path, required)
        _check_bounds(text)
        return _build(path.name, text)
    except _Unreadable as error:
        return Document(path.name, problems=(error.problem,), readable=False)


def _text(path: Path, required: bool) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        if not required:
            return ""
        raise _Unreadable("no such file", "a YAML file, as it is required") from error
    except OSError as error:
        raise _Unreadable(f"no readable file ({error.strerror})", "a YAML file") from error
    if len(data) > MAX_BYTES:
        raise _Unreadable("a larger file", f"at most {MAX_BYTES} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        at = Position(data.count(b"\n", 0, error.start) + 1, 1)
        raise _Unreadable("bytes that are no text", "UTF-8", at) from error
    if match := yaml.reader.Reader.NON_PRINTABLE.search(text):
        before = text[: match.start()].split("\n")
        at = Position(len(before), len(before[-1]) + 1)
        raise _Unreadable("a control character", "printable text", at)
    return text


def _check_bounds(text: str) -> None:
    """Look at the stream of events before anything is built from it."""
    depth = values = 0
    try:
        for event in yaml.parse(text, Loader=_Loader):
            values += isinstance(event, yaml.NodeEvent)
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            if values > MAX_VALUES or depth > MAX_DEPTH:
                raise _out_of_bounds(_position(event.start_mark))
    except yaml.YAMLError as error:
        raise _broken(error) from error


def _build(name: str, text: str) -> Document:
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise _broken(error) from error
    builder = _Builder()
    data = None if root is None else builder.value(root, ())
    return Document(name, data, builder.positions, tuple(builder.problems))


def _broken(error: yaml.YAMLError) -> _Unreadable:
    problem = getattr(error, "problem", None) or "unreadable"
    context = getattr(error, "context", None)
    mark = getattr(error, "problem_mark", None)
    found = f"broken YAML ({f'{context}: ' if context else ''}{problem})"
    return _Unreadable(found, position=_position(mark) if mark else None)


def _out_of_bounds(position: Position | None) -> _Unreadable:
    allowed = f"at most {MAX_VALUES} values, {MAX_DEPTH} deep"
    return _Unreadable("too much in one file", allowed, position)


def _position(mark: Any) -> Position:
    """Of a mark of either parser, the one in Python or the one in C."""
    return Position(mark.line + 1, mark.column + 1)


class _Builder:
    """Makes plain data of a tree of nodes; goes on after a problem, to find them all."""

    def __init__(self) -> None:
        self.positions: dict[KeyPath, Position] = {}
        self.problems: list[Problem] = []
        self._constructor = yaml.constructor.SafeConstructor()
        self._values = 0
        self._depth = 0  # of nodes, not of the path: what is merged in stays at its path

    def value(self, node: Node, path: KeyPath) -> object:
        """The node's value; raises _Unreadable where aliases make too much of it."""
        self._values += 1
        if self._values > MAX_VALUES or self._depth > MAX_DEPTH:
            raise _out_of_bounds(_position(node.start_mark))
        self._depth += 1
        value = self._plain(node, path)
        self._depth -= 1
        return value

    def _plain(self, node: Node, path: KeyPath) -> object:
        self.positions.setdefault(path, _position(node.start_mark))
        if isinstance(node, MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, path)
        if isinstance(node, SequenceNode) and node.tag == _TAG + "seq":
            return [self.value(item, (*path, i)) for i, item in enumerate(node.value)]
        if isinstance(node, ScalarNode):
            return self._scalar(node, path)
        self._refuse_tag(node, path)
        return None

    def _scalar(self, node: ScalarNode, path: KeyPath) -> object:
        if node.tag in _TEXT_TAGS:
            return node.value
        if node.tag not in _SCALAR_TAGS:
            self._refuse_tag(node, path)
            return None
        try:
            value = self._constructor.construct_object(node)
        except (ValueError, LookupError, ArithmeticError):  # 0x_, !!bool 3, 1:00:...:00.0
            self._problem(path, node, "a value that can't be read", "text in quotes")
            return None
        if not _is_portable(value):
            self._problem(path, node, "a number that JSON can't carry", "finite 64-bit numbers")
            return None
        return value

    def _refuse_tag(self, node: Node, path: KeyPath) -> None:
        tag = node.tag.replace(_TAG, "!!")
        self._problem(path, node, f"the tag {quoted(tag)}", "plain YAML without tags")

    def _mapping(self, node: MappingNode, path: KeyPath) -> dict[str, object]:
        own: dict[str, object] = {}
        for key_node, value_node in node.value:
            if key_node.tag != _MERGE and (key := self._key(key_node, path)) is not None:
                self._own(own, key, key_node, value_node, path)
        return self._merged(node, path) | own

    def _own(
        self, own: dict[str, object], key: str, key_node: Node, value_node: Node, path: KeyPath
    ) -> None:
        inner = (*path, key)
        if key in own:
            first = self.positions[inner].line
            found = f"the key a second time, first on line {first}"
            self._problem(inner, key_node, found, "each key once")
            return
        self.positions.setdefault(inner, _position(key_node.start_mark))
        own[key] = self.value(value_node, inner)

    def _key(self, node: Node, path: KeyPath) -> str | None:
        if isinstance(node, ScalarNode) and node.tag in _TEXT_TAGS:
            return str(node.value)
        found = (
            f"the key {quoted(node.value)}" if isinstance(node, ScalarNode) else "a key of parts"
        )
        self._problem(
            path, node, f"{found}, which is no text", "text as keys, in quotes if need be"
        )
        return None

    def _merged(self, node: MappingNode, path: KeyPath) -> dict[str, object]:
        """What ``<<: *alias`` brings in; earlier ones win, and the mapping's own keys over all."""
        merged: dict[str, object] = {}
        for source in _merge_sources(node):
            value = self.value(source, path)
            if isinstance(value, dict):
                merged = value | merged
            else:
                self._problem(path, source, "<< with something else", "an alias of a mapping")
        return merged

    def _problem(self, path: KeyPath, node: Node, found: str, allowed: str) -> None:
        self.problems.append(Problem(path, found, allowed, _position(node.start_mark)))


def _is_portable(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or value.bit_length() < 64


def _merge_sources(node: MappingNode) -> Iterator[Node]:
    for key_node, value_node in node.value:
        if key_node.tag == _MERGE:
            yield from value_node.value if isinstance(value_node, SequenceNode) else (value_node,)
