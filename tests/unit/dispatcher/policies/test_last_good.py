"""Which answers are kept for bad times, and to whom they are given."""

from typing import Any

import pytest

from config.models.services import LastGood
from dispatcher.policies.last_good import LastGoodAnswers
from dispatcher.upstream import UpstreamResponse
from tests.unit.dispatcher.doubles import Clock, envelope, post

Pair = tuple[bytes, bytes]
PUBLIC = (b"Cache-Control", b"public, max-age=5")


def answer(*headers: Pair, body: bytes = b"ok", status: int = 200) -> UpstreamResponse:
    return UpstreamResponse(status, b"OK", headers, body)


def kept(response: UpstreamResponse, **request: Any) -> bool:
    """Whether the answer to such a request is kept."""
    answers = LastGoodAnswers(LastGood(), Clock())
    answers.keep(envelope(**request), response)
    return answers.find(envelope()) is not None


def test_an_answer_comes_back_with_its_age() -> None:
    """All is as it was, but for Age, which adds what it had."""
    clock = Clock()
    answers = LastGoodAnswers(LastGood(), clock)
    answers.keep(envelope(), answer((b"X", b"1"), PUBLIC, (b"age", b"30")))
    clock.now += 12.5

    assert answers.find(envelope()) == answer((b"X", b"1"), PUBLIC, (b"Age", b"42"))
    assert answers.find(envelope(target="/users?x=2")) is None


def test_a_head_gets_what_a_get_would_but_the_body() -> None:
    """The length, too, as it says what a GET would get; under the same conditions."""
    answers = LastGoodAnswers(LastGood(), Clock())
    answers.keep(envelope(), answer(PUBLIC, (b"Vary", b"Accept"), body=b"12345"))

    age, length = (b"Age", b"0"), (b"Content-Length", b"5")
    assert answers.find(envelope(method="HEAD")) == answer(
        PUBLIC, (b"Vary", b"Accept"), age, length, body=b""
    )
    assert answers.find(envelope(method="HEAD", headers=((b"Accept", b"a/b"),))) is None
    found = answers.find(envelope())
    assert found is not None
    assert found.body == b"12345"


@pytest.mark.parametrize(
    "headers",
    [
        (),
        ((b"Cache-Control", b"max-age=600"),),
        ((b"Cache-Control", b"private"),),
        (PUBLIC, (b"cache-control", b"no-store")),
        ((b"Cache-Control", b"public, NO-CACHE"),),
        ((b"Cache-Control", b'public, private="x-user"'),),
        ((b"Cache-Control", b"public, must-revalidate"),),
        ((b"Cache-Control", b"public, proxy-revalidate"),),
        ((b"Cache-Control", b"public, s-maxage=60"),),
        ((b"Cache-Control", b"republic"),),
        (PUBLIC, (b"Vary", b"*")),
        (PUBLIC, (b"Set-Cookie", b"session=1")),
    ],
)
def test_what_is_not_for_everybody_is_not_kept(headers: tuple[Pair, ...]) -> None:
    """Only the upstream's own word makes an answer public, and a word against it is stronger."""
    assert not kept(answer(*headers))


def test_only_get_and_only_200() -> None:
    """Other methods and statuses are no good answers to anybody else."""
    assert kept(answer(PUBLIC))
    assert not kept(answer(PUBLIC), method="HEAD")
    assert not kept(answer(PUBLIC), method="POST")
    assert not kept(answer(PUBLIC, status=206))
    assert not kept(answer(PUBLIC, status=404))
    answers = LastGoodAnswers(LastGood(), Clock())
    answers.keep(envelope(), answer(PUBLIC))
    assert answers.find(post()) is None


def test_a_newer_answer_takes_the_place_of_an_older() -> None:
    """Also one that may not be kept: the older is not the last good one any more."""
    answers = LastGoodAnswers(LastGood(), Clock())
    answers.keep(envelope(), answer(PUBLIC, body=b"1"))
    answers.keep(envelope(), answer(PUBLIC, body=b"2"))
    found = answers.find(envelope())
    assert found is not None
    assert found.body == b"2"

    answers.keep(envelope(), answer((b"Cache-Control", b"private")))

    assert answers.find(envelope()) is None


def test_vary() -> None:
    """An answer that depends on a field of its request is given to those that say the same."""
    answers = LastGoodAnswers(LastGood(), Clock())
    german = ((b"Accept-Language", b"de"), (b"Accept", b"*/*"))
    answers.keep(envelope(headers=german), answer(PUBLIC, (b"Vary", b"accept-language, X-A")))

    assert answers.find(envelope(headers=((b"accept-language", b"de"),))) is not None
    assert answers.find(envelope(headers=((b"Accept-Language", b"fr"),))) is None
    assert answers.find(envelope(headers=(*german, (b"X-A", b"1")))) is None
    assert answers.find(envelope(headers=())) is None


@pytest.mark.parametrize("name", [b"Range", b"if-match", b"If-Unmodified-Since"])
def test_conditions_are_not_answered(name: bytes) -> None:
    """Who asks for a part, or under a condition, is not given the whole without it."""
    answers = LastGoodAnswers(LastGood(), Clock())
    answers.keep(envelope(), answer(PUBLIC))

    assert answers.find(envelope(headers=((name, b"x"),))) is None


def test_too_old() -> None:
    """What is older than max_age is forgotten."""
    clock = Clock()
    answers = LastGoodAnswers(LastGood(max_age=60.0), clock)
    answers.keep(envelope(), answer(PUBLIC))
    clock.now += 60.0
    assert answers.find(envelope()) is not None
    clock.now += 0.1

    assert answers.find(envelope()) is None
    assert answers._size == 0


def found(answers: LastGoodAnswers, count: int) -> list[int]:
    return [n for n in range(count) if answers.find(envelope(target=f"/{n}")) is not None]


def test_bounds() -> None:
    """Neither more answers than max_entries nor more bytes than max_bytes; the oldest go first."""
    few = LastGoodAnswers(LastGood(max_entries=2), Clock())
    small = LastGoodAnswers(LastGood(max_bytes=2_500), Clock())
    for number in range(4):
        few.keep(envelope(target=f"/{number}"), answer(PUBLIC))
        small.keep(envelope(target=f"/{number}"), answer(PUBLIC, body=bytes(1_000)))
    small.keep(envelope(target="/large"), answer(PUBLIC, body=bytes(2_500)))

    assert found(few, 4) == [2, 3]
    assert found(small, 4) == [2, 3]
    assert small.find(envelope(target="/large")) is None
    assert small._size <= 2_500


def test_the_count_of_bytes_stays_true() -> None:
    """Replacing answers again and again neither fills nor empties it."""
    answers = LastGoodAnswers(LastGood(), Clock())
    for number in range(100):
        answers.keep(envelope(target=f"/{number % 3}"), answer(PUBLIC, body=bytes(number)))

    sizes = [kept.size for kept in answers._kept.values()]
    assert answers._size == sum(sizes)
    assert len(sizes) == 3
