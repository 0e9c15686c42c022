"""The token endpoints: what is asked under /auth/, and who may ask how often."""

from collections.abc import Awaitable, Callable, Mapping
from math import ceil

from broker.messages import Headers, Principal
from broker.problems import ProblemType
from config.models import Client
from ingress.addresses import Address
from ingress.identity.session_store import NoSession, SessionsUnavailable
from ingress.identity.sessions import InvalidGrant, InvalidScope, Sessions, Tokens
from ingress.limits.allowance import Allowance, Charge, Store, StoreUnavailable
from ingress.limits.keys import address_identity, key
from ingress.oauth import (
    NOT_STORED,
    OAuthError,
    invalid_client,
    invalid_request,
    json_response,
    read_credentials,
    read_form,
    read_scope,
    tokens_response,
    unavailable,
)
from ingress.policies.authentication import Authenticator, session_refusal
from ingress.problems import Refused
from ingress.request import Request, Response

ENDPOINTS = "/auth/"
_SESSIONS = "/auth/sessions/"
# Failed authentications of an address: 30 at once, and then 10 a minute. Who succeeds is counted
# under the other, at no cost: it has room as long as one more failure would have. So guesses gain
# nothing by being many at a time, and who guesses right too late does not hear of it.
_FAILURE = Allowance(b'"auth"', 10, 20, "closed")
_SUCCESS = Allowance(b'"auth"', 10, 19, "closed")

_Handler = Callable[[Request, str], Awaitable[Response]]


class AuthEndpoints:
    """Answers requests for tokens and sessions; ``client`` tells the address of who asks."""

    def __init__(
        self,
        sessions: Sessions,
        authenticator: Authenticator,
        store: Store,
        client: Callable[[str, Headers], Address | None],
    ) -> None:
        self._sessions = sessions
        self._authenticator = authenticator
        self._store = store
        self._client_address = client
        self._handlers: Mapping[str, Mapping[str, _Handler]] = {
            "/auth/token": {"POST": self._token},
            "/auth/refresh": {"POST": self._token},
            "/auth/logout": {"POST": self._logout},
            "/auth/sessions": {"GET": self._list, "HEAD": self._list},
        }
        self._of_one_session: Mapping[str, _Handler] = {"DELETE": self._end}

    async def answer(self, request: Request, path: str, request_id: str) -> Response:
        """Answer a request below ``ENDPOINTS``. Raises Refused."""
        response = await self._respond(request, path)
        response.headers += ((b"X-Request-ID", request_id.encode()),)
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
        form = await read_form(request)
        try:
            client = await self._client(request, form)
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

    async def _client(self, request: Request, form: Mapping[str, str]) -> Client:
        credentials = read_credentials(request.headers, form)
        client = None
        if credentials is not None:
            client = self._sessions.clients.authenticate(credentials)
        await self._count(request, failed=client is None)
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
            return await self._sessions.renew(client, refresh_token, read_scope(form))
        if grant == "client_credentials" and not only_refresh:
            return await self._sessions.open(client, read_scope(form))
        raise OAuthError("unsupported_grant_type", "This endpoint has other grant types.")

    # --- for callers with a token of a session --------------------------------------------------

    async def _logout(self, request: Request, path: str) -> Response:
        caller = await self._caller(request)
        await self._sessions.end(caller, str(caller.session))
        return Response(204, NOT_STORED)

    async def _list(self, request: Request, path: str) -> Response:
        caller = await self._caller(request)
        listed = [
            {
                "id": session.id,
                "scope": " ".join(session.scopes),
                "opened_at": int(session.opened),
                "renewed_at": int(session.renewed),
                "ends_at": int(self._sessions.ends(session)),
                "current": session.id == caller.session,
            }
            for session in await self._sessions.listed(caller)
        ]
        return json_response({"sessions": listed})

    async def _end(self, request: Request, path: str) -> Response:
        caller = await self._caller(request)
        if not await self._sessions.end(caller, path.removeprefix(_SESSIONS)):
            raise Refused(ProblemType.NO_ROUTE, "There is no such session.")
        return Response(204, NOT_STORED)

    async def _caller(self, request: Request) -> Principal:
        try:
            caller = request.principal or await self._authenticator.authenticate(
                request.headers, required=True
            )
        except Refused as refusal:
            if refusal.problem_type is ProblemType.UNAUTHORIZED:
                await self._count(request, failed=True)
            raise
        session = self._sessions.of(caller)
        if caller is None or session is None:
            detail = "This is for tokens of /auth/token: the caller has no session here."
            raise Refused(ProblemType.FORBIDDEN, detail)
        await self._store.check((), session=session)  # raises unless it lasts
        return caller

    # --- how often ------------------------------------------------------------------------------

    async def _count(self, request: Request, *, failed: bool) -> None:
        """Count an authentication. Raises Refused (429), SessionsUnavailable."""
        address = address_identity(self._client_address(request.peer, request.raw_headers))
        charge = Charge(key(address, address, "auth"), _FAILURE if failed else _SUCCESS)
        cost = 1 if failed else 0
        try:
            outcome = await self._store.check([charge], cost)
        except StoreUnavailable:
            raise SessionsUnavailable from None
        if not outcome.allowed:
            detail = "There were too many failed authentications from this address."
            wait = ceil(outcome.retry_after(cost))
            raise Refused(ProblemType.RATE_LIMITED, detail, retry_after=wait)
