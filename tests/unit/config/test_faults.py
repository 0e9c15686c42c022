"""How faults are said: one fixture per mistake in ``faults/``, with the exact words."""

import shutil
from pathlib import Path

import pytest

from config.faults import ConfigError, Fault, Position, key_text, nearest, quoted, shown
from config.loader import load

HERE = Path(__file__).parent
MISTAKES = sorted(path.name for path in (HERE / "faults").iterdir())


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A sound configuration, to be spoiled."""
    return Path(shutil.copytree(HERE / "sound", tmp_path / "config"))


def test_the_sound_configuration_has_no_fault(directory: Path) -> None:
    """What the fixtures spoil is sound before."""
    assert load(directory).version == 1


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_is_told_in_these_words(mistake: str, directory: Path) -> None:
    """A fixture's files, laid over the sound ones, give exactly the faults in its expected.txt."""
    shutil.copytree(HERE / "faults" / mistake, directory, dirs_exist_ok=True)
    expected = (directory / "expected.txt").read_text(encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(directory)
    assert f"{caught.value}\n" == expected


@pytest.mark.parametrize("mistake", MISTAKES)
def test_no_fixture_betrays_its_secret(mistake: str) -> None:
    """The password that fixtures use is in no message."""
    assert "hunter2" not in (HERE / "faults" / mistake / "expected.txt").read_text(encoding="utf-8")


def test_a_fault_leaves_out_what_is_not_known() -> None:
    """Without a position, an entry, a key and an alternative, the line is still a sentence."""
    assert str(Fault("routes", found="nothing")) == "routes: found nothing"
    whole = Fault("a.yaml", "1", "2", "route 1", "timeout", Position(3, 4))
    assert str(whole) == "a.yaml:3:4: route 1: timeout: found 1, allowed: 2"


@pytest.mark.parametrize(
    ("value", "path", "words"),
    [
        (None, (), "nothing"),
        (True, (), "true"),
        (1.5, (), "1.5"),
        ({}, (), "an empty mapping"),
        ({"a": 1, "b": 2}, (), "a mapping with a, b"),
        ([], (), "an empty list"),
        ([1], (), "a list"),
        ("plain", ("name",), '"plain"'),
        ("s3cret", ("clients", 0, "secret_hash"), "***"),
        (12345, ("headers", "set", "X-Api-Key"), "***"),
        ("Bearer x", ("headers", "set", "Authorization"), "***"),
        ("http://me:pa@ss@host/", ("base_url",), '"***@host/"'),
        ("/x?a=1&b=2", ("path",), '"/x?a=***&b=***"'),
    ],
)
def test_values_are_shown_without_their_secrets(
    value: object, path: tuple[str | int, ...], words: str
) -> None:
    """Containers by their keys, scalars as they are, secrets as stars."""
    assert shown(value, path) == words


def test_what_is_quoted_stays_on_one_short_line() -> None:
    """Line breaks, escapes to terminals, halves of surrogates and sheer length can do no harm."""
    text = quoted("a\nb\x1b[31m\u202e\ud800\u2028" + "x" * 1000)
    assert text.isprintable()
    assert len(text) < 120


def test_numbers_of_any_length_can_be_shown() -> None:
    """Python refuses to write out very long integers; that breaks no message."""
    assert shown(1 << 100_000) == "a number of too many digits"


def test_key_paths_read_as_people_write_them() -> None:
    """Keys are joined by dots, list positions in brackets."""
    assert key_text(("instances", 0, "url")) == "instances[0].url"


def test_the_nearest_name_is_suggested_or_else_all() -> None:
    """A near miss gets one suggestion, anything else the list."""
    assert nearest("retry_cuont", ["retry_count", "timeout"]) == "retry_count (the nearest)"
    assert nearest("zzz", ["retry_count", "timeout"]) == "retry_count, timeout"
    assert nearest("zzz", []) == "none is declared"
    assert nearest("zzz", ["a" * 150, "b" * 150]) == "a" * 150 + ", ..."
