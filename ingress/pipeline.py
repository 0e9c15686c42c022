"""The way of one request, top to bottom, in one place.

Address, path, route, origin, identity, rights, session and limits, headers, body, shape; then the
envelope, its reply, the response. Each step either goes on or raises Refused.
"""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from broker.messages import Envelope, Headers
from broker.problems import ProblemType
from config.header_fields import API_KEY
from config.snapshot import Snapshot
from ingress.auth_endpoints import ENDPOINTS, AuthEndpoints
from ingress.deadline import timeout_for
from ingress.exchange import Exchange
from ingress.forbidden_log import ForbiddenLog
from ingress.forwarding import Forwarding
from ingress.identity.identity import Identity
from ingress.limits.allowance import Store
from ingress.limits.embedded import EmbeddedStore
from ingress.metrics import IngressListener, RequestFinished
from ingress.origin import Origins
from ingress.paths import split_target
from ingress.policies.authentication import DEFAULT_TIER, Authenticator
from ingress.policies.authorization import missing_rights
from ingress.policies.cors import CorsPolicy, Preflight, cors_policy, read_preflight
from ingress.policies.endpoint_limits import EndpointLimits
from ingress.policies.guesses import GuardedAuthenticator, Guesses
from ingress.policies.ip_filter import IpFilter, ip_filter
from ingress.policies.rate_limiting import RateLimiting
from ingress.problems import PAGES, Forbidden, Refused, problem_page
from ingress.request import Request, Response
from ingress.request_ids import RequestIds
from ingress.responses import preflight_response, reply_response
from ingress.routing import CompiledRoute, Router

log = logging.getLogger(__name__)

CLIENT_LEFT = 499
_RESERVED = (ENDPOINTS, "/requests/")  # the gateway's own, and never an upstream's


class _Rules:
    """One snapshot, made ready; a request lives under the one it came with."""

    def __init__(
        self,
        snapshot: Snapshot,
        identity: Identity,
        clock: Callable[[], float],
        limits: Store,
        listener: IngressListener,
    ) -> None:
        options = snapshot.options
        self.version = snapshot.version
        self.router = Router(snapshot)
        self.authenticator = Authenticator(
            options.auth, snapshot.tiers, identity.keyring(snapshot), clock
        )
        self.origins = Origins(options.trusted_proxies)
        withheld = [API_KEY] if options.auth.api_keys else []
        self.forwarding = Forwarding(self.origins, withheld)
        self.ip_filter = ip_filter(options.ip_filter)
        self.cors = cors_policy(options.cors)
        client = self.origins.accountable
        self.rate_limiting = RateLimiting(snapshot, limits, client)
        guesses = Guesses("caller", limits, client, listener)
        self.guarded = GuardedAuthenticator(self.authenticator, guesses)
        sessions = identity.sessions(options.auth, limits.sessions, clock)
        self.auth_endpoints: AuthEndpoints | None = None
        if sessions is not None:
            of_clients = Guesses("client", limits, client, listener, "closed")
            self.auth_endpoints = AuthEndpoints(
                sessions,
                self.guarded,
                of_clients,
                EndpointLimits(options, limits, client),
                listener,
            )


@dataclass(slots=True, eq=False)
class _Visit:
    """What is known of a request so far."""

    request_id: str
    received_at: float
    cors: CorsPolicy | None  # that the answer is to follow
    route: CompiledRoute | None = None
    tier: str = ""
    problem: str = ""
    limits: Headers = ()  # what the answer is to tell of them


class Pipeline:
    """Answers requests under the current snapshot; ``use`` sets the next one.

    ``identity`` has the keys; ``limits`` keeps what callers have used, by default in this process.
    ``clock`` gives Unix seconds, ``monotonic`` measures.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        exchange: Exchange,
        *,
        identity: Identity,
        request_ids: RequestIds,
        limits: Store | None = None,
        listener: IngressListener | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._exchange = exchange
        self._identity = identity
        self._request_ids = request_ids
        self._limits = EmbeddedStore() if limits is None else limits
        self._listener = listener or IngressListener()
        self._clock = clock
        self._monotonic = monotonic
        self._forbidden = ForbiddenLog(monotonic)
        self.use(snapshot)

    def use(self, snapshot: Snapshot) -> None:
        """From the next request on, serve under this snapshot."""
        self._rules = _Rules(snapshot, self._identity, self._clock, self._limits, self._listener)

    @property
    def needs_store(self) -> bool:
        """Whether some requests can only be refused while the store of limits is away."""
        return self._rules.auth_endpoints is not None or self._rules.rate_limiting.must_hold

    async def handle(self, request: Request) -> Response:
        """The one response to a request, whatever happens. Raises nothing but CancelledError."""
        visit = _Visit(self._request_ids.of(request.headers), self._clock(), self._rules.cors)
        began = self._monotonic()
        status = CLIENT_LEFT
        try:
            response = await self._respond(request, visit)
            response.headers += visit.limits
            if visit.cors is not None:
                origin = request.headers.get("Origin")
                response.headers = visit.cors.answered(origin, response.headers)
            status = response.status
        finally:
            self._finish(request, visit, status, self._monotonic() - began)
        return response

    async def _respond(self, request: Request, visit: _Visit) -> Response:
        """As ``_answer``, with whatever it raises made a problem."""
        try:
            return await self._answer(request, visit)
        except Refused as refusal:
            if isinstance(refusal, Forbidden):
                self._tell_forbidden(refusal, request, visit)
            return _refused(refusal, request, visit)
        except Exception:
            log.exception("a request failed", extra={"request_id": visit.request_id})
            detail = "The gateway has a fault of its own."
            internal = Refused(ProblemType.INTERNAL, detail, executed="unknown")
            return _refused(internal, request, visit)

    async def _answer(self, request: Request, visit: _Visit) -> Response:
        _check_address(self._rules.ip_filter, self._rules.origins, request)
        path, query = split_target(request.target)
        preflight = read_preflight(request.method, request.headers)
        if preflight is not None and (answer := self._permit(preflight, request, visit, path)):
            return answer
        if self._rules.auth_endpoints is not None and path.startswith(ENDPOINTS):
            return await self._answer_client(self._rules.auth_endpoints, request, visit, path)
        if path.startswith(_RESERVED):
            raise Refused(ProblemType.NO_ROUTE, "There is nothing here.")
        if path.startswith(PAGES):
            return _page(request.method, path.removeprefix(PAGES), visit.request_id)
        envelope = await self._admit(request, visit, path, query)
        reply = await self._exchange.ask(envelope)
        if reply.problem is not None:
            visit.problem = reply.problem.type
        return reply_response(
            reply, request_id=visit.request_id, service=envelope.service, instance=path
        )

    async def _admit(self, request: Request, visit: _Visit, path: str, query: str) -> Envelope:
        """The policies in their order; what passes all of them leaves as a message."""
        rules = self._rules
        route, captured = rules.router.match(request.method, path)
        self._enter(route, request, visit)
        principal = (
            request.principal
            or rules.authenticator.recall(request.headers)
            or await rules.guarded.authenticate(request, required=route.auth_required)
        )
        visit.tier = route.tier or (principal.tier if principal else DEFAULT_TIER)
        if principal is not None and (refusal := missing_rights(route.config, principal)):
            await rules.rate_limiting.check_session(principal)  # a 401 goes before a 403
            raise refusal
        if rules.rate_limiting.concerns(principal):
            visit.limits = await rules.rate_limiting.check(request, path, route, principal)
        headers = rules.forwarding.request_headers(request, principal, visit.request_id)
        timeout = timeout_for(request.headers, route.timeout)
        body = await request.read_body(route.max_body)
        if route.validator is not None:
            route.validator.check(
                request.method, query, headers, body, visit.request_id, self._listener
            )
        return Envelope(
            id=self._correlation_id(request, visit),
            route=route.label,
            service=route.service,
            tier=visit.tier,
            method=request.method,
            path=path,
            target=route.upstream_path(path, captured) + query,
            headers=headers,
            body=body,
            principal=principal,
            deadline=visit.received_at + timeout,
            idempotent=route.is_idempotent(request.method, request.headers),
            reply_to=self._exchange.reply_to,
            published_at=self._clock(),
            retry_count=route.retry_count,
            config_version=rules.version,
        )

    async def _answer_client(
        self, endpoints: AuthEndpoints, request: Request, visit: _Visit, path: str
    ) -> Response:
        """At the token endpoints."""
        response = await endpoints.answer(request, path, visit.request_id)
        visit.problem = response.problem
        return response

    def _permit(
        self, preflight: Preflight, request: Request, visit: _Visit, path: str
    ) -> Response | None:
        """The answer to a preflight, by the rules for the request that would follow, if any.

        That request may have no route: its page can read so where all answers may be read.
        """
        rules = self._rules
        route = None
        with suppress(Refused):
            route, _ = rules.router.match(preflight.method, path)
        cors = rules.cors if route is None else route.cors or rules.cors
        if cors is None:
            return None
        if route is not None:
            self._enter(route, request, visit)
        visit.cors = None  # the answer to a preflight has fields of its own
        headers = cors.preflight(preflight)
        return preflight_response(headers, request_id=visit.request_id)

    def _enter(self, route: CompiledRoute, request: Request, visit: _Visit) -> None:
        """What a route asks for before it asks who comes."""
        visit.route = route
        visit.cors = route.cors or self._rules.cors
        _check_address(route.ip_filter, self._rules.origins, request)

    def _correlation_id(self, request: Request, visit: _Visit) -> str:
        """An id that is unique by itself: two clients may send the same X-Request-ID at a time."""
        if request.headers.get("X-Request-ID") is None:
            return visit.request_id
        return self._request_ids.new()

    def _tell_forbidden(self, refusal: Forbidden, request: Request, visit: _Visit) -> None:
        route = visit.route.label if visit.route else ""
        self._listener.forbidden(route, refusal.policy)
        where = route or request.target.partition("?")[0]
        self._forbidden.tell(refusal, where, visit.request_id)

    def _finish(self, request: Request, visit: _Visit, status: int, seconds: float) -> None:
        route = visit.route
        event = RequestFinished(
            request_id=visit.request_id,
            route=route.label if route else "",
            service=route.service if route else "",
            tier=visit.tier,
            method=request.method,
            status=status,
            seconds=seconds,
            problem=visit.problem,
        )
        self._listener.request_finished(event)
        _log_failure(event, event.route or request.target.partition("?")[0])


def _log_failure(event: RequestFinished, where: str) -> None:
    """A line for whoever comes with the id of a request that went wrong on this side."""
    fields = {"request_id": event.request_id}
    if event.status == CLIENT_LEFT:
        log.info("%.200s: the client left after %.3f s", where, event.seconds, extra=fields)
    elif event.status >= 500 and event.problem:
        what = (where, event.status, event.problem, event.seconds)
        log.warning("%.200s: %d %s after %.3f s", *what, extra=fields)


def _check_address(filtered: IpFilter | None, origins: Origins, request: Request) -> None:
    if filtered is not None:
        filtered.check(origins.client(request.peer, request.raw_headers))


def _refused(refusal: Refused, request: Request, visit: _Visit) -> Response:
    visit.problem = refusal.problem_type.slug
    return refusal.response(
        request_id=visit.request_id,
        instance=request.target.partition("?")[0],
        service=visit.route.service if visit.route else None,
    )


def _page(method: str, slug: str, request_id: str) -> Response:
    """The page of a problem's type."""
    if method not in ("GET", "HEAD"):
        allow = ((b"Allow", b"GET, HEAD"),)
        raise Refused(ProblemType.METHOD_NOT_ALLOWED, "This page can only be read.", headers=allow)
    page = problem_page(slug, request_id=request_id)
    if page is None:
        raise Refused(ProblemType.NO_ROUTE, "There is no such problem.")
    return page
