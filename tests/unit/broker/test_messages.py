"""Envelopes and replies on the wire."""

from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.messages import (
    Envelope,
    Headers,
    Principal,
    Problem,
    Reply,
    UndecodableMessage,
    decode_envelope,
    decode_reply,
    encode,
)

ENVELOPE = Envelope(
    id="0198c0de",
    route="GET /users",
    service="users",
    tier="PRO",
    method="GET",
    path="/users",
    target="/v2/users?a=1&a=2",
    headers=((b"Accept", b"*/*"), (b"X-A", b"1"), (b"x-a", b"2")),
    body=b"\x00\xff",
    principal=Principal("u1", "PRO", ("admin",), ("users:read",), "acme", "s1"),
    deadline=1_700_000_000.25,
    idempotent=True,
    reply_to="gateway.replies.n1",
    published_at=1_700_000_000.0,
    retry_count=2,
)
REPLY = Reply(
    id="0198c0de",
    status=200,
    reason=b"OK",
    headers=((b"Set-Cookie", b"a=1"), (b"Set-Cookie", b"b=2")),
    body=b"{}",
    queue_ms=0.5,
    upstream_ms=12.25,
    attempts=1,
    instance="http://a:1",
)
HEADERS: st.SearchStrategy[Headers] = st.lists(
    st.tuples(st.binary(max_size=20), st.binary(max_size=40)), max_size=8
).map(tuple)


@given(headers=HEADERS, body=st.binary(max_size=300))
def test_an_envelope_survives_the_wire(headers: Headers, body: bytes) -> None:
    """Any headers, with their order and duplicates, and any body are read back as they were."""
    envelope = msgspec.structs.replace(ENVELOPE, headers=headers, body=body)
    assert decode_envelope(encode(envelope)) == envelope


@given(headers=HEADERS, body=st.binary(max_size=300))
def test_a_reply_survives_the_wire(headers: Headers, body: bytes) -> None:
    """Any headers, with their order and duplicates, and any body are read back as they were."""
    reply = msgspec.structs.replace(REPLY, headers=headers, body=body)
    assert decode_reply(encode(reply)) == reply


def test_a_problem_survives_the_wire() -> None:
    """A reply can be a problem instead of a response."""
    reply = Reply(id="x", problem=Problem("queue-full", "try later", "no", 3, "dns_error"))
    assert decode_reply(encode(reply)) == reply


def test_messages_cannot_be_changed() -> None:
    """Carriers may pass them by reference."""
    with pytest.raises(AttributeError):
        ENVELOPE.attempt = 2  # type: ignore[misc]  # that is the test
    with pytest.raises(AttributeError):
        REPLY.status = 500  # type: ignore[misc]  # that is the test


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_undecodable(data: bytes) -> None:
    """Nonsense raises UndecodableMessage, and nothing else."""
    for decode in (decode_envelope, decode_reply):
        with suppress(UndecodableMessage):
            decode(data)


@pytest.mark.parametrize("cut", [0, 1, 10, -1])
def test_truncated_messages_are_undecodable(cut: int) -> None:
    """A message that lost its end is told from a whole one."""
    with pytest.raises(UndecodableMessage, match="not an envelope"):
        decode_envelope(encode(ENVELOPE)[:cut])
    with pytest.raises(UndecodableMessage, match="not a reply"):
        decode_reply(encode(REPLY)[:cut])


def test_bad_text_is_undecodable() -> None:
    """Bytes that are no UTF-8 where text is expected."""
    with pytest.raises(UndecodableMessage, match="not an envelope"):
        decode_envelope(encode(ENVELOPE).replace(b"users", b"us\xffrs", 1))


def test_other_versions_are_undecodable() -> None:
    """A message of a later version is refused by name, not misread."""
    with pytest.raises(UndecodableMessage, match="envelope of version 2, known is 1"):
        decode_envelope(encode(msgspec.structs.replace(ENVELOPE, version=2)))
    with pytest.raises(UndecodableMessage, match="reply of version 2, known is 1"):
        decode_reply(encode(msgspec.structs.replace(REPLY, version=2)))


def test_a_reply_is_no_envelope() -> None:
    """One kind is never read as the other."""
    with pytest.raises(UndecodableMessage):
        decode_envelope(encode(REPLY))
    with pytest.raises(UndecodableMessage):
        decode_reply(encode(ENVELOPE))


def test_deeply_nested_bytes_are_undecodable() -> None:
    """An unknown field of 10,000 nested arrays exhausts the decoder, not its caller."""
    fields = msgspec.to_builtins(ENVELOPE, builtin_types=(bytes,))
    nested = msgspec.msgpack.encode([*fields, None])[:-1] + b"\x91" * 10_000 + b"\xc0"
    with pytest.raises(UndecodableMessage, match="not an envelope"):
        decode_envelope(nested)
