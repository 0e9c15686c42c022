"""Slow start: an instance that returns, or joins others, gets its full share only by and by.

Its caches are cold and its connections are yet to be opened. The ramp is linear and begins at a
tenth, as in Envoy's slow start mode (aggression 1, min_weight_percent 10):
https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/slow_start
"""

WINDOW = 30.0  # seconds
STEP = WINDOW / 100  # seconds between two looks at the ramp
_LEAST = 0.1


def factor(elapsed: float) -> float:
    """The part of its weight that an instance has, ``elapsed`` seconds after its return."""
    return min(1.0, max(_LEAST, elapsed / WINDOW))
