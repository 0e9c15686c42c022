"""A JWS in compact form (RFC 7515 section 7.1) in its parts, before anything is believed.

Of the header only ``alg``, ``kid``, ``crit`` and ``b64`` are looked at. A key, or where to get one
(``jwk``, ``jku``, ``x5u``, ``x5c``), is never taken from the token (RFC 8725 section 3.10).
"""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode

import msgspec

LONGEST_TOKEN = 16 * 1024  # characters; as much as a header block holds
_LONGEST_KID = 256  # characters

_is_compact = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+").fullmatch


class InvalidToken(Exception):
    """A token is not in order. The message is for its sender, and has no part of the token."""


class BadSignature(InvalidToken):
    """Nothing shows that it was ever given out by anybody."""


class Signed(msgspec.Struct, frozen=True):
    """What is signed, by what, and how; ``kid`` is nothing but a name to look a key up by."""

    alg: str
    kid: str | None
    signing_input: bytes
    payload: bytes
    signature: bytes


class _Header(msgspec.Struct):
    alg: str
    kid: str | None = None
    crit: object = msgspec.UNSET
    b64: bool = True


_decode_header = msgspec.json.Decoder(_Header).decode


def parse(token: str) -> Signed:
    """The parts of a token. Raises InvalidToken."""
    if len(token) > LONGEST_TOKEN or not _is_compact(token):
        raise malformed()
    signing_input, _, signature = token.rpartition(".")
    encoded_header, _, payload = signing_input.partition(".")
    try:
        header = _decode_header(_decoded(encoded_header))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise malformed() from None
    # None are understood (section 4.1.11), nor is a payload that is not encoded (RFC 7797).
    if header.crit is not msgspec.UNSET or not header.b64:
        raise InvalidToken("The token demands extensions that are not understood.")
    if header.kid is not None and len(header.kid) > _LONGEST_KID:
        raise malformed()
    signed = signing_input.encode()
    return Signed(header.alg, header.kid, signed, _decoded(payload), _decoded(signature))


def malformed() -> BadSignature:
    """The same words for a bad form and a bad signature: a forger learns nothing from them."""
    return BadSignature("The token is malformed, or its signature is not valid.")


def _decoded(segment: str) -> bytes:
    """Base64url without padding (section 2), in the one spelling that its bytes have."""
    try:
        data = urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    except ValueError:
        raise malformed() from None
    if urlsafe_b64encode(data).rstrip(b"=") != segment.encode():
        raise malformed()
    return data
