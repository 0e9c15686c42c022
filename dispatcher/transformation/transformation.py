"""The transforms of one configuration, applied to requests before the call and to answers after it.

Those that match one exchange are applied one after the other, in the order of the file.
"""

import logging
from collections.abc import Callable, Sequence

import msgspec

from broker.messages import Envelope, Executed, Headers, Problem
from config.snapshot import Snapshot
from dispatcher.transformation.bodies import TransformFailed, Unreadable, Untouched
from dispatcher.transformation.coding import described, may_be_json
from dispatcher.transformation.fields import asking_for_all, of_changed_body
from dispatcher.transformation.plans import Compiled, Plans
from dispatcher.transformation.rules import Rules
from dispatcher.transformation.workshop import BodyWork, Workshop
from dispatcher.upstream import UpstreamResponse

logger = logging.getLogger(__name__)

OnEnded = Callable[[str, str], None]  # a transform's name; and applied, skipped or failed

_WITHOUT_BODY = frozenset((204, 304))


class Transformation:
    """All transforms of one snapshot. ``on_ended`` hears of each that was to be applied.

    ``workshop`` is where bodies are changed, the same from one snapshot to the next.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        transforms: Sequence[Compiled],
        workshop: Workshop,
        on_ended: OnEnded = lambda name, ended: None,
    ) -> None:
        self._plans = Plans(snapshot, transforms)
        self._workshop = workshop
        self._on_ended = on_ended

    async def request(self, envelope: Envelope) -> Envelope | Problem:
        """The request as the upstream shall get it, or why it can't."""
        plan = self._plans[envelope.route]
        matching = plan.matching(envelope)
        if not matching:
            return envelope
        rules = [each.request for each in matching if each.request is not None]
        bodies = [rule for rule in rules if rule.changes_body] if envelope.body else []
        try:
            headers, body = await self._applied(
                envelope, rules, bodies, envelope.headers, envelope.body, plan.max_request
            )
        except TransformFailed as failure:
            return self._problem(failure, envelope, "request", "no")
        if any(each.response is not None and each.response.changes_body for each in matching):
            headers = asking_for_all(headers)
        return msgspec.structs.replace(envelope, headers=headers, body=body)

    async def response(
        self, envelope: Envelope, response: UpstreamResponse
    ) -> UpstreamResponse | Problem:
        """The answer to the envelope as the client shall get it, or why it can't."""
        status = response.status
        plan = self._plans[envelope.route]
        found = [
            (each.response, each.matcher)
            for each in plan.matching(envelope)
            if each.response is not None and each.matcher.wants_fields_of(status)
        ]
        if not found:
            return response
        rules = [rule for rule, _ in found]
        bodies = []
        if (response.body or envelope.method == "HEAD") and status not in _WITHOUT_BODY:
            bodies = [
                rule
                for rule, matcher in found
                if rule.changes_body and matcher.wants_body_of(status)
            ]
        try:
            headers, body = await self._applied(
                envelope,
                rules,
                bodies,
                response.headers,
                response.body,
                plan.max_response,
                strict=True,
            )
        except TransformFailed as failure:
            return self._problem(failure, envelope, "response", "unknown")
        return UpstreamResponse(status, response.reason, headers, body)

    async def _applied(
        self,
        envelope: Envelope,
        rules: Sequence[Rules],
        bodies: Sequence[Rules],
        headers: Headers,
        body: bytes,
        limit: int,
        *,
        strict: bool = False,
    ) -> tuple[Headers, bytes]:
        """Fields changed by all rules, and the body by those for bodies, or neither.

        ``strict``: what calls itself JSON must be, as others may read what nobody here could, and
        find in it what was to be taken away.
        There is no body where a HEAD is answered; its fields are those of a changed one.
        """
        untouched = False
        if bodies:
            media_type, coding = described(headers)
            untouched = not may_be_json(media_type)
        if bodies and body and not untouched:
            try:
                work = BodyWork(body, coding, bodies, limit)
                body = await self._workshop.changed(work, envelope.service, envelope.deadline)
            except Untouched as reason:
                if strict and media_type and isinstance(reason, Unreadable):
                    words = "the body can't be read as JSON, which it is called"
                    raise TransformFailed(bodies[0].name, words) from reason
                untouched = True
        for rule in rules:
            if rule.fields:
                headers = rule.fields.apply(headers)
            if rule.fields or rule in bodies:
                self._on_ended(rule.name, "skipped" if untouched and rule in bodies else "applied")
        if bodies and not untouched:
            headers = of_changed_body(headers)
        return headers, body

    def _problem(
        self, failure: TransformFailed, envelope: Envelope, side: str, executed: Executed
    ) -> Problem:
        self._on_ended(failure.name, "failed")
        fields = {"request_id": envelope.id}
        logger.warning(
            "transform %s failed on the %s of route %s: %s",
            *(failure.name, side, envelope.route, failure),
            extra=fields,
        )
        detail = f"The transform {failure.name} could not be applied."
        return Problem(failure.problem_type.slug, detail, executed)
