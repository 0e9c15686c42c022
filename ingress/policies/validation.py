"""In what shape: the JSON Schemas that a route has for query, header fields and body."""

import logging
import re

import msgspec

from broker.messages import Headers
from broker.problems import ProblemType
from config.header_fields import FOLD, folded
from config.models.routes import RequestValidation, Route
from config.schemas import Schema
from ingress.parameters import Parameters, Unreadable, header_pairs, query_pairs
from ingress.problems import FieldError, Refused
from ingress.schema_errors import MOST_ERRORS, SchemaCheck, pointer
from ingress.schema_work import work_of
from ingress.strict_json import NotStrict, read_json

log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode

# RFC 9110 section 9.3: content has no meaning in these, and may be absent whatever the schema says.
_WITHOUT_CONTENT = frozenset(("GET", "HEAD", "DELETE", "OPTIONS", "TRACE"))
# Possessive behind the subtype, so that no field takes longer than its length.
_TOKEN = rb"[a-z0-9!#$%&'*+.^_`|~-]+"
_TYPE = rb"(?:application/json|" + _TOKEN + rb"/" + _TOKEN + rb"\+json)"
_VALUE = rb"(?:" + _TOKEN + rb'+|"[^"\\]*+")'
_PARAMETER = rb'(?:charset=(?:utf-8|"utf-8")|(?!charset=)' + _TOKEN + rb"+=" + _VALUE + rb")"
_is_json = re.compile(
    _TYPE + rb"(?:[ \t]*+;[ \t]*+" + _PARAMETER + rb"?+)*+[ \t]*+", re.IGNORECASE
).fullmatch
_ACCEPT = ((b"Accept", b"application/json"),)
_ACCEPT_ENCODING = ((b"Accept-Encoding", b"identity"),)


class ValidationListener:
    """Hears of requests that do not fit; metrics override what they count."""

    def validation_failed(self, route: str, mode: str) -> None:
        """A request did not fit; in the mode ``log`` it was let pass."""


class Validator:
    """The schemas of one route, compiled; ``label`` is the route's."""

    def __init__(self, label: str, rules: RequestValidation) -> None:
        self._label = label
        self._mode = rules.mode
        self._query = None if rules.query is None else _QueryCheck(rules.query)
        self._headers = None if rules.headers is None else _HeadersCheck(rules.headers)
        self._body = None if rules.body is None else _BodyCheck(rules.body)

    def check(
        self,
        method: str,
        query: str,
        headers: Headers,
        body: bytes,
        request_id: str,
        listener: ValidationListener,
    ) -> None:
        """Let pass what fits; ``query`` is the query string with its ``?``, or empty.

        ``headers`` are those that go on: a client can have fields taken off on the way. Raises
        Refused (400, 415), unless failures are only to be logged.
        """
        failure = self._failure(method, query, headers, body)
        if failure is None:
            return
        listener.validation_failed(self._label, self._mode)
        if self._mode == "enforce":
            raise failure
        told = "; ".join(map(_line, failure.errors)) or failure.detail
        log.warning(
            "%s: passed, but invalid: %s", self._label, told, extra={"request_id": request_id}
        )

    def _failure(self, method: str, query: str, headers: Headers, body: bytes) -> Refused | None:
        errors: list[FieldError] = []
        if self._query is not None:
            errors += self._query.errors_in(query)
        if self._headers is not None:
            errors += self._headers.errors_in(headers)
        if self._body is not None and (body or method not in _WITHOUT_CONTENT):
            if body and (unsupported := _unsupported(headers)) is not None:
                return unsupported
            errors += self._body.errors_in(body)
        return _invalid(errors) if errors else None


class _BoundedCheck(SchemaCheck):
    def __init__(self, part: str, schema: Schema) -> None:
        super().__init__(part, schema)
        self._work = work_of(schema)
        self._most_values = self._work.most_values


class _ParametersCheck(_BoundedCheck):
    def _errors(self, instance: dict[str, object], repeated: list[str]) -> list[FieldError]:
        errors = [self.error(pointer(name), "must occur once") for name in repeated]
        values = 1
        for value in instance.values():
            values += len(value) if isinstance(value, list) else 1
        if values > self._most_values and (excess := self._work.excess(_encode(instance), values)):
            return [*errors, self.error("", excess)]
        return errors if self.fits(instance) else errors + self.errors(instance, values)


class _QueryCheck(_ParametersCheck):
    def __init__(self, schema: Schema) -> None:
        super().__init__("query", schema)
        self._parameters = Parameters(schema)

    def errors_in(self, query: str) -> list[FieldError]:
        try:
            pairs = query_pairs(query)
        except Unreadable as error:
            return [self.error("", str(error))]
        return self._errors(*self._parameters.instance(pairs))


class _HeadersCheck(_ParametersCheck):
    def __init__(self, schema: Schema) -> None:
        super().__init__("header", schema)
        self._parameters = Parameters(schema, folded)

    def errors_in(self, headers: Headers) -> list[FieldError]:
        return self._errors(*self._parameters.instance(header_pairs(headers), ","))


class _BodyCheck(_BoundedCheck):
    def __init__(self, schema: Schema) -> None:
        super().__init__("body", schema)

    def errors_in(self, body: bytes) -> list[FieldError]:
        if not body:
            return [self.error("", "is required")]
        try:
            instance, values = read_json(body)
        except NotStrict as error:
            return [self.error("", str(error))]
        if values > self._most_values and (excess := self._work.excess(body, values)):
            return [self.error("", excess)]
        return [] if self.fits(instance) else self.errors(instance, values, len(body))


def validator(route: Route) -> Validator | None:
    """The validator for a route, or None where it has no schemas."""
    rules = route.validation
    return None if rules is None else Validator(route.label, rules)


def _unsupported(headers: Headers) -> Refused | None:
    """Why a body can't be looked into, if it can't. No coding is undone: it may be a bomb."""
    kinds, codings = _described(headers)
    if codings and codings != [b"identity"]:
        detail = "The body must not be compressed on this route."
        return Refused(ProblemType.UNSUPPORTED_MEDIA_TYPE, detail, headers=_ACCEPT_ENCODING)
    if len(kinds) != 1 or _is_json(kinds[0]) is None:
        detail = "The body must be JSON in UTF-8, and its Content-Type must say so."
        return Refused(ProblemType.UNSUPPORTED_MEDIA_TYPE, detail, headers=_ACCEPT)
    return None


def _described(headers: Headers) -> tuple[list[bytes], list[bytes]]:
    """All values of Content-Type, and of Content-Encoding, or of what servers take for them.

    What only some servers take for the Content-Type has no value that could be the right one.
    """
    kinds, codings = [], []
    for name, value in headers:
        if name[:7].lower() == b"content":
            match name.translate(FOLD):
                case b"content-type":
                    kinds.append(value if name.lower() == b"content-type" else b"")
                case b"content-encoding":
                    codings.append(value.lower())
    return kinds, codings


def _invalid(errors: list[FieldError]) -> Refused:
    detail = "The request does not fit what this route expects."
    return Refused(ProblemType.INVALID, detail, errors=tuple(errors[:MOST_ERRORS]))


def _line(error: FieldError) -> str:
    """For the log: on one line, whatever names the client thought of."""
    return f"{error.part} {error.pointer!a} {error.detail}"
