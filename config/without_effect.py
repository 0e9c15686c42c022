"""Keys that are read and checked, but on which nothing acts yet.

The shape of the files is settled before every part that reads them is there. Whoever relies on such
a key must hear of it, above all when it protects something.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain

from config.models.base import Model
from config.snapshot import Snapshot

_ROUTE = {
    "async_mode": "async",
}
_GATEWAY = {
    "admission": "admission",
    "audit": "audit",
}


def without_effect(snapshot: Snapshot) -> list[str]:
    """What was set to no avail, as ``routes.yaml: cors (list-users, create-user)``."""
    found = chain(
        _set("routes.yaml", _ROUTE, ((route.label, route) for route in snapshot.routes)),
        _set("gateway.yaml", _GATEWAY, [("", snapshot.options)]),
    )
    return list(found)


def _set(file: str, keys: Mapping[str, str], entries: Iterable[tuple[str, Model]]) -> Iterator[str]:
    models = list(entries)
    for field, key in keys.items():
        names = [name for name, model in models if _differs(model, field)]
        if names:
            where = f" ({_some(names)})" if any(names) else ""
            yield f"{file}: {key}{where}"


def _differs(model: Model, field: str) -> bool:
    value = getattr(model, field)
    default = type(model).model_fields[field].get_default(call_default_factory=True)
    return value is not None and bool(value != default)


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
