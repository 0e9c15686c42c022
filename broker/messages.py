"""What travels between the roles: immutable, versioned, MessagePack on the wire.

Header pairs are bytes, so that order, duplicates and spelling pass unharmed; bodies are raw bytes.
"""

from typing import Literal

import msgspec

VERSION = 1

Headers = tuple[tuple[bytes, bytes], ...]
Executed = Literal["no", "unknown"]


class UndecodableMessage(ValueError):
    """Bytes that are no message of a version known here."""


class Principal(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Who asks, as ingress found out; ``session`` is one of the gateway's own."""

    subject: str
    tier: str
    roles: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    customer: str | None = None
    session: str | None = None


class Envelope(msgspec.Struct, frozen=True, array_like=True, gc=False, kw_only=True):
    """One request on its way to a dispatcher.

    ``id`` is the correlation id. ``path`` is what the client asked for, as matched; ``target`` the
    path and query for the upstream, relative to the service's base URL. ``headers`` are ready to
    forward, but for what only the caller of the upstream knows (Host, lengths, deadline).
    ``deadline`` is absolute, in Unix seconds. ``idempotent`` allows redelivery and retries; without
    it the message is settled before the call and never executed twice. ``attempt`` counts them.
    ``reply_to`` is the name of a reply queue.
    """

    version: int = VERSION
    id: str
    route: str
    service: str
    tier: str
    method: str
    path: str
    target: str
    headers: Headers
    body: bytes
    principal: Principal | None
    deadline: float
    idempotent: bool
    reply_to: str
    published_at: float
    attempt: int = 1
    retry_count: int = 0
    config_version: int = 1


class Problem(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An answer that the gateway itself makes; ``type`` is a slug of broker.problems.

    ``proxy_error`` is one of broker.problems.ProxyError, where more is known than the type tells.
    """

    type: str
    detail: str
    executed: Executed | None = None
    retry_after: int | None = None
    proxy_error: str | None = None


class Reply(msgspec.Struct, frozen=True, array_like=True, gc=False, kw_only=True):
    """The answer to the envelope of the same ``id``: a response, or a problem.

    Times are milliseconds. ``part`` and ``last`` leave room for answers in several messages.
    """

    version: int = VERSION
    id: str
    status: int = 0
    reason: bytes = b""
    headers: Headers = ()
    body: bytes = b""
    problem: Problem | None = None
    queue_ms: float = 0.0
    upstream_ms: float = 0.0
    attempts: int = 0
    instance: str = ""
    part: int = 0
    last: bool = True


_encode = msgspec.msgpack.Encoder().encode
_decode_envelope = msgspec.msgpack.Decoder(Envelope).decode
_decode_reply = msgspec.msgpack.Decoder(Reply).decode


def encode(message: Envelope | Reply) -> bytes:
    """The message's bytes on the wire."""
    return _encode(message)


def decode_envelope(data: bytes) -> Envelope:
    """Read an envelope back. Raises UndecodableMessage."""
    try:
        envelope = _decode_envelope(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UndecodableMessage(f"not an envelope: {error}") from error
    if envelope.version != VERSION:
        raise UndecodableMessage(f"envelope of version {envelope.version}, known is {VERSION}")
    return envelope


def decode_reply(data: bytes) -> Reply:
    """Read a reply back. Raises UndecodableMessage."""
    try:
        reply = _decode_reply(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UndecodableMessage(f"not a reply: {error}") from error
    if reply.version != VERSION:
        raise UndecodableMessage(f"reply of version {reply.version}, known is {VERSION}")
    return reply
