"""What is allowed, in words, for every key of every model."""

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from config.allowed import allowed_at, known_keys
from config.faults import KeyPath
from config.models.gateway import GatewayOptions
from config.models.routes import Route
from config.models.services import Service
from config.models.tiers import Tier
from config.models.transforms import Transform
from config.settings import Settings


def key_paths(model: type[BaseModel], around: KeyPath = ()) -> Iterator[KeyPath]:
    """Every key path inside a model, lists entered once."""
    for key in known_keys(model, around):
        path = (*around, key)
        yield path
        yield from key_paths(model, path)
        yield from key_paths(model, (*path, 0))


@pytest.mark.parametrize("model", [Route, Service, Transform, Tier, GatewayOptions, Settings])
def test_every_key_says_what_it_allows(model: type[BaseModel]) -> None:
    """No key is left without words, and none falls back on pydantic's."""
    words = {path: allowed_at(model, path) for path in key_paths(model)}
    assert words
    assert all(words.values())


@pytest.mark.parametrize(
    ("model", "path", "words"),
    [
        (Route, ("retry_count",), "a whole number from 0 to 20"),
        (Route, ("auth_required",), "true or false"),
        (Route, ("validate", "mode"), "enforce or log"),
        (Service, ("instances", 3, "weight"), "a whole number from 1 to 1000"),
        (Service, ("metadata", "anything"), "text"),
        (Service, ("no such key",), ""),
        (Transform, ("name",), "text of 1 to 200 characters"),
        (Route, ("rate_limit", "burst"), "a whole number from 0 to 1000000000"),
    ],
)
def test_words_come_from_the_model(model: Any, path: KeyPath, words: str) -> None:
    """Bounds and choices are read from the declaration, so that they can't go stale."""
    assert allowed_at(model, path) == words
