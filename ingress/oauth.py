"""What OAuth 2.0 says on the wire (RFC 6749): forms, client credentials, answers.

No credential, nor any part of one, ever shows in an error.
"""

import re
from base64 import b64decode
from collections.abc import Mapping
from math import ceil
from urllib.parse import parse_qsl, unquote_plus

import msgspec

from broker.messages import Headers
from broker.problems import ProblemType
from ingress.identity.clients import Credentials
from ingress.identity.sessions import Tokens
from ingress.problems import Refused
from ingress.request import HeaderLookup, Request, Response

_FORM = "application/x-www-form-urlencoded"
_LARGEST_FORM = 8192  # bytes
_MOST_FIELDS = 32
NOT_STORED = ((b"Cache-Control", b"no-store"), (b"Pragma", b"no-cache"))  # section 5.1
_JSON = (b"Content-Type", b"application/json")
_CHALLENGE = (b"WWW-Authenticate", b'Basic realm="api-gateway", charset="UTF-8"')

_RETRY_AFTER = 1  # seconds; where nobody knows better

_encode = msgspec.json.Encoder().encode
_not_described = re.compile(r"[^ !#-\[\]-~]").sub  # what a description may not have (section 5.2)


class OAuthError(Exception):
    """An error of section 5.2: its code, its description, and the status and fields around it."""

    def __init__(
        self, code: str, description: str, status: int = 400, headers: Headers = ()
    ) -> None:
        super().__init__(description)
        self.code = code
        self.description = description
        self.status = status
        self.headers = headers

    def response(self) -> Response:
        """The answer."""
        page = {"error": self.code, "error_description": self.description}
        response = json_response(page, self.status, self.headers)
        response.problem = self.code
        return response


def invalid_request(description: str) -> OAuthError:
    """A request that lacks something, or has too much."""
    return OAuthError("invalid_request", description)


def invalid_client() -> OAuthError:
    """The same words for an unknown client and a wrong secret."""
    description = "There is no such client with such a secret, or none was given."
    return OAuthError("invalid_client", description, 401, (_CHALLENGE,))


def unavailable(description: str) -> OAuthError:
    """The gateway can't tell now; a code of section 4.1.2.1, as 5.2 has none for it."""
    return OAuthError("temporarily_unavailable", description, 503, _retry_after(_RETRY_AFTER))


def too_many_sessions(wait: float) -> OAuthError:
    """As many logins as a client may have are in use; ``wait`` is seconds."""
    description = (
        "All sessions that this client may have are in use: keep tokens until they expire."
    )
    headers = _retry_after(max(1, ceil(wait)))
    return OAuthError("temporarily_unavailable", description, 429, headers)


def refusal_response(refusal: Refused) -> Response:
    """Any other refusal as an answer of section 5.2; status and fields are those that it has."""
    status, headers = refusal.problem_type.status, refusal.headers
    later = status in (429, 503)
    if later:
        headers += _retry_after(refusal.retry_after or _RETRY_AFTER)
    code = "temporarily_unavailable" if later else "invalid_request"
    response = OAuthError(code, _not_described("'", refusal.detail), status, headers).response()
    response.problem = refusal.problem_type.slug
    response.close = refusal.close
    return response


def _retry_after(seconds: int) -> Headers:
    return ((b"Retry-After", b"%d" % seconds),)


def json_response(page: object, status: int = 200, headers: Headers = ()) -> Response:
    """An answer that nobody may keep."""
    return Response(status, (_JSON, *NOT_STORED, *headers), _encode(page))


def tokens_response(tokens: Tokens) -> Response:
    """Section 5.1."""
    page: dict[str, object] = {
        "access_token": tokens.access_token,
        "token_type": "Bearer",
        "expires_in": tokens.expires_in,
        "refresh_token": tokens.refresh_token,
    }
    if tokens.scopes:
        page["scope"] = " ".join(tokens.scopes)
    return json_response(page)


async def read_form(request: Request) -> Mapping[str, str]:
    """The parameters of a request; those without a value count as absent (section 3.2).

    Raises Refused (415, 413 ...), OAuthError.
    """
    media_type = (request.headers.get("Content-Type") or "").partition(";")[0].strip()
    if media_type.lower() != _FORM:
        detail = f"The content must be of the type {_FORM}."
        raise Refused(ProblemType.UNSUPPORTED_MEDIA_TYPE, detail)
    body = await request.read_body(_LARGEST_FORM)
    try:
        pairs = parse_qsl(body.decode(), errors="strict", max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise invalid_request("The form can't be read.") from None
    form = dict(pairs)
    if len(form) < len(pairs):
        raise invalid_request("A parameter is given more than once.")
    return form


def read_credentials(headers: HeaderLookup, form: Mapping[str, str]) -> Credentials | None:
    """What a client says of itself, in the header field or the form (section 2.3.1).

    None where it says nothing that can be read. Raises OAuthError where it says it in two ways.
    """
    authorization = headers.get("Authorization")
    if authorization is None:
        name, secret = form.get("client_id"), form.get("client_secret")
        return None if name is None or secret is None else Credentials(name, secret)
    if "client_secret" in form:
        raise invalid_request("The client authenticates in more than one way.")
    credentials = _basic(authorization)
    if credentials is not None and form.get("client_id", credentials.id) != credentials.id:
        raise invalid_request("The client gives two ids.")
    return credentials


def _basic(authorization: str) -> Credentials | None:
    """Both are form-encoded within the encoding of RFC 7617."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        pair = b64decode(encoded.strip(" "), validate=True).decode()
        name, colon, secret = pair.partition(":")
        given = Credentials(
            unquote_plus(name, errors="strict"), unquote_plus(secret, errors="strict")
        )
    except ValueError:
        return None
    return given if colon else None


def read_scope(form: Mapping[str, str]) -> frozenset[str] | None:
    """The scopes asked for; None where that is left to the gateway (section 3.3)."""
    scope = form.get("scope")
    return None if scope is None else frozenset(scope.split(" "))
