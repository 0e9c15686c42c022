"""News of the fleet's state: immutable, versioned, MessagePack on the wire.

Carried at most once: who is away when an event passes never hears it. So an event says the whole
state of what it is about, and is said again now and then or when somebody asks (``StateWanted``); a
lost one heals itself.
"""

from typing import Any, Literal

import msgspec

VERSION = 1


class UndecodableEvent(ValueError):
    """Bytes that are no event of a kind and version known here."""


class BreakerChanged(
    msgspec.Struct, frozen=True, array_like=True, gc=False, kw_only=True, tag="breaker"
):
    """The circuit breaker of a service changed its state at a dispatcher.

    ``failing_for`` is for how many seconds no call from there had gone well when an open one was
    told of; 0 for the others. Not a time of day: clocks of two machines need not agree.
    """

    version: int = VERSION
    service: str
    node: str
    state: Literal["closed", "open", "half_open"]
    failing_for: float = 0.0


class HealthReported(
    msgspec.Struct, frozen=True, array_like=True, gc=False, kw_only=True, tag="health"
):
    """How the probes of a service's instances stand: all that are known, by name.

    ``node`` is who probes, ``sequence`` grows with each of its reports. Nobody has to believe a
    report that is ``valid_for`` seconds old.
    """

    version: int = VERSION
    service: str
    node: str
    sequence: int
    valid_for: float
    healthy: dict[str, bool]


class StateWanted(
    msgspec.Struct, frozen=True, array_like=True, gc=False, kw_only=True, tag="wanted"
):
    """Somebody came late: whoever knows the state of all that is of this ``kind``, say it again."""

    version: int = VERSION
    kind: Literal["breaker", "health"]


Event = BreakerChanged | HealthReported | StateWanted
Kind = type[BreakerChanged] | type[HealthReported] | type[StateWanted]

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Event).decode


def encode_event(event: Event) -> bytes:
    """The event's bytes on the wire."""
    return _encode(event)


def decode_event(data: bytes) -> Event:
    """Read an event back. Raises UndecodableEvent."""
    try:
        event: Event = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UndecodableEvent(f"not an event: {error}") from error
    if event.version != VERSION:
        raise UndecodableEvent(f"event of version {event.version}, known is {VERSION}")
    return event


def kind_of(event: Event | Kind) -> str:
    """Its name on the wire: ``breaker``, ``health`` or ``wanted``."""
    config: Any = event.__struct_config__
    tag: str = config.tag
    return tag


def topic(event: Event) -> str:
    """Routing key on the event exchange: ``<kind>.<service>``, or ``wanted.<kind>``."""
    subject = event.kind if isinstance(event, StateWanted) else event.service
    return f"{kind_of(event)}.{subject}"
