"""``python -m tests.integration.upstreams.fuzz --seconds 600``: the comparison of both clients.

Prints where they disagree, and the seed to see it again with; the exit status is 1 then.
"""

import argparse
import random
import sys
import time

import uvloop

from tests.integration.upstreams.comparing import disagreements
from tests.integration.upstreams.mutations import mutated

_BATCH = 500


async def fuzz(seed: int, seconds: float) -> int:
    """Compare until the time is over; how many answers were disagreed on."""
    chance, compared, found = random.Random(seed), 0, 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for line in await disagreements([mutated(chance) for _ in range(_BATCH)]):
            print(line, flush=True)
            found += 1
        compared += _BATCH
    print(f"seed {seed}: {compared} answers compared, {found} disagreed on")
    return found


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 2**32)
    options = parser.parse_args()
    sys.exit(1 if uvloop.run(fuzz(options.seed, options.seconds)) else 0)


if __name__ == "__main__":
    main()
