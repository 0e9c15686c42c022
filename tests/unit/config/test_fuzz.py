"""Whatever stands in the files or in the data: a snapshot or a ConfigError, never anything else."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from config.allowed import known_keys
from config.faults import ConfigError
from config.loader import load, replace
from config.models.gateway import GatewayOptions
from config.models.routes import Route
from config.models.services import Service
from config.models.tiers import Tier
from config.models.transforms import Transform
from config.snapshot import Snapshot

SOUND = Path(__file__).parent / "sound"
MODELS: dict[str, type[BaseModel]] = {
    "routes": Route,
    "services": Service,
    "transforms": Transform,
    "tiers": Tier,
    "gateway": GatewayOptions,
}
KINDS = st.sampled_from(list(MODELS))
KEYS = sorted({key for model in MODELS.values() for key in known_keys(model, ())})
SCRAPS = ["- ", "path: ", "&a ", "*a", "<<: ", "{", "}", "[", "]", "\n", "  ", '"', "!!set ", "---"]


def entries() -> st.SearchStrategy[Any]:
    """Plain data that now and then resembles configuration."""
    words = ["GET", "/users", "/{id}", "http://a", "users", "FREE", "1MiB", "10.0.0.0/8", "auto"]
    scalars = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=10),
        st.sampled_from(words),
    )
    keys = st.one_of(st.sampled_from([*KEYS, "FREE", "any", "type", "limit"]), st.text(max_size=5))
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=6),
        max_leaves=20,
    )


@contextmanager
def directory() -> Iterator[Path]:
    """A sound configuration, to be spoiled."""
    with tempfile.TemporaryDirectory() as path:
        yield Path(shutil.copytree(SOUND, path, dirs_exist_ok=True))


def load_or_complain(path: Path) -> None:
    """Loading ends in one of two ways."""
    try:
        assert isinstance(load(path), Snapshot)
    except ConfigError as error:
        check_lines(error)


def check_lines(error: ConfigError) -> None:
    """There are faults, and each is one printable line."""
    lines = str(error).split("\n")
    assert len(lines) == len(error.faults) > 0
    assert all(line.isprintable() for line in lines)


@given(KINDS, st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_any_bytes(kind: str, data: bytes) -> None:
    """A file may be no text at all."""
    with directory() as path:
        (path / f"{kind}.yaml").write_bytes(data)
        load_or_complain(path)


@given(KINDS, st.lists(st.sampled_from(SCRAPS) | st.text(max_size=5), max_size=30).map("".join))
@settings(max_examples=200, deadline=None)
def test_any_text(kind: str, text: str) -> None:
    """A file may be something that only resembles YAML."""
    with directory() as path:
        (path / f"{kind}.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
        load_or_complain(path)


@given(KINDS, entries())
@settings(max_examples=200, deadline=None)
def test_any_yaml(kind: str, data: object) -> None:
    """A file may be YAML of another structure."""
    with directory() as path:
        text = yaml.safe_dump(data, allow_unicode=True)
        (path / f"{kind}.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
        load_or_complain(path)


@given(KINDS, entries() | st.lists(st.dictionaries(st.sampled_from(KEYS), entries())))
@settings(max_examples=300, deadline=None)
def test_any_data(kind: str, data: object) -> None:
    """Data that an administrator sends may be anything that JSON can say."""
    try:
        assert replace(load(SOUND), kind, data).version == 2
    except ConfigError as error:
        check_lines(error)
