"""Templates at work: what they can do, and what they can't reach, make or take."""

import os
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2.exceptions import UndefinedError

from config.templates import BadTemplate
from dispatcher.transformation.budget import Budget, TooMuchWork
from dispatcher.transformation.documents import decode
from dispatcher.transformation.sandbox import Sandbox

PAYLOADS = Path(os.environ.get("CASES_DIR", "../shared/cases")) / "template-injection.txt"
SANDBOX = Sandbox()
DATA: Any = decode(
    b'{"name":"Ada","price":1.10,"none":null,"yes":true,"big":12345678901234567890123,'
    b'"tags":["x","y"],"order":{"items":5,"id":7},"users":[{"id":1},{"id":2}]}'
)
LONG = {"long": list(range(1000)), "s": "x" * 1000}


def filled(text: str, data: dict[str, Any] = DATA, budget: Budget | None = None) -> str:
    return SANDBOX.template(text)(data, budget or Budget(60, 1_000_000))


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("Hello {{ name }}", "Hello Ada"),
        ("{{ price }} {{ none }} {{ yes }} {{ tags }}", '1.10 null true ["x","y"]'),
        ("{{ name ~ ' ' ~ yes }}", "Ada true"),
        (
            "{{ price * 2 }} {{ big + 1 }} {{ 7 // 2 }} {{ 7 % 4 }}",
            "2.2 12345678901234567890124 3 3",
        ),
        ("{{ name + '!' }}", "Ada!"),
        ("{{ order.id }} {{ order['id'] }} {{ tags[1] }} {{ tags[-1:] }}", '7 7 y ["y"]'),
        ("{{ order.items }}", "5"),
        ("{{ order.keys() }} {{ order.get('x', 'none') }}", '["items","id"] none'),
        ("{{ name.upper() }} {{ name|lower }} {{ 'a b'.split(' ')[1] }}", "ADA ada b"),
        ("{{ users|map(attribute='id')|join(', ') }}", "1, 2"),
        ("{{ users|sum(attribute='id') }} {{ tags|length }}", "3 2"),
        ("{{ users|join('-', attribute='id') }}", "1-2"),
        ("{{ users|map(attribute='id') }}", "[1,2]"),
        ("{{ missing|default('x') }} {{ missing.deep['er']|default('y') }}", "x y"),
        ("{% for t in tags %}{{ loop.index }}/{{ loop.length }}{{ t }} {% endfor %}", "1/2x 2/2y "),
        ("{% for t in [] %}{% else %}none{% endfor %}", "none"),
        ("{% for t in tags %}{{ t.upper() }}{% endfor %}", "XY"),
        ("{{ 'some' if missing is defined else 'no' }}", "no"),
        ("{% set twice = price * 2 %}{{ twice|round|int }}", "2"),
        (
            "{{ 'a-b'|replace('-', '+') }} {{ 1.556|round(2) }} {{ price|string|length }}",
            "a+b 1.56 4",
        ),
        ("<b>{{ '<&>' }}</b>", "<b><&></b>"),
        ("a\n", "a"),
    ],
)
def test_what_templates_make(text: str, result: str) -> None:
    """Text as it is, nothing escaped for HTML, all else as JSON."""
    assert filled(text) == result


@pytest.mark.parametrize(
    "text", ["{{ missing }}", "{{ order.x.y }}", "{{ tags[9] }}", "{{ missing + 1 }}"]
)
def test_a_missing_field_is_an_error(text: str) -> None:
    """Rather than an empty text that nobody notices."""
    with pytest.raises(UndefinedError):
        filled(text)


@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__ }}",
        "{{ ''['__class__'] }}",
        "{{ tags['append'] }}",
        "{{ name.format }}",
        "{{ name.format_map }}",
        "{{ name.join }}",
        "{{ order.update }}",
        "{{ users|map(attribute='__class__')|list }}",
        "{{ tags|join(attribute='__class__') }}",
        "{{ users|sum(attribute='__class__.__mro__') }}",
        "{{ tags|map('attr', '__class__')|list }}",
        "{{ tags|map('format')|list }}",
        "{% for t in tags %}{{ loop.__class__ }}{% endfor %}",
        "{% for t in tags %}{{ loop._iterable }}{% endfor %}",
        "{% for t in tags %}{{ loop }}{% endfor %}",
        "{{ name.upper }}",
        "{{ environment }}{{ context }}{{ lipsum }}{{ cycler }}{{ namespace }}{{ range }}",
    ],
)
def test_there_is_no_way_out(text: str) -> None:
    """No attribute of Python's, no function of Jinja2's, no method that hands on others."""
    with pytest.raises(Exception, match=r"attribute|undefined|no element|filter|no JSON"):
        filled(text)


@pytest.mark.parametrize(
    "text",
    [
        "{{ 'a' * 1000000000 }}",
        "{{ tags * 1000000000 }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ tags + tags }}",
        "{{ 5|round(1000000000) }}",
        "{{ 5|round(-1000000000) }}",
        "{{ 5|round(1000000000, 'floor') }}",
        "{% set x = big %}" + "{% set x = x * x %}" * 40 + "{{ x }}",
        "{{ [[1], [2]]|sum }}",
        "{{ 1e308 * 10 }}",
    ],
)
def test_no_operation_makes_more_than_it_got(text: str) -> None:
    """Arithmetic is for numbers of a sane size."""
    with pytest.raises((TypeError, ValueError, OverflowError)):
        filled(text)


@pytest.mark.parametrize(
    "text",
    [
        "{% set x = s %}" + "{% set x = x ~ x %}" * 40 + "{{ x }}",
        "{% set x = s %}" + "{% set x = x + x %}" * 40 + "{{ x }}",
        "{{ long|join(long|join) }}",
        "{{ s|replace('x', s) }}",
        "{{ s|replace('', s) }}",
        "{% for a in long %}{% for b in long %}{{ s }}{% endfor %}{% endfor %}",
        "{{ long|map('replace', '1', s)|map('replace', 'x', s)|list }}",
    ],
)
def test_the_text_made_is_bounded(text: str) -> None:
    """In the output and on the way to it, a million characters here."""
    with pytest.raises(TooMuchWork, match="text"):
        filled(text, LONG)


@pytest.mark.parametrize(
    "text",
    [
        "{% for a in long %}{% for b in long %}{% endfor %}{% endfor %}",
        "{% for a in long if a > 2000 %}{% endfor %}",
        "{{ long|sum }}",
        "{{ long|join }}",
        "{% for a in s %}{{ s.count('x') }}{% endfor %}",
        "{{ s.count('x') }}" * 150,
        "{{ " + "+".join(["1"] * 150) + " }}",
        "{{ " + " ~ ".join(["s.upper()"] * 150) + " }}",
    ],
)
def test_the_time_taken_is_bounded(text: str) -> None:
    """Loops, calls and operations look at the clock; here it moves on by one at each look."""
    budget = Budget(100, 1_000_000, map(float, count(1)).__next__)
    with pytest.raises(TooMuchWork, match="100 s"):
        filled(text, LONG, budget)


@given(st.text() | st.just("{{ 7*7 }}") | st.just("{% for x in y %}"))
def test_data_is_never_interpreted(value: str) -> None:
    """Whatever the data says comes out as text, letter by letter."""
    assert filled("{{ value }}", {"value": value}) == value


def test_what_a_template_sets_is_gone_afterwards() -> None:
    """Neither the data nor the next use sees it."""
    template = SANDBOX.template("{{ seen|default('new') }}{% set seen = 'old' %}")
    data: dict[str, Any] = {}
    assert [template(data, Budget(60, 100)) for _ in range(2)] == ["new", "new"]
    assert data == {}


def payloads() -> list[str]:
    return PAYLOADS.read_text(encoding="utf-8").splitlines() if PAYLOADS.exists() else []


@pytest.mark.skipif(not PAYLOADS.exists(), reason=f"no {PAYLOADS}: set CASES_DIR")
def test_public_payloads_as_data() -> None:
    """Each comes out as it went in."""
    for payload in payloads():
        assert filled("{{ value }}", {"value": payload}) == payload
        assert filled("{{ value|upper|lower }}", {"value": payload}) == payload.upper().lower()


@pytest.mark.skipif(not PAYLOADS.exists(), reason=f"no {PAYLOADS}: set CASES_DIR")
def test_public_payloads_as_templates() -> None:
    """Each is refused, fails, stays as it is, or does harmless sums."""
    sums = {"{{4*4}}[[5*5]]": "16[[5*5]]", "{{7*7}}": "49", "${{7*7}}": "$49", "{{ 7*7 }}": "49"}
    for payload in payloads():
        data: dict[str, Any] = {name: {} for name in ("request", "config", "app", "self", "x")}
        try:
            result = filled(payload, data)
        except (BadTemplate, UndefinedError, TypeError):
            continue
        assert result in (payload, sums.get(payload), "{}", "[]"), payload


def test_a_key_from_the_data_is_not_told() -> None:
    """The words of an error go to the log, which must not have what bodies hold."""
    with pytest.raises(UndefinedError, match="dict has no element there") as caught:
        filled("{{ order[name] }}")
    assert "Ada" not in str(caught.value)
