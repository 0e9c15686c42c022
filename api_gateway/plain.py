"""Requests and responses as plain data, for applications that have the gateway inside them."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from email.message import Message
from typing import Any
from urllib.parse import urlencode

from multidict import CIMultiDict

from broker.messages import Headers, Principal
from broker.problems import ProblemType
from ingress.policies.authentication import DEFAULT_TIER
from ingress.problems import Refused
from ingress.request import ReadBody, Request, Response

_is_token = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch  # RFC 9110 section 5.6.2
_is_value = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*").fullmatch


def read_request(request: Mapping[str, Any], context: Mapping[str, Any]) -> Request:
    """Make a request of ``{"method", "path", "query", "headers", "body"}``; all but path optional.

    ``path`` may hold a query string; ``query`` is one, or a mapping. ``headers`` is a mapping whose
    values may be lists, or a sequence of pairs. ``body`` is bytes, text (sent as UTF-8), or data
    that is sent as JSON. ``context`` says where the request comes from: ``ip_address``, and the
    caller for whom the application vouches: ``user_id``, ``tier``, ``roles``, ``scopes``. That
    caller counts only where the request has no Authorization of its own.

    Raises ValueError for header fields that can't be sent.
    """
    fields = CIMultiDict(_pairs(request.get("headers") or {}))
    body = request.get("body")
    if not isinstance(body, bytes | str | None):
        body = json.dumps(body)
        fields.setdefault("Content-Type", "application/json")
    return Request(
        method=str(request.get("method", "GET")),
        target=_target(request["path"], request.get("query") or ""),
        raw_headers=_raw(fields),
        headers=fields,
        peer=str(context.get("ip_address", "")),
        read_body=_body_reader(body.encode() if isinstance(body, str) else body or b""),
        principal=None if "Authorization" in fields else _principal(context),
    )


_Fields = Mapping[str, str | Sequence[str]] | Iterable[tuple[str, str]]


def _pairs(headers: _Fields) -> list[tuple[str, str]]:
    if not isinstance(headers, Mapping):
        return list(headers)
    return [
        (name, value)
        for name, values in headers.items()
        for value in ([values] if isinstance(values, str) else values)
    ]


def _raw(fields: CIMultiDict[str]) -> Headers:
    for name, value in fields.items():
        if not _is_token(name):
            raise ValueError(f"not the name of a header field: {name!r}")
        if not _is_value(value):
            raise ValueError(f"the value of {name} holds control characters")
    return tuple((name.encode(), value.encode()) for name, value in fields.items())


def _target(path: str, query: str | Mapping[str, Any]) -> str:
    if not isinstance(query, str):
        query = urlencode(query, doseq=True)
    if not query:
        return path
    return f"{path}{'&' if '?' in path else '?'}{query}"


def _body_reader(body: bytes) -> ReadBody:
    async def read_body(limit: int) -> bytes:
        if len(body) > limit:
            detail = f"the body has more than {limit} bytes"
            raise Refused(ProblemType.BODY_TOO_LARGE, detail)
        return body

    return read_body


def _principal(context: Mapping[str, Any]) -> Principal | None:
    subject = context.get("user_id")
    if subject is None:
        return None
    return Principal(
        subject=str(subject),
        tier=context.get("tier", DEFAULT_TIER),
        roles=tuple(context.get("roles", ())),
        scopes=tuple(context.get("scopes", ())),
    )


def write_response(response: Response) -> dict[str, Any]:
    """``{"status", "headers", "body"}``.

    Repeated headers are joined with commas, but for Set-Cookie, which is always a list. A body of a
    JSON type is decoded, one of a text type is a string, and any other is bytes; so is one that is
    compressed, or is not what its type says.
    """
    headers: dict[str, Any] = {}
    names: dict[str, str] = {}
    for raw_name, raw_value in response.headers:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        name = names.setdefault(name.lower(), name)
        if name.lower() == "set-cookie":
            headers.setdefault(name, []).append(value)
        else:
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    body: Any = response.body
    if "content-type" in names and "content-encoding" not in names:
        body = _decoded(body, headers[names["content-type"]])
    return {"status": response.status, "headers": headers, "body": body}


def _decoded(body: bytes, content_type: str) -> Any:
    kind = Message()
    kind["Content-Type"] = content_type
    subtype = kind.get_content_subtype()
    try:
        if body and (subtype == "json" or subtype.endswith("+json")):
            return json.loads(body)
        if kind.get_content_maintype() == "text":
            return body.decode(kind.get_content_charset("utf-8"))
    except (ValueError, LookupError, RecursionError):
        pass
    return body
