"""Keys on which nothing acts yet are told."""

from pathlib import Path

from config.loader import load
from config.without_effect import without_effect


def configured(tmp_path: Path, **files: str) -> list[str]:
    (tmp_path / "routes.yaml").write_text(files.get("routes", "- {path: /a, service: s}"))
    (tmp_path / "services.yaml").write_text(
        files.get("services", "- {name: s, base_url: 'http://s'}")
    )
    for name in ("gateway", "tiers"):
        if name in files:
            (tmp_path / f"{name}.yaml").write_text(files[name])
    return without_effect(load(tmp_path))


def test_what_protects_something_is_told_by_its_entries(tmp_path: Path) -> None:
    """An operator must not believe in a safeguard that is not there."""
    told = configured(
        tmp_path,
        routes="- {path: /a, name: inner, service: s, async: always}",
        gateway="admission: {max_wait: 5}",
    )
    assert told[0] == "routes.yaml: async (inner)"
    assert told[-1] == "gateway.yaml: admission"


def test_defaults_are_not_told(tmp_path: Path) -> None:
    """A key that says what holds anyway deceives nobody."""
    told = configured(
        tmp_path,
        routes="- {path: /a, service: s, async: never, when_open: fallback}",
        tiers="{FREE: {requests_per_minute: null}}",
    )
    assert told == []
