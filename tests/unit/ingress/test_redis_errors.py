"""Which errors of Redis tell of its state, and which of one call only."""

import pytest

from ingress.redis_errors import means_away

OLD = "ERR Error running script (call to f_0a): @user_script:3: "  # before Redis 7


@pytest.mark.parametrize(
    "reply",
    [
        "READONLY You can't write against a read only replica.",
        "OOM command not allowed when used memory > 'maxmemory'.",
        "MISCONF Redis is configured to save RDB snapshots",
        "LOADING Redis is loading the dataset in memory",
        "NOAUTH Authentication required.",
        "NOPERM this user has no permissions to run the 'evalsha' command",
        "MASTERDOWN Link with MASTER is down",
        "CLUSTERDOWN The cluster is down",
        "MOVED 1 127.0.0.1:7001",
        "BUSY Redis is busy running a script.",
        OLD + "-READONLY You can't write against a read only replica.",
        OLD.replace(":3", ": 3") + "OOM command not allowed",
    ],
)
def test_away(reply: str) -> None:
    """What would be answered to any other call, too."""
    assert means_away(reply)


@pytest.mark.parametrize(
    "reply",
    [
        "WRONGTYPE Operation against a key holding the wrong kind of value",
        "CROSSSLOT Keys in request don't hash to the same slot",
        "ERR unknown command 'X'",
        "ERR user_script:22: data string too short script: 0a",
        "BUSYGROUP Consumer Group name already exists",
        "ERR READONLY is only mentioned",
        OLD + "-WRONGTYPE Operation against a key holding the wrong kind of value",
    ],
)
def test_of_one_call(reply: str) -> None:
    """What is the matter with this one."""
    assert not means_away(reply)
