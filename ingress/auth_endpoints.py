"""The token endpoints: what is asked under /auth/, and who may ask how often."""

import re
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import parse_qsl

from broker.messages import Headers, Principal
from broker.problems import ProblemType
from config.header_fields import FOLD
from config.models.auth import Client
from ingress.identity.auth_listener import AuthListener
from ingress.identity.session_store import NoSession, SessionsUnavailable, TooManySessions
from ingress.identity.sessions import (
    InvalidGrant,
    InvalidScope,
    Sessions,
    Tokens,
    principal_of,
)
from ingress.limits.allowance import StoreUnavailable
from ingress.oauth import (
    NOT_STORED,
    OAuthError,
    invalid_client,
    invalid_request,
    json_response,
    read_credentials,
    read_form,
    read_scope,
    refusal_response,
    tokens_response,
    too_many_sessions,
    unavailable,
)
from ingress.policies.authentication import session_refusal
from ingress.policies.endpoint_limits import EndpointLimits
from ingress.policies.guesses import GuardedAuthenticator, Guesses
from ingress.problems import FieldError, Forbidden, Refused
from ingress.request import Request, Response

ENDPOINTS = "/auth/"
_FOR_CLIENTS = ("/auth/token", "/auth/refresh")
_SESSIONS = "/auth/sessions/"
_LISTED = 50  # sessions at a time: Redis does nothing else meanwhile
_is_time = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?", re.ASCII).fullmatch

_Handler = Callable[[Request, str], Awaitable[Response]]


class AuthEndpoints:
    """Answers requests for tokens and sessions.

    ``guesses`` are those of clients' secrets.
    """

    def __init__(
        self,
        sessions: Sessions,
        authenticator: GuardedAuthenticator,
        guesses: Guesses,
        limits: EndpointLimits,
        listener: AuthListener,
    ) -> None:
        self._sessions = sessions
        self._authenticator = authenticator
        self._guesses = guesses
        self._limits = limits
        self._listener = listener
        self._handlers: Mapping[str, Mapping[str, _Handler]] = {
            "/auth/token": {"POST": self._token},
            "/auth/refresh": {"POST": self._token},
            "/auth/logout": {"POST": self._logout},
            "/auth/sessions": {"GET": self._list, "HEAD": self._list},
        }
        self._of_one_session: Mapping[str, _Handler] = {"DELETE": self._end}

    async def answer(self, request: Request, path: str, request_id: str) -> Response:
        """Answer a request below ``ENDPOINTS``, within the limits. Raises Refused."""
        limits: Headers = ()
        try:
            limits = await self._limits.check(request, path)
            _check_once(request.raw_headers)
            response = await self._respond(request, path)
        except Refused as refusal:
            if path not in _FOR_CLIENTS:
                refusal.headers += limits
                raise
            response = refusal_response(refusal)
        response.headers += (*limits, (b"X-Request-ID", request_id.encode()))
        return response

    async def _respond(self, request: Request, path: str) -> Response:
        handle = self._handler(request.method, path)
        try:
            return await handle(request, path)
        except OAuthError as error:
            return error.response()
        except NoSession as error:
            raise session_refusal(error) from None

    def _handler(self, method: str, path: str) -> _Handler:
        handlers = self._handlers.get(path)
        if handlers is None:
            if not path.startswith(_SESSIONS):
                raise Refused(ProblemType.NO_ROUTE, "There is nothing here.")
            handlers = self._of_one_session
        if method not in handlers:
            allow = ((b"Allow", ", ".join(handlers).encode()),)
            detail = "This endpoint has other methods."
            raise Refused(ProblemType.METHOD_NOT_ALLOWED, detail, headers=allow)
        return handlers[method]

    # --- for clients: RFC 6749 ------------------------------------------------------------------

    async def _token(self, request: Request, path: str) -> Response:
        try:
            return await self._tokens(request, path)
        except TooManySessions as error:
            self._listener.tokens_asked("too_many_sessions")
            raise too_many_sessions(error.wait) from None
        except OAuthError as error:
            self._listener.tokens_asked(error.code)
            raise
        except Refused as refusal:
            self._listener.tokens_asked(refusal.problem_type.slug)
            raise

    async def _tokens(self, request: Request, path: str) -> Response:
        form = await read_form(request)
        try:
            client = await self._client(request, path, form)
            return tokens_response(await self._grant(client, form, path))
        except SessionsUnavailable:
            description = "Sessions can't be kept at the moment."
            raise unavailable(description) from None
        except InvalidScope:
            description = "There is a scope among them that is not granted."
            raise OAuthError("invalid_scope", description) from None
        except InvalidGrant:
            description = "The refresh token is not good, or no longer."
            raise OAuthError("invalid_grant", description) from None

    async def _client(self, request: Request, path: str, form: Mapping[str, str]) -> Client:
        clients = self._sessions.clients
        credentials = read_credentials(request.headers, form)
        client = None if credentials is None else clients.authenticate(credentials)
        try:
            if client is None:
                await self._guesses.failed(request, clients.described(credentials))
            else:
                await self._guesses.passed(request)
        except StoreUnavailable:
            raise SessionsUnavailable from None
        caller = None if client is None else principal_of(client)
        await self._limits.check_caller(request, path, caller)
        if client is None:
            raise invalid_client()
        return client

    async def _grant(self, client: Client, form: Mapping[str, str], path: str) -> Tokens:
        only_refresh = path == "/auth/refresh"
        grant = form.get("grant_type", "refresh_token" if only_refresh else None)
        if grant is None:
            raise invalid_request("grant_type is missing.")
        if grant == "refresh_token":
            if (refresh_token := form.get("refresh_token")) is None:
                raise invalid_request("refresh_token is missing.")
            tokens = await self._sessions.renew(client, refresh_token, read_scope(form))
            self._listener.tokens_asked("renewed")
            return tokens
        if grant == "client_credentials" and not only_refresh:
            tokens = await self._sessions.open(client, read_scope(form))
            self._listener.tokens_asked("opened")
            return tokens
        raise OAuthError("unsupported_grant_type", "This endpoint has other grant types.")

    # --- for callers with a token of a session --------------------------------------------------

    async def _logout(self, request: Request, path: str) -> Response:
        caller = await self._caller(request, path)
        await self._sessions.end(caller, str(caller.session))
        return Response(204, NOT_STORED)

    async def _list(self, request: Request, path: str) -> Response:
        caller = await self._caller(request, path)
        found = await self._sessions.listed(caller, _LISTED + 1, _before(request.target))
        page: dict[str, object] = {
            "sessions": [
                {
                    "id": session.id,
                    "scope": " ".join(session.scopes),
                    "opened_at": int(session.opened),
                    "renewed_at": int(session.renewed),
                    "ends_at": int(self._sessions.ends(session)),
                    "current": session.id == caller.session,
                }
                for session in found[:_LISTED]
            ]
        }
        if len(found) > _LISTED:
            page["next"] = f"{path}?before={found[_LISTED - 1].renewed}"
        return json_response(page)

    async def _end(self, request: Request, path: str) -> Response:
        caller = await self._caller(request, path)
        if not await self._sessions.end(caller, path.removeprefix(_SESSIONS)):
            raise Refused(ProblemType.NO_ROUTE, "There is no such session.")
        return Response(204, NOT_STORED)

    async def _caller(self, request: Request, path: str) -> Principal:
        caller = request.principal or await self._authenticator.authenticate(request, required=True)
        session = self._sessions.of(caller)
        if caller is None or session is None:
            detail = "This is for tokens of /auth/token: the caller has no session here."
            raise Forbidden("sessions", detail)
        await self._limits.check_caller(request, path, caller, session)  # raises unless it lasts
        return caller


def _check_once(headers: Headers) -> None:
    """Nobody can tell which of two credentials counts. Raises Refused (400)."""
    if sum(name.translate(FOLD) == b"authorization" for name, _ in headers) > 1:
        raise Refused(ProblemType.BAD_REQUEST, "There are several Authorization fields.")


def _before(target: str) -> float | None:
    """The time that a listing goes on from, in Unix seconds. Raises Refused (400)."""
    before = dict(parse_qsl(target.partition("?")[2])).get("before")
    if before is None:
        return None
    if _is_time(before) is None:
        wrong = FieldError("query", "/before", "must be as it stands in next")
        raise Refused(ProblemType.INVALID, "There is no such page of the list.", errors=(wrong,))
    return float(before)
