"""How long a client is ready to wait."""

import re

from broker.problems import ProblemType
from ingress.problems import Refused
from ingress.request import HeaderLookup

# The preference `wait`, whole seconds (RFC 7240 section 4.3), among others.
_wait = re.compile(
    r'(?:^|,)[ \t]*wait[ \t]*=[ \t]*"?(\d{1,9})"?[ \t]*(?:[;,]|$)', re.I | re.A
).search
_seconds = re.compile(r"\d{1,9}(?:\.\d{1,9})?", re.ASCII).fullmatch


def timeout_for(headers: HeaderLookup, limit: float) -> float:
    """Seconds until the answer must be there: the least of ``limit`` and what the client asks for.

    It asks with ``Prefer: wait=`` or ``X-Request-Timeout``, in seconds. A preference that can't
    be read is ignored, as the RFC has it; a timeout that can't be read raises Refused (400).
    """
    timeout = limit
    if (prefer := headers.get("Prefer")) is not None and (wait := _wait(prefer)):
        timeout = min(timeout, float(wait[1]))
    if (given := headers.get("X-Request-Timeout")) is not None:
        if _seconds(given) is None:
            raise Refused(ProblemType.BAD_REQUEST, "X-Request-Timeout must be a number of seconds.")
        timeout = min(timeout, float(given))
    return timeout
