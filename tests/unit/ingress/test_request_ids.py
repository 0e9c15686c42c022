"""Ids of requests."""

import os
import uuid

import pytest
from multidict import CIMultiDict

from ingress.request_ids import RequestIds


def of(*values: str) -> str:
    headers = CIMultiDict[str]([("X-Request-ID", value) for value in values])
    ids = RequestIds(clock=lambda: 1.5, random=lambda size: bytes(size))
    return ids.of(headers)


@pytest.mark.parametrize("given", ["a", "0-_.~!/", "x" * 128])
def test_a_sane_id_is_the_clients(given: str) -> None:
    """Up to 128 visible characters are taken as they are."""
    assert of(given) == given


@pytest.mark.parametrize("given", ["", " ", "a b", "x" * 129, "ä", "a\x7f", "\udcff", "a\n"])
def test_an_insane_id_is_replaced(given: str) -> None:
    """Anything else gets a new one."""
    assert uuid.UUID(of(given)).version == 7


def test_uuid7() -> None:
    """Milliseconds, version, variant and random bits are where RFC 9562 section 5.7 has them."""
    ids = RequestIds(clock=lambda: 0x017F22E279B0 / 1000, random=lambda size: b"\xff" * size)
    assert ids.new() == "017f22e2-79b0-7fff-bfff-ffffffffffff"
    ids = RequestIds(clock=lambda: 0x017F22E279B0 / 1000, random=lambda size: bytes(size))
    assert ids.new() == "017f22e2-79b0-7000-8000-000000000000"


def test_new_ids_differ() -> None:
    """Many of them, made at one time."""
    ids = RequestIds(clock=lambda: 1.0, random=os.urandom)
    assert len({ids.new() for _ in range(10_000)}) == 10_000
