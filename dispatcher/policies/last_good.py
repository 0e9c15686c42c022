"""The last good answers of a service, to be given again while it fails.

Only what may be shown to anybody is kept: answers to GET with status 200 that say
``Cache-Control: public``. The gateway can't know which field of a request an upstream takes for
identity (Authorization, a cookie, a key of its own), so nothing less than the upstream's word will
do; whatever speaks against keeping or against stale use wins over it (RFC 9111 sections 3, 4.2.4).
"""

import time
from collections import OrderedDict
from collections.abc import Callable

import msgspec

from broker.messages import Envelope, Headers
from config.models.services import LastGood
from dispatcher.upstream import UpstreamResponse

# s-maxage forbids stale use as proxy-revalidate does (RFC 9111 section 5.2.2.10).
_FORBIDDING = frozenset(
    {b"no-store", b"no-cache", b"private", b"must-revalidate", b"proxy-revalidate", b"s-maxage"}
)
_ANSWERED = frozenset({"GET", "HEAD"})
_CONDITIONS = frozenset({b"range", b"if-match", b"if-unmodified-since"})


class _Kept(msgspec.Struct, frozen=True, gc=False):
    """An answer, the fields of the request that it depends on, its size and when it came."""

    response: UpstreamResponse
    asked: tuple[tuple[bytes, tuple[bytes, ...]], ...]
    size: int
    at: float
    age: int


class LastGoodAnswers:
    """At most ``max_entries`` answers of ``max_bytes`` together; the least recently kept go first.

    One answer for each target: where it varies, that to the request that came last. ``clock`` gives
    seconds.
    """

    def __init__(self, options: LastGood, clock: Callable[[], float] = time.monotonic) -> None:
        self._options = options
        self._clock = clock
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._size = 0

    def keep(self, envelope: Envelope, response: UpstreamResponse) -> None:
        """Remember an answer, if that may be done."""
        if envelope.method != "GET" or response.status != 200:
            return
        control = _members(response.headers, b"cache-control")
        vary = _members(response.headers, b"vary")
        self._drop(envelope.target)
        if b"public" not in control or control & _FORBIDDING or b"*" in vary:
            return
        if _values(response.headers, b"set-cookie"):
            return  # it makes its receiver somebody
        asked = tuple((name, _values(envelope.headers, name)) for name in vary)
        size = _size(envelope.target, response)
        if size > self._options.max_bytes:
            return
        age = _age(response.headers)
        self._kept[envelope.target] = _Kept(response, asked, size, self._clock(), age)
        self._size += size
        while self._size > self._options.max_bytes or len(self._kept) > self._options.max_entries:
            self._drop(next(iter(self._kept)))

    def find(self, envelope: Envelope) -> UpstreamResponse | None:
        """The answer to such a request, with its Age in seconds; None if none is young enough.

        To a HEAD, it is the one to a GET without its body (RFC 9110 section 9.3.2).
        """
        kept = self._kept.get(envelope.target) if envelope.method in _ANSWERED else None
        if kept is None or any(name.lower() in _CONDITIONS for name, _ in envelope.headers):
            return None
        age = self._clock() - kept.at
        if age > self._options.max_age:
            self._drop(envelope.target)
            return None
        if any(_values(envelope.headers, name) != values for name, values in kept.asked):
            return None
        fields = tuple(pair for pair in kept.response.headers if pair[0].lower() != b"age")
        headers = (*fields, (b"Age", b"%d" % (kept.age + age)))
        if envelope.method == "HEAD":
            length = (b"Content-Length", b"%d" % len(kept.response.body))
            return msgspec.structs.replace(kept.response, headers=(*headers, length), body=b"")
        return msgspec.structs.replace(kept.response, headers=headers)

    def _drop(self, target: str) -> None:
        gone = self._kept.pop(target, None)
        if gone is not None:
            self._size -= gone.size


def _values(headers: Headers, name: bytes) -> tuple[bytes, ...]:
    return tuple(value for key, value in headers if key.lower() == name)


def _members(headers: Headers, name: bytes) -> set[bytes]:
    """The members of a list field in lower case, without the arguments of directives."""
    members = b",".join(_values(headers, name)).lower().split(b",")
    return {member.partition(b"=")[0].strip() for member in members} - {b""}


def _age(headers: Headers) -> int:
    value = (*_values(headers, b"age"), b"")[0]
    return int(value) if value.isdigit() and len(value) < 10 else 0


def _size(target: str, response: UpstreamResponse) -> int:
    fields = sum(len(name) + len(value) for name, value in response.headers)
    return len(target) + len(response.body) + fields
