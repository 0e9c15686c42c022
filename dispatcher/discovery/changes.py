"""Which instances came and went, for logs."""

from collections.abc import Sequence

from dispatcher.service_discovery import Instance

_MOST_NAMED = 5  # of each kind: a log line has an end


def described(before: Sequence[Instance], after: Sequence[Instance]) -> str:
    """In words like ``came: a, b; gone: c``; empty where nothing has changed."""
    old, new = {each.name: each for each in before}, {each.name: each for each in after}
    kinds = {
        "came": [name for name in new if name not in old],
        "gone": [name for name in old if name not in new],
        "changed": [name for name in new if name in old and new[name] != old[name]],
    }
    return "; ".join(f"{kind}: {_some(names)}" for kind, names in kinds.items() if names)


def _some(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
