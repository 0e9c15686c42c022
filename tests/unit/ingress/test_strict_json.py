"""Bodies that can be read in one way only."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingress.strict_json import (
    MAX_DEPTH,
    Alike,
    NotStrict,
    Numbers,
    count_alike,
    count_numbers,
    read_json,
)

# By the names of JSONTestSuite: y is what every reader takes, n what none may take, i what some do.
ACCEPTED = {
    "y_number": b"[-0, 0e+1, 1E22, -1.5e-3, 123456789012345678901234567890]",
    "y_numbers_at_their_bounds": b"[1e99, -1.5E-99, 1e+99, 8e-07, 0." + b"3" * 38 + b"]",
    "y_integer_of_128_bits": b"[-%d]" % 2**128,
    "y_numbers_in_strings": b'{"1e300":"1e300","a":"\\"' + b"9" * 50 + b'"}',
    "y_string": b'["\\u0061\\/\\b", "\\uD83D\\uDE00", "\\u0000", "\x7f", "\xe2\x80\xa8"]',
    "y_space": b' \t\r\n{ "a" : [ ] } \n',
    "y_lonely": b"null",
    "y_empty_key": b'{"":0}',
    "y_colons_in_strings": b'{"a:b":":","c":"\\":"}',
    "y_backslashes": b'{"a\\\\":1,"b\\\\\\"":":"}',
    "y_same_key_elsewhere": b'{"a":{"a":1},"b":[{"a":1},{"a":2}]}',
    "y_keys_that_differ_in_case": b'{"a":1,"A":2}',
}
REFUSED = {
    "n_empty": b"",
    "n_space": b" ",
    "n_nan": b"[NaN]",
    "n_infinity": b"-Infinity",
    "n_number_zero_first": b"[-01]",
    "n_number_plus": b"+1",
    "n_number_hex": b"0x1",
    "n_number_dot": b"[1.]",
    "n_number_underscore": b"1_0",
    "n_number_full_width": "\uff11".encode(),
    "n_trailing_comma": b"[1,]",
    "n_trailing_comma_object": b'{"a":1,}',
    "n_trailing_value": b"1 2",
    "n_trailing_nul": b"1\x00",
    "n_comment": b"[1] // a",
    "n_single_quotes": b"{'a':1}",
    "n_unquoted_key": b"{a:1}",
    "n_number_key": b"{1:1}",
    "n_unclosed": b'[{"a":1}',
    "n_unclosed_string": b'["a',
    "n_closed_wrongly": b"[1}",
    "n_control": b'["\x01"]',
    "n_newline": b'["\n"]',
    "n_escape": b'["\\x41"]',
    "n_escape_end": b'["\\"]',
    "n_form_feed": b"\x0c1",
    "n_no_break_space": "\u00a01".encode(),
    "i_bom": b"\xef\xbb\xbf{}",
    "i_utf16": '{"a":1}'.encode("utf-16"),
    "i_utf16_without_bom": '{"a":1}'.encode("utf-16-le"),
    "i_latin1": b'["\xe9"]',
    "i_overlong": b'["\xc0\xaf"]',
    "i_surrogate_bytes": b'["\xed\xa0\x80"]',
    "i_invalid_utf8_key": b'{"\xff":1}',
    "i_lone_surrogate": b'["\\ud800"]',
    "i_lone_low_surrogate": b'["\\udc00"]',
    "i_swapped_surrogates": b'["\\udc00\\ud800"]',
    "i_lone_surrogate_key": b'{"\\ud800":1}',
    "i_huge_number": b"1e300",
    "i_huge_negative": b"-1E+300",
    "i_tiny_number": b"[5e-324]",
    "i_underflow": b"1e-400",
    "i_exponent_of_zeros": b"1e000",
    "i_long_integer": b"9" * 41,
    "i_long_fraction": b"[0." + b"0" * 38 + b"1]",
    "i_twice": b'{"a":1,"a":2}',
    "i_twice_the_same": b'{"a":1,"a":1}',
    "i_twice_escaped": b'{"admin":false,"\\u0061dmin":true}',
    "i_twice_deep": b'[[{"a":{"b":[{"c":1,"d":2,"c":3}]}}]]',
    "i_twice_hidden_by_the_other": b'{"a":{"b":1,"b":2},"a":1}',
    "i_twice_empty": b'{"":1,"":2}',
    "i_twice_behind_spaces": b'{"a" :1,\n"a"\t: 2}',
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted(name: str) -> None:
    """JSON on which all readers agree has the value that everybody reads."""
    value, most = read_json(ACCEPTED[name])
    assert value == json.loads(ACCEPTED[name])
    assert most >= 1


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    """What no reader may take, or some read otherwise than others, is refused."""
    with pytest.raises(NotStrict):
        read_json(REFUSED[name])


def test_a_repeated_key_is_named() -> None:
    """In a text of usual length, and so that it can be shown."""
    with pytest.raises(NotStrict, match="has the key 'b\\\\n' twice"):
        read_json(b'{"a":{"b\\n":1,"\\u0062\\n":2}}')
    long = b'{"a":1,"a":"' + b"x" * 70_000 + b'"}'
    with pytest.raises(NotStrict, match="has a key twice"):
        read_json(long)


@pytest.mark.parametrize(
    ("number", "limit"),
    [
        (b"1e300", "exponent of more than two digits"),
        (b"5e-324", "exponent of more than two digits"),
        (b"1" * 41, "more than 40 digits"),
        (b"1e23", "more than 100000 numbers with an exponent"),
        (b"[]", "more than 100000 arrays and objects"),
    ],
)
def test_slow_texts_are_refused_before_parsing(number: bytes, limit: str) -> None:
    """Whatever takes long to read; even a text that is broken is refused for that, and told so."""
    with pytest.raises(NotStrict, match=limit):
        read_json(b"[" + b",".join([number] * 260_000) + b"}")


def test_numbers_are_counted() -> None:
    """Each kind of them, outside of strings, with whatever space there is."""
    text = (
        b'{"1, 2":[1,-22,\t3 ], "a" : 4,"b":0.5,"c":[-7.5e3,1E-9],"d":"9","e":12345678901234567890}'
    )
    assert count_numbers(text) == Numbers(integers=8, decimals=2, extremes=3)
    assert count_numbers(b"7") == Numbers(1, 0, 0)


def test_numbers_that_are_one_double() -> None:
    """Count where they differ, as often as they occur, however they are written."""
    same = b"[100000000000000000,100000000000000001, 100000000000000000,-100000000000000000,1e17,7]"
    assert count_alike(same) == Alike(numbers=4, most=4)
    assert count_alike(b"[9007199254740992.0,9007199254740993,1e19,10000000000000000001]") == (4, 2)
    assert count_alike(b"[100000000000000000" + b",100000000000000000" * 9 + b"]") == Alike(0, 0)
    assert count_alike(b'["100000000000000000",100000000000000001,0.12345678901234567]') == (0, 0)


@pytest.mark.parametrize(
    ("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"[":', b"}]")]
)
def test_depth(opening: bytes, closing: bytes) -> None:
    """As deep as allowed passes, one more does not, however it is written."""
    levels = opening.count(b"{") + opening.replace(b'"["', b"").count(b"[")
    most = MAX_DEPTH // levels
    assert read_json(opening * most + b"0" + closing * most)
    with pytest.raises(NotStrict, match="more than 100"):
        read_json(opening * (most + 1) + b"0" + closing * (most + 1))


@pytest.mark.parametrize(
    "text",
    [b"[" * 1_000_000, b'{"a":' * 100_000, b"[" * 10_000 + b"]" * 10_000, b'["\\\\",' * 10_000],
)
def test_depth_is_seen_before_parsing(text: bytes) -> None:
    """Whether such a text ends well or not: it is too deep."""
    with pytest.raises(NotStrict, match="more than 100"):
        read_json(text)


def test_brackets_in_strings_have_no_depth() -> None:
    """Nor have many containers beside each other."""
    text = json.dumps(["[" * 200, '\\"[' * 200, *([[{}]] * 200)]).encode()
    assert read_json(text)[0] == json.loads(text)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**40) + 1, 10**40 - 1)
    | st.floats(-1e99, 1e99).filter(lambda number: number == 0 or abs(number) > 1e-99)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), inner, max_size=5)
    ),
    max_leaves=30,
)


@given(values, st.booleans())
def test_whatever_json_says_is_read(value: Any, plain: bool) -> None:
    """Any value comes back, and the count of values is not below the true one."""
    read, most = read_json(json.dumps(value, ensure_ascii=plain).encode())
    assert read == value
    assert most >= count(value)


def count(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(count(each) for each in inner)


@given(st.text(st.sampled_from('{}[]":,\\ua01e.-tn \n'), max_size=30))
def test_nothing_else_gets_through(text: str) -> None:
    """Of texts that are almost JSON, all are refused that another strict reader refuses."""
    try:
        value, _ = read_json(text.encode())
    except NotStrict:
        return
    assert json.loads(text, object_pairs_hook=each_once) == value


def each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)
