"""Events on the wire."""

from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.events import (
    BreakerChanged,
    Event,
    HealthReported,
    StateWanted,
    UndecodableEvent,
    decode_event,
    encode_event,
    kind_of,
    topic,
)

EVENTS: list[Event] = [
    BreakerChanged(service="users.v2", node="d1", state="open", failing_for=1.25),
    HealthReported(
        service="users", node="w1", sequence=7, valid_for=90.0, healthy={"http://a:1": False}
    ),
    StateWanted(kind="health"),
]
TOPICS = ["breaker.users.v2", "health.users", "wanted.health"]


@pytest.mark.parametrize("event", EVENTS, ids=kind_of)
def test_an_event_survives_the_wire(event: Event) -> None:
    """Each kind is read back as itself."""
    assert decode_event(encode_event(event)) == event


@pytest.mark.parametrize(("event", "expected"), list(zip(EVENTS, TOPICS, strict=True)))
def test_the_topic_names_kind_and_subject(event: Event, expected: str) -> None:
    """Whoever binds a queue of their own can choose by kind and service."""
    assert topic(event) == expected
    assert topic(event).startswith(kind_of(type(event)) + ".")


@given(st.binary(max_size=200))
def test_any_bytes_are_an_event_or_undecodable(data: bytes) -> None:
    """Nonsense raises UndecodableEvent, and nothing else."""
    with suppress(UndecodableEvent):
        decode_event(data)


@pytest.mark.parametrize("cut", [0, 1, 10, -1])
def test_truncated_events_are_undecodable(cut: int) -> None:
    """An event that lost its end is told from a whole one."""
    for event in EVENTS:
        with pytest.raises(UndecodableEvent, match="not an event"):
            decode_event(encode_event(event)[:cut])


def test_other_versions_are_undecodable() -> None:
    """An event of a later version is refused by name, not misread."""
    for event in EVENTS:
        with pytest.raises(UndecodableEvent, match="event of version 2, known is 1"):
            decode_event(encode_event(msgspec.structs.replace(event, version=2)))


def test_an_unknown_kind_is_undecodable() -> None:
    """A kind that a later version has is refused."""
    with pytest.raises(UndecodableEvent, match="not an event"):
        decode_event(msgspec.msgpack.encode(["weather", 1, "rain"]))
