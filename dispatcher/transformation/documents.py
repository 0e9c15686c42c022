"""JSON to Python and back, with every number as it was written."""

import math
from collections.abc import Iterable

import msgspec


class NotJson(ValueError):
    """The bytes are no JSON text (RFC 8259)."""


class Number(float):
    """A number with a fraction or an exponent.

    It calculates as a double; untouched, it is written as it was read: ``1.10`` stays ``1.10``.
    """

    __slots__ = ("text",)

    text: str

    @classmethod
    def read(cls, text: str) -> "Number":
        """The number that a JSON text has."""
        number = cls(text)
        number.text = text
        return number


def _encoded(value: object) -> msgspec.Raw:
    if isinstance(value, Number):
        return msgspec.Raw(value.text.encode())
    raise TypeError(f"{type(value).__name__} is no JSON")


_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_decode = msgspec.json.Decoder(float_hook=Number.read).decode
_encode = msgspec.json.Encoder(enc_hook=_encoded).encode


def decode(body: bytes) -> object:
    """The value of a JSON text; of a name that occurs twice the last one counts.

    A byte order mark before it is left out, as RFC 8259 section 8.1 allows.
    Raises NotJson; ValueError for an integer of thousands of digits, RecursionError for one that
    is nested too deeply.
    """
    try:
        return _decode(body.removeprefix(_BYTE_ORDER_MARK))
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NotJson(str(error)) from error


def encode(value: object) -> bytes:
    """The shortest JSON text of a value. Raises TypeError for what has none."""
    return _encode(value)


def text_of(value: object) -> str:
    """A value as part of a text: text as it is, all else as JSON.

    Raises UndefinedError for a missing value, TypeError and ValueError for what has no JSON.
    """
    if type(value) is str:
        return value
    if isinstance(value, float) and not isinstance(value, Number) and not math.isfinite(value):
        raise ValueError("the number is not finite")
    if isinstance(value, Iterable) and not isinstance(value, str | dict):
        value = list(value)
    return _encode(value).decode()
