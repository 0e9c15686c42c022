"""Which templates are let in."""

import tracemalloc

import pytest

from config.templates import LONGEST, BadTemplate, parse_template


@pytest.mark.parametrize(
    "text",
    [
        "{{ first_name }} {{ last_name }}",
        "plain",
        "{{ a.b[0]['c'] }}",
        "{{ name|default('x')|upper }}",
        "{{ name.split(' ')[0] }}",
        "{% for x in items if x.id %}{{ loop.index }}{% else %}none{% endfor %}",
        "{% if a and not b %}{{ a ~ b }}{% elif c %}c{% else %}d{% endif %}",
        "{% set x = price * 2 %}{{ x if x > 3 else -x }}",
        "{# a note #}{% raw %}{{ as it is }}{% endraw %}",
        "{{ items|map(attribute='id')|join(', ') }}",
    ],
)
def test_the_language(text: str) -> None:
    """Expressions, if, for and set."""
    parse_template(text)


def test_nothing_is_worked_out() -> None:
    """What is constant costs nothing here, however large it would become."""
    tracemalloc.start()
    try:
        parse_template("{{ 'a' * 100000000 }}{{ 'a'|replace('a', 'b' * 100000000) }}")
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("{{ a", "Jinja2"),
        ("{{ a is nonsense }}", "nonsense"),
        ("{{ x ** y }}", "Pow"),
        ("{% macro m() %}{{ m() }}{% endmacro %}", "Macro"),
        ("{% include 'other' %}", "Include"),
        ("{% extends 'other' %}", "Extends"),
        ("{% import 'other' as o %}", "Import"),
        ("{% set x %}{{ a }}{% endset %}", "AssignBlock"),
        ("{% filter upper %}a{% endfilter %}", "FilterBlock"),
        ("{% block b %}{% endblock %}", "Block"),
        ("{% set a.b = 1 %}", "NSRef"),
        ("{% for x in y recursive %}{{ loop(x) }}{% endfor %}", "recursive"),
        ("{% for loop in x %}{% endfor %}", "loop"),
        ("{{ range(10) }}", "calls only"),
        ("{{ '{0}'.format(a) }}", "calls only"),
        ("{{ a['upper']() }}", "calls only"),
        ("{{ a|attr('b') }}", "filters"),
        ("{{ a|center(1000000000) }}", "filters"),
        ("{{ a|safe }}", "filters"),
        ("{{ self }}", "self"),
        ("{% for a in b %}" * 30 + "{% endfor %}" * 30, "nested"),
        ("{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}", "nested"),
        ("x" * (LONGEST + 1), "characters"),
    ],
)
def test_what_is_not_in_it(text: str, word: str) -> None:
    """Whatever hides output or repeats itself, unknown filters, any call but of a few methods."""
    with pytest.raises(BadTemplate, match=word):
        parse_template(text)
