"""What becomes of a body's objects."""

from typing import Any

import pytest
from jinja2.exceptions import UndefinedError

from config.models.transforms import BodyTransform
from dispatcher.transformation.budget import Budget, TooMuchWork
from dispatcher.transformation.rules import Rules
from dispatcher.transformation.sandbox import Sandbox

MISSION = {
    "jsonpath": {"user_id": "$.id", "email": "$.email"},
    "template": {"full_name": "{{ first_name }} {{ last_name }}"},
}
ADA: dict[str, Any] = {"id": 1, "email": "a@b", "first_name": "Ada", "last_name": "Lovelace"}
NEW = {"user_id": 1, "email": "a@b", "full_name": "Ada Lovelace"}


def rules(**config: Any) -> Rules:
    return Rules("t", BodyTransform.model_validate(config), Sandbox())


def applied(value: object, **config: Any) -> object:
    return rules(**config).apply(value, Budget(60, 10_000))


def test_replace_makes_a_new_object() -> None:
    """Of the named fields only, in their order."""
    assert applied(ADA, **MISSION) == NEW
    assert list(NEW) == ["user_id", "email", "full_name"]


def test_merge_keeps_the_others() -> None:
    """What is named is set, what is not stays; the old object is not touched."""
    old = dict(ADA)
    assert applied(ADA, **MISSION, mode="merge") == {**ADA, **NEW}
    assert old == ADA


def test_paths_and_templates_see_the_old_object() -> None:
    """Whatever the new one has under the same name."""
    made = applied(
        {"a": 1, "b": 2},
        jsonpath={"a": "$.b", "b": "$.a"},
        template={"c": "{{ a }}{{ b }}"},
        mode="merge",
    )
    assert made == {"a": 2, "b": 1, "c": "12"}


def test_a_path_without_a_match_sets_nothing() -> None:
    """Absent stays absent, null stays null, and merging takes nothing away."""
    config = {"a": "$.x", "b": "$.y"}
    assert applied({"y": None}, jsonpath=config) == {"b": None}
    assert applied({"a": 1}, jsonpath=config, mode="merge") == {"a": 1}


def test_a_list_is_changed_object_by_object() -> None:
    """What is no object in it stays, also a list in the list."""
    value = [ADA, None, 5, "x", [ADA], {**ADA, "id": 2}]
    assert applied(value, **MISSION) == [NEW, None, 5, "x", [ADA], {**NEW, "user_id": 2}]
    assert applied([], **MISSION) == []


@pytest.mark.parametrize("value", [None, True, 5, "text"])
def test_what_is_no_object_stays(value: object) -> None:
    """There are no fields to take anything from."""
    assert applied(value, **MISSION) == value


def test_one_bad_element_fails_the_whole() -> None:
    """There is no such thing as a body that is changed by half."""
    with pytest.raises(UndefinedError):
        applied([ADA, {"id": 2}], **MISSION)


def test_a_list_costs_time_for_each_element() -> None:
    """Also where no template looks at the clock."""
    ticking = iter([1.0, 2.0, 3.0])
    with pytest.raises(TooMuchWork):
        rules(jsonpath={"a": "$.a"}).apply([{}] * 3, Budget(1.5, 0, ticking.__next__))


def test_only_named_fields_change_a_body() -> None:
    """A transform of header fields leaves bodies alone, in either mode."""
    assert not rules(headers={"remove": ["Server"]}).changes_body
    assert not rules(mode="merge", headers={"set": {"A": "b"}}).changes_body
    assert rules(jsonpath={"a": "$.a"}).changes_body
