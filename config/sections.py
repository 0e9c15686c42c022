"""The parts of a configuration: which holds what, and how its entries are named and checked."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from config.document import Document
from config.faults import Fault, KeyPath, Problem, key_text, quoted, shown
from config.models.gateway import GatewayOptions
from config.models.routes import Route
from config.models.services import Service
from config.models.tiers import DEFAULT_TIERS, Tier
from config.models.transforms import Transform
from config.validation import validate

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Kind(Generic[M]):
    """One kind of configuration.

    ``shape`` is list, dict, or None where the whole is one entry; ``empty`` is used for no data.
    """

    name: str
    noun: str
    model: type[M]
    shape: type | None
    empty: object
    required: bool = False

    @property
    def file(self) -> str:
        """The file that it is in."""
        return f"{self.name}.yaml"


ROUTES = Kind("routes", "route", Route, list, empty=(), required=True)
SERVICES = Kind("services", "service", Service, list, empty=(), required=True)
TRANSFORMS = Kind("transforms", "transform", Transform, list, empty=())
TIERS = Kind("tiers", "tier", Tier, dict, empty=DEFAULT_TIERS)
GATEWAY = Kind("gateway", "", GatewayOptions, None, empty=GatewayOptions())
KINDS: tuple[Kind[Any], ...] = (ROUTES, SERVICES, TRANSFORMS, TIERS, GATEWAY)


@dataclass(slots=True)
class Section(Generic[M]):
    """All entries of one kind, what is sound of them, and what is wrong with them.

    ``entries`` is what was given, plain data or models; ``names`` what they are called, where they
    have a name. ``readable`` is False where nothing is known of the entries at all.
    """

    kind: Kind[M]
    document: Document
    readable: bool = True
    entries: dict[KeyPath, object] = field(default_factory=dict)
    names: dict[KeyPath, str] = field(default_factory=dict)
    models: dict[KeyPath, M] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def add(self, problem: Problem) -> None:
        """Note a problem as a fault of the entry that its path leads into."""
        depth = 0 if self.kind.shape is None else 1
        self.faults.append(
            Fault(
                file=self.document.name,
                entry=self._label(problem.path[:depth]),
                key=key_text(problem.path[depth:]),
                found=problem.found,
                allowed=problem.allowed,
                position=problem.position or self.document.position(problem.path),
            )
        )

    def _label(self, path: KeyPath) -> str:
        if not path:
            return ""
        name = self.names.get(path) or path[0]
        return f"{self.kind.noun} {name + 1 if isinstance(name, int) else quoted(name)}"


def check(kind: Kind[M], document: Document) -> Section[M]:
    """Check each entry by itself; what is between entries is left to ``references``."""
    section = Section(kind, document, document.readable)
    data = kind.empty if document.data is None else document.data
    if not _has_shape(kind, data):
        section.readable = False
        section.add(Problem((), _shape_of(data), _shape_wanted(kind)))
    if section.readable:
        section.entries = dict(_entries(kind, data))
    section.names = {path: _name(path, entry) for path, entry in section.entries.items()}
    for problem in document.problems:
        section.add(problem)
    _check_entries(section)
    return section


def _check_entries(section: Section[Any]) -> None:
    told = {problem.path for problem in section.document.problems}
    for path, entry in section.entries.items():
        model, problems = validate(section.kind.model, entry)
        if model is not None:
            section.models[path] = model
        for problem in problems:
            if (*path, *problem.path) not in told:
                section.add(Problem((*path, *problem.path), problem.found, problem.allowed))


def text_at(entry: object, key: str) -> str:
    """The text that an entry, sound or not, has under a key; empty where it has none."""
    value = entry.get(key) if isinstance(entry, dict) else getattr(entry, key, None)
    return value if isinstance(value, str) else ""


def methods_of(entry: object) -> tuple[str, ...]:
    """The methods that a route, sound or not, is for; none where it is for all."""
    if isinstance(entry, Route):
        return entry.methods or ()
    given = entry.get("methods", entry.get("method")) if isinstance(entry, dict) else None
    given = given if isinstance(given, list | tuple) else [given]
    return tuple(method for method in given if isinstance(method, str))


def _has_shape(kind: Kind[Any], data: object) -> bool:
    if kind.shape is None:
        return isinstance(data, dict | kind.model)
    return isinstance(data, (list, tuple) if kind.shape is list else Mapping)


def _shape_of(data: object) -> str:
    return shown(data) if isinstance(data, list | tuple | dict) else "a single value"


def _shape_wanted(kind: Kind[Any]) -> str:
    if kind.shape is None:
        return f"a mapping with keys among {', '.join(kind.model.model_fields)}"
    return f"a list of {kind.name}" if kind.shape is list else f"{kind.name} by their names"


def _entries(kind: Kind[Any], data: Any) -> Iterator[tuple[KeyPath, object]]:
    if kind.shape is None:
        yield (), data
    elif kind.shape is dict:
        yield from (((str(key),), entry) for key, entry in data.items())
    else:
        yield from (((index,), entry) for index, entry in enumerate(data))


def _name(path: KeyPath, entry: object) -> str:
    """What an entry is called: by its key, by its name, or as ``Route.label`` does it."""
    if path and isinstance(path[0], str):
        return path[0]
    route_path = text_at(entry, "path")
    fallback = f"{','.join(methods_of(entry)) or 'ANY'} {route_path}" if route_path else ""
    return text_at(entry, "name") or fallback
