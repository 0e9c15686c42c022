"""Changes of header fields."""

from collections.abc import Collection

from broker.messages import Headers
from config.models.transforms import HeaderChanges

# What speaks of a body as it was before it was changed: its length, its coding, which of its bytes
# can be had, and whatever tells whether it is the same (RFC 9110 section 8.8, RFC 9530).
_OF_THE_BODY = frozenset(
    (
        *(b"content-length", b"content-encoding", b"content-range", b"accept-ranges"),
        *(b"etag", b"last-modified"),
        *(b"content-md5", b"digest", b"content-digest", b"repr-digest"),
    )
)
_WHOLE_AND_PLAIN = frozenset((b"accept-encoding", b"range", b"if-range"))


class FieldChanges:
    """Renames, then removes, then sets: each in all fields of a name, in any spelling."""

    def __init__(self, changes: HeaderChanges) -> None:
        self._renamed = {old.lower().encode(): new.encode() for old, new in changes.rename.items()}
        self._set = tuple((name.encode(), value.encode()) for name, value in changes.set.items())
        names = [*changes.remove, *changes.set]
        self._dropped = frozenset(name.lower().encode() for name in names)

    def __bool__(self) -> bool:
        return bool(self._renamed or self._dropped)

    def apply(self, headers: Headers) -> Headers:
        """The fields, changed."""
        if self._renamed:
            renamed = self._renamed
            headers = tuple([(renamed.get(pair[0].lower(), pair[0]), pair[1]) for pair in headers])
        return without(headers, self._dropped) + self._set


def without(headers: Headers, names: Collection[bytes]) -> Headers:
    """The fields but those of these lower-case names."""
    return tuple([pair for pair in headers if pair[0].lower() not in names])


def of_changed_body(headers: Headers) -> Headers:
    """The fields but those that speak of the body as it was."""
    return without(headers, _OF_THE_BODY)


def asking_for_all(headers: Headers) -> Headers:
    """The fields of a request so that a whole body comes, and in no coding.

    Else a client could get past the transform by asking for a part, or for a coding that nobody
    here can undo.
    """
    return (*without(headers, _WHOLE_AND_PLAIN), (b"Accept-Encoding", b"identity"))
