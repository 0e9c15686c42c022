"""GCRA in the memory of a process, against a naive reference; and that it stays small."""

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from ingress.limits.allowance import Allowance, Charge
from ingress.limits.embedded import EmbeddedStore

MINUTE = 60_000_000  # microseconds


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


class Reference:
    """Virtual scheduling (ITU-T I.371) in exact fractions: when the next request is expected."""

    def __init__(self, per_minute: int, burst: int) -> None:
        self._interval = Fraction(MINUTE, per_minute)
        self._most = per_minute + burst
        self._tolerance = self._interval * self._most
        self._expected = Fraction(0)

    def wait(self, now: int, cost: int) -> Fraction:
        """Microseconds until a request would fit."""
        after = max(self._expected, Fraction(now)) + min(cost, self._most) * self._interval
        return max(Fraction(0), after - now - self._tolerance)

    def take(self, now: int, cost: int) -> None:
        """Make it."""
        taken = min(cost, self._most) * self._interval
        self._expected = max(self._expected, Fraction(now)) + taken


requests = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 3_000_000), st.sampled_from([0, 1, MINUTE])), st.integers(1, 4)
    ),
    max_size=60,
)
limits = st.lists(st.tuples(st.integers(1, 100), st.integers(0, 20)), min_size=1, max_size=3)


@settings(deadline=None)  # the machine may be busy
@given(limits, requests)
async def test_as_the_reference(
    allowances: list[tuple[int, int]], asked: list[tuple[int, int]]
) -> None:
    """Any requests at any times under any limits: admitted alike, and told to wait alike."""
    clock = Clock()
    store = EmbeddedStore(clock)
    references = [Reference(*numbers) for numbers in allowances]
    charges = [
        Charge(b"%d" % index, Allowance(b'"a"', *numbers))
        for index, numbers in enumerate(allowances)
    ]
    for pause, cost in asked:
        clock.now += pause
        waits = [reference.wait(clock.now, cost) for reference in references]
        outcome = await store.check(charges, cost)
        assert outcome.allowed == (max(waits) == 0)
        if outcome.allowed:
            for reference in references:
                reference.take(clock.now, cost)
        else:
            late = outcome.retry_after(cost) * 1_000_000 - float(max(waits))
            assert -0.001 < late < 1.001  # rounded up to a microsecond


@settings(deadline=None)  # the machine may be busy
@given(st.integers(1, 50), st.integers(0, 20), requests)
async def test_no_double_allowance(
    per_minute: int, burst: int, asked: list[tuple[int, int]]
) -> None:
    """Between any two moments, no more pass than the allowance and what drained meanwhile."""
    clock = Clock()
    store = EmbeddedStore(clock)
    charge = Charge(b"k", Allowance(b'"a"', per_minute, burst))
    passed = []
    for pause, _ in asked:
        clock.now += pause
        if (await store.check([charge])).allowed:
            passed.append(clock.now)
    for first in range(len(passed)):
        for last in range(first, len(passed)):
            drained = Fraction((passed[last] - passed[first]) * per_minute, MINUTE)
            assert last - first + 1 <= per_minute + burst + drained


async def test_what_has_drained_is_forgotten() -> None:
    """Any number of callers, one after the other, need the memory of those that count."""
    clock = Clock()
    store = EmbeddedStore(clock)
    allowance = Allowance(b'"a"', 60)
    for number in range(5_000):
        clock.now += 10_000  # what each has used is gone after a second: a hundred others
        await store.check([Charge(b"%d" % number, allowance)])
    assert len(store) <= 210


async def test_callers_that_count_are_kept() -> None:
    """Making room for others costs nobody what it has used, in whatever order they came."""
    clock = Clock()
    store = EmbeddedStore(clock)
    slow = Charge(b"slow", Allowance(b'"a"', 1))
    await store.check([slow])
    for number in range(1_000):
        clock.now += 10_000
        await store.check([Charge(b"%d" % number, Allowance(b'"a"', 6000))])
    assert not (await store.check([slow])).allowed


async def test_never_more_than_so_many() -> None:
    """A flood of callers that all count can't take more memory than it is given."""
    store = EmbeddedStore(Clock(), max_keys=100)
    allowance = Allowance(b'"a"', 1)
    for number in range(1_000):
        await store.check([Charge(b"%d" % number, allowance)])
    assert len(store) == 100
    assert not (await store.check([Charge(b"999", allowance)])).allowed
