"""A request under limits that a Redis Cluster does not keep in one slot.

All that is counted for a caller has the hash tag of its home, and so has its session. A rule by
address or header counts across callers and has a tag of its own: in a cluster no script call may
have both. So each tag has a call of its own, all of them in one write; if one of them refuses, what
the others have counted is given back. Until then, for one round trip, it is taken: another request
may be refused that would have fitted, but none is admitted that does not.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from ingress.identity.session_store import SessionRef
from ingress.limits.allowance import Charge
from ingress.limits.keys import tag_of
from ingress.limits.redis_scripts import check_command, give_back_command
from ingress.redis_link import RedisLink


@dataclass(slots=True)
class _Part:
    """What has one tag; ``at`` are the places of its charges among all of a request."""

    at: list[int] = field(default_factory=list)
    charges: list[Charge] = field(default_factory=list)
    session: SessionRef | None = None


async def check_by_tag(
    link: RedisLink, charges: Sequence[Charge], cost: int, session: SessionRef | None
) -> list[int]:
    """What CHECK answers, for charges of any tags. Raises RedisUnavailable."""
    parts = _parts(charges, session)
    calls = [link.call(check_command(part.charges, cost, part.session)) for part in parts]
    replies: list[list[int] | BaseException] = await asyncio.gather(*calls, return_exceptions=True)
    answers = [reply for reply in replies if not isinstance(reply, BaseException)]
    if len(answers) < len(parts) or any(answer[0] < 1 for answer in answers):
        for part, reply in zip(parts, replies, strict=True):
            if part.charges and not isinstance(reply, BaseException) and reply[0] == 1:
                reply[1:] = await link.call(give_back_command(part.charges, cost))
    for reply in replies:
        if isinstance(reply, BaseException):
            raise reply
    return _merged(parts, answers)


def _parts(charges: Sequence[Charge], session: SessionRef | None) -> list[_Part]:
    parts: dict[bytes, _Part] = {}
    for index, charge in enumerate(charges):
        part = parts.setdefault(tag_of(charge.key), _Part())
        part.at.append(index)
        part.charges.append(charge)
    if session is not None:
        parts.setdefault(tag_of(session.owner.key), _Part()).session = session
    return list(parts.values())


def _merged(parts: Sequence[_Part], answers: Sequence[Sequence[int]]) -> list[int]:
    """One answer, with the levels at the places of their charges; none if the session is over."""
    allowed = min(answer[0] for answer in answers)
    if allowed < 0:
        return [allowed]
    levels: dict[int, int] = {}
    for part, (_, *of_part) in zip(parts, answers, strict=True):
        levels.update(zip(part.at, of_part, strict=True))
    return [allowed, *(levels[index] for index in range(len(levels)))]
