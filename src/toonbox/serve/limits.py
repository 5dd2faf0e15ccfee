"""ASGI middleware: which requests are answered."""

import hmac
import logging
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from toonbox.serve.problems import problem
from toonbox.serve.settings import ServerOptions, is_loopback

COOKIE = "toonbox-token"
OPEN = ("/health",)  # to everybody

_HEADERS = {
    # Cross-origin isolation: only with it browsers give WASM several threads.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "frame-ancestors 'none'",  # the rest is in the page itself
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_logger = logging.getLogger(__name__)


class Guard:
    """Refuses requests of other sites and without the token; adds the headers of every answer."""

    def __init__(self, app: ASGIApp, options: ServerOptions, count: Callable[[int], None]) -> None:
        """Put it around an app.

        Args:
            app: what is guarded.
            options: the token that clients must send, and the host names that they may use.
            count: called with the status of each answer that is an error.
        """
        self.app, self.token, self.count = app, options.token or None, count
        self.names = options.host_names
        self.any_name = not self.names and not is_loopback(options.host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the app answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        begun = False

        async def send_with_headers(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                if message["status"] >= 400:
                    self.count(message["status"])
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                if scope["path"].startswith("/api/"):
                    headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            answer = self._refuse(HTTPConnection(scope)) or self.app
            await answer(scope, receive, send_with_headers)
        except Exception as error:
            _logger.error("unexpected %s: %s", type(error).__name__, error, exc_info=error)
            if begun:
                raise
            answer = problem(500, "unexpected error; the server's log says more")
            await answer(scope, receive, send_with_headers)

    def _refuse(self, request: HTTPConnection) -> ASGIApp | None:
        """Return the answer to a request that must not reach the app."""
        hosts, path = request.headers.getlist("host"), request.scope["path"]
        if len(hosts) != 1 or not self._is_known(hosts[0]):
            # DNS rebinding: another site's name that resolves to this machine.
            return problem(403, "unknown host name; --names adds names")
        origin = request.headers.get("origin")
        if origin is not None and _place(origin) != hosts[0].lower():
            return problem(403, "requests from pages of other sites are refused")
        if self.token is None or path in OPEN:
            return None
        kind, _, bearer = request.headers.get("authorization", "").partition(" ")
        sent = [request.cookies.get(COOKIE, ""), bearer.strip() if kind.lower() == "bearer" else ""]
        if any(_same(each, self.token) for each in sent):
            return None
        if path == "/" and _same(request.query_params.get("token", ""), self.token):
            # The address that was printed; from now on the browser sends a cookie.
            answer = RedirectResponse(".")
            answer.set_cookie(COOKIE, self.token, httponly=True, samesite="strict")
            return answer
        return problem(
            401,
            "a token is needed: open the address that the server has printed, "
            "or send it as Authorization: Bearer",
            {"WWW-Authenticate": "Bearer"},
        )

    def _is_known(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return self.any_name or name in self.names or is_loopback(name)


def _place(origin: str) -> str | None:
    """Return the host name and port of an origin, None if it is malformed."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def _same(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())
