"""What can be wrong with a Redis, or with what it was asked."""

import re

# A script's error: Redis before 7 says first that there was one, and where.
_IN_A_SCRIPT = r"(?:ERR Error running script .*?@user_script: ?\d+: ?-?)?"
_AWAY = (
    "READONLY|OOM|MISCONF|NOREPLICAS|LOADING|BUSY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|MOVED|ASK|"
    "NOAUTH|WRONGPASS|NOPERM"
)
_is_away = re.compile(rf"{_IN_A_SCRIPT}(?:{_AWAY})\b", re.DOTALL).match


class RedisUnavailable(Exception):
    """Redis did not answer, or not in time, or not what it should."""


class RedisRefused(RedisUnavailable):
    """Redis is there, and would not carry out this one call."""


class UnsuitableRedis(Exception):
    """Redis is there, and the gateway can't work with it; the message says why."""


def means_away(reply: str) -> bool:
    """Whether an error tells of the state of Redis, and so fits whatever else it is asked."""
    return _is_away(reply) is not None
