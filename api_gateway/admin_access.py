"""Who may change something through the admin listener, and how that is refused."""

import hmac
from http import HTTPStatus

from aiohttp import web


def problem(status: int, detail: str, **more: object) -> web.Response:
    """An answer for people and programs, RFC 9457."""
    content = {"title": HTTPStatus(status).phrase, "status": status, "detail": detail, **more}
    return web.json_response(content, status=status, content_type="application/problem+json")


class AdminToken:
    """What those who change something have to show; without one nobody may."""

    def __init__(self, token: str | None) -> None:
        self._expected = token.encode() if token else None

    def refusal(self, request: web.Request) -> web.Response | None:
        """None for a request that shows the token, as ``Authorization: Bearer ...``."""
        if self._expected is None:
            return problem(403, "Changes are off, as this gateway has no GATEWAY_ADMIN_TOKEN.")
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        shown = token.encode("utf-8", "surrogateescape")
        if scheme.lower() == "bearer" and hmac.compare_digest(shown, self._expected):
            return None
        answer = problem(401, "A change wants the gateway's admin token.")
        answer.headers["WWW-Authenticate"] = "Bearer"
        return answer
