"""Reading YAML within bounds, and remembering where things stand."""

from pathlib import Path

import pytest

from config.document import MAX_BYTES, MAX_DEPTH, MAX_VALUES, Document, read
from config.faults import Position


def document(tmp_path: Path, text: str) -> Document:
    """The document that a file of this text makes."""
    path = tmp_path / "file.yaml"
    path.write_bytes(text.encode())
    return read(path)


def test_keys_and_items_have_their_positions(tmp_path: Path) -> None:
    """A key's position is the key's own, an item's is where it begins; unknown ones are around."""
    read_back = document(tmp_path, "- a: 1\n  b:\n    - x\n    - y\n")
    assert read_back.data == [{"a": 1, "b": ["x", "y"]}]
    assert read_back.position((0, "b")) == Position(2, 3)
    assert read_back.position((0, "b", 1)) == Position(4, 7)
    assert read_back.position((0, "missing", "deep")) == Position(1, 3)


def test_an_empty_file_has_no_data_and_no_problem(tmp_path: Path) -> None:
    """Comments alone are allowed."""
    assert document(tmp_path, "# nothing\n") == Document("file.yaml")


def test_a_byte_order_mark_is_not_part_of_the_text(tmp_path: Path) -> None:
    """Files saved by editors that write one can be read."""
    assert document(tmp_path, "\ufeffa: 1\n").data == {"a": 1}


def test_dates_stay_text(tmp_path: Path) -> None:
    """No key is a date, and JSON knows none; even impossible ones are just text."""
    data = document(tmp_path, "a: 2024-01-31\nb: 2024-99-99\n").data
    assert data == {"a": "2024-01-31", "b": "2024-99-99"}


@pytest.mark.parametrize(
    "value",
    ["0x_", "!!bool 3", '!!int ""', "!!float x", "9" * 5000, ":".join(["59"] * 400) + ".5"],
)
def test_numbers_that_python_cannot_read_are_problems(tmp_path: Path, value: str) -> None:
    """PyYAML raises all sorts of errors for them; none gets out."""
    (problem,) = document(tmp_path, f"a: {value}\n").problems
    assert problem.path == ("a",)


@pytest.mark.parametrize("value", [".nan", "-.inf", "0x" + "f" * 5000, "9223372036854775808"])
def test_numbers_that_json_cannot_carry_are_problems(tmp_path: Path, value: str) -> None:
    """They could be told to no other process."""
    (problem,) = document(tmp_path, f"a: {value}\n").problems
    assert problem.found == "a number that JSON can't carry"


@pytest.mark.parametrize(
    "value",
    [
        "!!python/name:os.system",
        "!!python/object/new:os.system [ls]",
        "!!binary aGk=",
        "!!set {a}",
        "!mine {a: 1}",
    ],
)
def test_tags_are_refused(tmp_path: Path, value: str) -> None:
    """Nothing but plain values is ever made of a file."""
    read_back = document(tmp_path, f"a: {value}\n")
    assert [problem.allowed for problem in read_back.problems] == ["plain YAML without tags"]
    assert read_back.data == {"a": None}


@pytest.mark.parametrize(
    "text",
    [
        "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1),
        "[" * 100_000,
        "[" + "1," * (MAX_VALUES + 1) + "]",
        "&a [*a]",
        "&a {b: *a}",
        "&a {<<: *a}",
        "- &a [x, x, x, x, x, x, x, x]\n"
        + "".join(
            f"- &{new} [*{old}, *{old}, *{old}, *{old}, *{old}, *{old}, *{old}, *{old}]\n"
            for old, new in zip("abcdefgh", "bcdefghi", strict=True)
        ),
    ],
    ids=["deep", "unclosed", "wide", "circle", "circle of keys", "circle of merges", "bomb"],
)
def test_too_much_is_refused_before_it_is_built(tmp_path: Path, text: str) -> None:
    """Depth and number of values are bounded, each use of an alias counted."""
    read_back = document(tmp_path, text)
    assert [problem.found for problem in read_back.problems] == ["too much in one file"]
    assert not read_back.readable


def test_a_large_file_is_refused_unread(tmp_path: Path) -> None:
    """A file that somebody put there by mistake is not taken into memory."""
    (problem,) = document(tmp_path, "#" * (MAX_BYTES + 1)).problems
    assert (problem.found, problem.allowed) == ("a larger file", f"at most {MAX_BYTES} bytes")


def test_every_second_key_is_found(tmp_path: Path) -> None:
    """Each repetition is a problem of its own, and the first one's value stays."""
    read_back = document(tmp_path, "a: 1\nb: {c: 1, c: 2}\na: 3\na: 4\n")
    assert read_back.data == {"a": 1, "b": {"c": 1}}
    assert [problem.path for problem in read_back.problems] == [("b", "c"), ("a",), ("a",)]
