"""How much work a schema is, counted before it is done."""

from typing import Any

import pytest

from ingress.schema_work import MOST_WORK, Work, work_of
from ingress.strict_json import Numbers

PRICE = {"type": "number", "minimum": 0, "multipleOf": 0.01}


def test_what_compares_no_numbers() -> None:
    """Costs each value little, and numbers no more than others."""
    work = work_of({"items": {"type": "string", "minLength": 1}, "maxItems": 3})
    assert work == Work(value=10)
    assert work_of(True) == Work()


@pytest.mark.parametrize(
    "schema",
    [
        {"items": PRICE},
        {"properties": {"a": PRICE, "b": {"maximum": 1}}},
        {"allOf": [{"items": {"minimum": 0}}, {"items": {"type": "number", "multipleOf": 0.01}}]},
        {"$defs": {"p": PRICE}, "additionalProperties": {"$ref": "#/$defs/p"}},
        {"$defs": {"p": {**PRICE, "$anchor": "price"}}, "prefixItems": [{"$ref": "#price"}]},
        {"if": PRICE, "then": {"minProperties": 1}},
        {"dependentSchemas": {"a": {"anyOf": [{"not": PRICE}]}}},
        {
            "$ref": "#/$defs/n",
            "$defs": {"n": {"properties": {"n": {"$ref": "#/$defs/n"}}, **PRICE}},
        },
    ],
)
def test_what_applies_to_one_number_adds_up(schema: dict[str, Any]) -> None:
    """Wherever it is written; of members beside each other the dearest counts."""
    work = work_of(schema)
    assert (work.integer, work.decimal, work.extreme) == (500, 1200, 4500)


def test_what_is_compared_with_a_number() -> None:
    """Each number of enum and const, inside of others too, and unique items with each other."""
    one = work_of({"const": 1})
    assert one.decimal > 0
    assert work_of({"const": "1"}).decimal == work_of({"const": True}).decimal == 0
    for schema in ({"enum": [1, "a", 2.5]}, {"enum": [[1], {"a": 2}]}, {"uniqueItems": True}):
        assert work_of({"items": schema}).decimal == 2 * one.decimal
    assert work_of({"uniqueItems": False}).decimal == 0


@pytest.mark.parametrize("kind", ["patternProperties", "propertyNames", "items"])
def test_many_patterns(kind: str) -> None:
    """Are counted for each value, or key, that they are tried on."""
    patterns = [f"^x{number}" for number in range(50)]
    one_of_them = {"anyOf": [{"pattern": each} for each in patterns]}
    schema = dict.fromkeys(patterns, True) if kind == "patternProperties" else one_of_them
    work = work_of({kind: schema})
    assert work.on(15_000, Numbers(0, 0, 0)) < MOST_WORK < work.on(30_000, Numbers(0, 0, 0))


def test_multiples_of_extremes() -> None:
    """A step that is very far from 1 takes longer."""
    assert work_of({"multipleOf": 1e-90}).integer > work_of({"multipleOf": 1e-6}).integer


def test_references_do_not_multiply_the_counting() -> None:
    """A schema of thirty levels, each of which names the next one twice, is counted at once."""
    levels = {
        f"l{level}": {"allOf": [{"$ref": f"#/$defs/l{level + 1}"}] * 2} for level in range(30)
    }
    work = work_of({"$defs": {**levels, "l30": {"minimum": 0}}, "$ref": "#/$defs/l0"})
    assert work.decimal == 400 * 2**30
    assert work.on(1, Numbers(0, 1, 0)) > MOST_WORK


def test_numbers_count_by_their_kind() -> None:
    """And each value for the keywords that are for all of them."""
    work = Work(value=1, integer=10, decimal=100, extreme=1000)
    assert work.on(7, Numbers(integers=3, decimals=2, extremes=1)) == 7 + 30 + 200 + 1000
    assert work.most_values == MOST_WORK // 1111


def test_numbers_that_are_alike() -> None:
    """Are compared each with each where items are to be unique; elsewhere they are not."""
    work = work_of({"type": "array", "uniqueItems": True})
    alike = [str(10**19 + step) for step in range(600)]
    assert "600 of them numbers that differ" in _excess(work, alike)
    assert "600 of them numbers that differ" in _excess(work, [f"[{each}]" for each in alike])
    padded = [f"[{'0,' * 300}{each}]" for each in alike[:250]]
    assert "250 of them numbers that differ" in _excess(work, padded)
    assert _excess(work, alike[:300]) == ""
    assert _excess(work, [str(10**19 + step * 4096) for step in range(2000)]) == ""
    assert _excess(work_of({"items": {"type": "integer"}}), alike) == ""


def test_unique_items_of_any_kind_are_not_many_before_they_are_counted() -> None:
    """A few hundred, as each may have to be compared with each."""
    assert 200 < work_of({"uniqueItems": True}).most_values < 400


def _excess(work: Work, items: list[str]) -> str:
    text = f"[{','.join(items)}]"
    return work.excess(text.encode(), text.count(",") + text.count("["))
