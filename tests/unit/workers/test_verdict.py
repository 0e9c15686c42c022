"""Thresholds."""

import pytest

from config.models.services import HealthCheck
from workers.verdict import Verdict

CHECK = HealthCheck(healthy_threshold=2, unhealthy_threshold=3)


def verdicts(probes: str) -> str:
    """The verdict after each probe; ``+`` passed and healthy, ``-`` the opposite."""
    verdict = Verdict()
    said = ""
    for probe in probes:
        before = verdict.healthy
        changed = verdict.add(probe == "+", CHECK)
        assert changed == (verdict.healthy is not before)
        said += "+" if verdict.healthy else "-"
    return said


def test_nothing_is_known_before_the_first_probe() -> None:
    """It is neither healthy nor unhealthy."""
    assert Verdict().healthy is None


@pytest.mark.parametrize(
    ("probes", "expected"),
    [
        ("+", "+"),
        ("-", "-"),  # the first decides alone
        ("+--", "+++"),
        ("+---", "+++-"),  # three in a row turn it over
        ("+--+--+---", "+++++++++-"),  # one that passes begins the count anew
        ("-+", "--"),
        ("-++", "--+"),  # two in a row bring it back
        ("-+-++", "----+"),
        ("+---++---", "+++--+++-"),
    ],
)
def test_as_many_in_a_row_as_the_threshold_says(probes: str, expected: str) -> None:
    """The verdict turns over with the last probe of a row that is long enough, and no sooner."""
    assert verdicts(probes) == expected
