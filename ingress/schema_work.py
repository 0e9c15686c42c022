"""How much work it is to check a body against a schema: bounded before it begins, by counting.

The event loop stands still meanwhile: the library holds the interpreter until it is done. Most
keywords take some nanoseconds for a value. Those that compare numbers exactly take hundreds, and
thousands where a number has an exponent.
"""

from collections.abc import Iterable
from math import isqrt
from typing import Any, NamedTuple

from config.schemas import Schema
from ingress.schema_walk import Applicators
from ingress.strict_json import Alike, Numbers, count_alike, count_numbers

MOST_WORK = 30_000_000  # nanoseconds; a body of the worst kind takes up to twice what is counted


# Items that are to be unique are told apart by a hash, which takes numbers for doubles. Those that
# have the same one are compared, each with each other: so long for each, and for what is beside it.
_ALIKE = 200
_BESIDE_ALIKE = 15


class Work(NamedTuple):
    """Nanoseconds at most for each value, and further ones for a number, by how it is written.

    ``unique`` is how many times a value may have to differ from those beside it.
    """

    value: int = 0
    integer: int = 0
    decimal: int = 0
    extreme: int = 0  # has an exponent, or 19 digits and more
    unique: int = 0

    @property
    def most_values(self) -> int:
        """So many values are not too many, whatever they are."""
        most = MOST_WORK // max(1, self.value + self.integer + self.decimal + self.extreme)
        if not self.unique:
            return most
        return min(most, isqrt(MOST_WORK // (self.unique * (_ALIKE + _BESIDE_ALIKE))))

    def on(self, values: int, numbers: Numbers) -> int:
        """The nanoseconds for so many values, of which so many are numbers of each kind."""
        return (
            values * self.value
            + numbers.integers * self.integer
            + numbers.decimals * self.decimal
            + numbers.extremes * self.extreme
        )

    def on_alike(self, values: int, alike: Alike) -> int:
        """Those for comparing items with each other that have the same hash."""
        return self.unique * alike.most * (alike.numbers * _ALIKE + values * _BESIDE_ALIKE)

    def excess(self, text: bytes, values: int) -> str:
        """Why a JSON text of so many values takes too long to check, or nothing."""
        numbers = count_numbers(text)
        if self.on(values, numbers) > MOST_WORK:
            return (
                f"has more to check than this route allows: {values} values, "
                f"{numbers.integers} of them numbers"
            )
        if self.unique and self.on_alike(values, alike := count_alike(text)) > MOST_WORK:
            return (
                f"has more to check than this route allows: {values} values, "
                f"{alike.numbers} of them numbers that differ in their last digits only"
            )
        return ""


# Measured with jsonschema-rs 0.60, which compares numbers as fractions of unlimited size.
_NOTHING = Work()
_KEYWORD = Work(value=5)
_PATTERN = Work(value=30)  # of a short text; a long one is one of few
_BOUND = Work(5, integer=100, decimal=400, extreme=500)
_MULTIPLE = Work(5, integer=400, decimal=800, extreme=4000)
_FAR_MULTIPLE = Work(5, integer=4000, decimal=8000, extreme=40_000)  # of 1e-90, say
_EQUAL = Work(5, integer=120, decimal=1200, extreme=4000)  # for each number to compare with
_FORMAT = Work(value=100)
_IDN_FORMAT = Work(value=1000)
_DEAR = dict.fromkeys(("exclusiveMaximum", "exclusiveMinimum", "maximum", "minimum"), _BOUND) | {
    "multipleOf": _MULTIPLE,
    "pattern": _PATTERN,
}

_ONE_OF_THESE = ("additionalProperties", "items")
_ALL_OF_THESE = ("contains", "propertyNames", "unevaluatedItems", "unevaluatedProperties")


def work_of(schema: Schema) -> Work:
    """The most that any one value costs, wherever in a body it is.

    A schema that calls itself for items or members takes no more than one that does not; one that
    does so twice for the same value is counted twice only.
    """
    if isinstance(schema, bool):
        return _NOTHING
    return _Counting(schema).whole()


class _Counting:
    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._applicators = Applicators(root)
        self._before: dict[int, Work] = {}
        self._known: dict[int, Work] = {}

    def whole(self) -> Work:
        for _ in range(2):  # the second round knows what is called before it is counted
            self._before, self._known = self._known, {}
            found = self._of(self._root)
        return found

    def _of(self, schema: object) -> Work:
        if not isinstance(schema, dict):
            return _NOTHING
        if id(schema) not in self._known:
            self._known[id(schema)] = self._before.get(id(schema), _NOTHING)
            at_a_place = _largest((_of_keywords(schema), self._inside(schema)))
            beside = map(self._of, self._applicators.same_value(schema))
            self._known[id(schema)] = _sum((at_a_place, _of_comparing(schema), *beside))
        return self._known[id(schema)]

    def _inside(self, schema: dict[str, Any]) -> Work:
        """For members and items: most of them are for one schema of several."""
        one = [*schema.get("properties", {}).values(), *schema.get("prefixItems", ())]
        one += [schema[key] for key in _ONE_OF_THESE if key in schema]
        every = [*schema.get("patternProperties", {}).values()]
        every += [schema[key] for key in _ALL_OF_THESE if key in schema]
        return _sum((_largest(map(self._of, one)), *map(self._of, every)))


def _of_keywords(schema: dict[str, Any]) -> Work:
    """For the value itself, without what is inside of it."""
    works = [_DEAR.get(key, _KEYWORD) for key in schema]
    if not 1e-9 <= schema.get("multipleOf", 1) <= 1e15:
        works.append(_FAR_MULTIPLE)
    works += [_KEYWORD] * len(schema.get("dependentRequired", ()))
    works += [_PATTERN] * len(schema.get("patternProperties", ()))
    if "format" in schema:
        works.append(_IDN_FORMAT if str(schema["format"]).startswith("idn-") else _FORMAT)
    return _sum(works)


def _of_comparing(schema: dict[str, Any]) -> Work:
    """For the value and all that is inside of it."""
    compared = [*schema.get("enum", ()), schema.get("const")]
    unique = bool(schema.get("uniqueItems"))
    equal = sum(map(_numbers_in, compared)) + 2 * unique
    return Work(*(equal * each for each in _EQUAL))._replace(unique=unique)


def _numbers_in(value: object) -> int:
    if isinstance(value, dict | list | tuple):
        return sum(map(_numbers_in, value.values() if isinstance(value, dict) else value))
    return isinstance(value, int | float) and not isinstance(value, bool)


def _sum(works: Iterable[Work]) -> Work:
    return Work(*map(sum, zip(_NOTHING, *works, strict=True)))


def _largest(works: Iterable[Work]) -> Work:
    return Work(*map(max, zip(_NOTHING, _NOTHING, *works, strict=True)))
