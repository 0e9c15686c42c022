"""Rows that take turns: round after round, each started alone, measured and stopped again."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from bench.install import NotInstallableError

Result = TypeVar("Result")


@dataclass
class Outcome(Generic[Result]):
    """Results of each row, one for each round; who was left out, and who failed."""

    results: dict[str, list[Result]] = field(default_factory=lambda: defaultdict(list))
    left_out: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def medians(self, rate: Callable[[Result], float]) -> dict[str, Result]:
        """The run of median rate of each row; of the two in the middle, the slower."""
        return {
            row: sorted(results, key=rate)[(len(results) - 1) // 2]
            for row, results in self.results.items()
        }

    @property
    def notes(self) -> list[str]:
        """A sentence for each row that is left out."""
        return [f"left out: {row}: {reason}" for row, reason in self.left_out.items()]

    @property
    def failures(self) -> list[str]:
        """A sentence for each row that failed."""
        return [f"{row}: {reason}" for row, reason in self.failed.items()]


def take_turns(rows: Sequence[str], rounds: int, turn: Callable[[str], Result]) -> Outcome[Result]:
    """Give every row its turn, ``rounds`` times; a row that fails has no further turns."""
    outcome: Outcome[Result] = Outcome()
    for number in range(rounds):
        for row in rows:
            if row in outcome.left_out or row in outcome.failed:
                continue
            print(f"... {row} ({number + 1}/{rounds})", flush=True)
            try:
                result = turn(row)
            except NotInstallableError as reason:
                outcome.left_out[row] = str(reason)
            except Exception as error:  # whatever it is, the other rows still count
                outcome.failed[row] = f"{type(error).__name__}: {error}"
            else:
                outcome.results[row].append(result)
    return outcome
