"""From files, or from data somebody sent, to one snapshot; or to every reason why not."""

import os
from collections.abc import Mapping
from pathlib import Path

from config.document import Document, read
from config.faults import ConfigError, Fault, nearest, quoted
from config.models.gateway import GatewayOptions
from config.public_keys import read_public_keys
from config.references import Sections, check_references
from config.sections import GATEWAY, KINDS, ROUTES, SERVICES, TIERS, TRANSFORMS, Section, check
from config.snapshot import Snapshot

_ALERTS = "alerts.yaml"  # may lie there for the part that will read it


def load(directory: Path) -> Snapshot:
    """Read a configuration directory. Raises ConfigError with every fault of every file."""
    if not os.path.isdir(directory):
        raise ConfigError(
            [
                Fault(
                    str(directory),
                    "no such directory",
                    "one with routes.yaml and services.yaml",
                )
            ]
        )
    if strangers := _strangers(directory):
        raise ConfigError(strangers)
    documents = {kind.name: read(directory / kind.file, required=kind.required) for kind in KINDS}
    return _snapshot(documents, directory, version=1)


def _strangers(directory: Path) -> list[Fault]:
    """A misspelt file would be left out, and defaults would hold in its place."""
    known = [kind.file for kind in KINDS] + [_ALERTS]
    return [
        Fault(path.name, "a file that is not read", nearest(path.name, known))
        for path in sorted(directory.iterdir())
        if path.suffix in (".yaml", ".yml") and path.name not in known
    ]


def replace(snapshot: Snapshot, kind: str, data: object) -> Snapshot:
    """The next version, with one kind (``routes``, ``services``, ...) made of plain data.

    Raises ConfigError, with faults that name no line.
    """
    documents = {name: Document(name, held) for name, held in _held(snapshot).items()}
    if kind not in documents:
        raise ConfigError([Fault("configuration", quoted(kind), nearest(kind, list(documents)))])
    if data is None:
        raise ConfigError([Fault(kind, "nothing", "data, if only an empty list or mapping")])
    documents[kind] = Document(kind, data)
    return _snapshot(documents, snapshot.directory, version=snapshot.version + 1)


def _held(snapshot: Snapshot) -> dict[str, object]:
    return {
        ROUTES.name: snapshot.routes,
        SERVICES.name: tuple(snapshot.services.values()),
        TRANSFORMS.name: snapshot.transforms,
        TIERS.name: snapshot.tiers,
        GATEWAY.name: snapshot.options,
    }


def _snapshot(documents: Mapping[str, Document], directory: Path, version: int) -> Snapshot:
    whole = Sections(
        check(ROUTES, documents[ROUTES.name]),
        check(SERVICES, documents[SERVICES.name]),
        check(TRANSFORMS, documents[TRANSFORMS.name]),
        check(TIERS, documents[TIERS.name]),
        check(GATEWAY, documents[GATEWAY.name]),
    )
    check_references(whole)
    public_keys = _public_keys(whole.gateway, directory)
    if faults := whole.faults:
        raise ConfigError(faults)
    return Snapshot(
        routes=tuple(whole.routes.models.values()),
        services={service.name: service for service in whole.services.models.values()},
        transforms=tuple(whole.transforms.models.values()),
        tiers={whole.tiers.names[path]: tier for path, tier in whole.tiers.models.items()},
        options=whole.gateway.models[()],
        public_keys=public_keys,
        directory=directory,
        version=version,
    )


def _public_keys(gateway: Section[GatewayOptions], directory: Path) -> tuple[bytes, ...]:
    """The contents of the key files; what is wrong with them becomes faults of the section."""
    options = gateway.models.get(())
    if options is None or not options.auth.public_keys:
        return ()
    keys, problems = read_public_keys(options.auth, directory)
    for problem in problems:
        gateway.add(problem)
    return keys
