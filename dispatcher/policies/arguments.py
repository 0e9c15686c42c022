"""Checks of the arguments that applications pass to the policies; each raises ValueError.

What is no number at all is refused in the same words: it would fail later, and say less.
"""

import math
from typing import Any


def check_counts(**counts: Any) -> None:
    """Whole numbers from 1."""
    for name, count in counts.items():
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise ValueError(f"{name} is {count!r}, and must be a whole number from 1")


def check_seconds(**times: Any) -> None:
    """Numbers above 0, and finite."""
    for name, seconds in times.items():
        if not _is_number(seconds) or not 0 < seconds < math.inf:  # which nan is not, either
            raise ValueError(
                f"{name} is {seconds!r}, and must be a finite number of seconds above 0"
            )


def check_parts(**parts: Any) -> None:
    """Parts of a whole, or None for those that are not asked for."""
    for name, part in parts.items():
        if part is not None and not (_is_number(part) and 0 < part <= 1):
            raise ValueError(f"{name} is {part!r}, and must be a number above 0 and at most 1")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
