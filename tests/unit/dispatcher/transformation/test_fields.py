"""Changes of header fields."""

from config.models.transforms import HeaderChanges
from dispatcher.transformation.fields import FieldChanges, asking_for_all, of_changed_body

HEADERS = (
    (b"Server", b"old"),
    (b"X-Old", b"1"),
    (b"set-cookie", b"a=1"),
    (b"Set-Cookie", b"b=2"),
    (b"x-old", b"2"),
)


def changed(**changes: object) -> tuple[tuple[bytes, bytes], ...]:
    return FieldChanges(HeaderChanges.model_validate(changes)).apply(HEADERS)


def test_without_changes_there_is_nothing_to_do() -> None:
    """So that a transform without them costs nothing."""
    assert not FieldChanges(HeaderChanges())
    assert changed() == HEADERS


def test_removing_takes_all_of_a_name() -> None:
    """In any spelling; the others keep order and duplicates."""
    assert changed(remove=["X-OLD", "server"]) == HEADERS[2:4]


def test_setting_replaces_all_of_a_name() -> None:
    """The new one stands at the end, once."""
    assert changed(set={"Set-Cookie": "c=3"}) == (
        *(HEADERS[0], HEADERS[1], HEADERS[4]),
        (b"Set-Cookie", b"c=3"),
    )


def test_renaming_keeps_values_and_places() -> None:
    """Every field of the name."""
    assert changed(rename={"x-Old": "X-New"}) == (
        *(HEADERS[0], (b"X-New", b"1"), *HEADERS[2:4]),
        (b"X-New", b"2"),
    )


def test_the_order_is_rename_remove_set() -> None:
    """What was renamed can be removed and set by its new name only."""
    assert changed(rename={"X-Old": "X-New"}, remove=["X-Old"], set={"X-New": "3"}) == (
        *(HEADERS[0], *HEADERS[2:4]),
        (b"X-New", b"3"),
    )


def test_what_spoke_of_the_old_body_goes() -> None:
    """Lengths, codings, validators and digests."""
    stale = ("Content-Length", "Content-Encoding", "ETAG", "last-modified", "Digest", "Content-MD5")
    headers = tuple((name.encode(), b"x") for name in (*stale, "Accept-Ranges", "Repr-Digest"))
    assert of_changed_body((*headers, (b"Content-Type", b"a"))) == ((b"Content-Type", b"a"),)


def test_a_whole_body_without_coding_is_asked_for() -> None:
    """Ranges and codings are no way around a transform."""
    headers = ((b"Range", b"bytes=0-9"), (b"accept-encoding", b"br"), (b"If-Range", b'"x"'))
    assert asking_for_all((*headers, (b"A", b"b"))) == (
        (b"A", b"b"),
        (b"Accept-Encoding", b"identity"),
    )
