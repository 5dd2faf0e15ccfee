"""ASGI middleware: who may send requests, and how much."""

import asyncio
import hmac
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from fastapi import HTTPException
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from toonbox.serve.problems import problem
from toonbox.serve.settings import LEAST_RATE, is_loopback

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


class Guard:
    """Refuses requests of other sites and without the token; adds the headers of every answer."""

    def __init__(
        self,
        app: ASGIApp,
        token: str | None,
        names: frozenset[str] | None,
        count: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Put it around an app.

        Args:
            app: what is guarded.
            token: that clients must send; None for none.
            names: under which clients may ask, beside those of this machine; None for any.
            count: is told the status of each answer that is an error.
        """
        self.app, self.token, self.names, self.count = app, token, names, count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the app answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                if message["status"] >= 400:
                    self.count(message["status"])
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                if scope["path"].startswith("/api/"):
                    headers.setdefault("Cache-Control", "no-store")
            await send(message)

        answer = self._refuse(scope) or self.app
        await answer(scope, receive, send_with_headers)

    def _refuse(self, scope: Scope) -> ASGIApp | None:
        """Return the answer to a request that must not reach the app."""
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_known(hosts[0]):
            # A site whose name leads to this machine all of a sudden (DNS rebinding).
            return problem(403, "this server is not called like that; --names adds names")
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != hosts[0].lower():
            return problem(403, "pages of other sites may not ask")
        if self.token is None or scope["path"] in OPEN:
            return None
        return self._ask_for_token(scope, headers, self.token)

    def _is_known(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return self.names is None or name in self.names or is_loopback(name)

    def _ask_for_token(self, scope: Scope, headers: Headers, token: str) -> ASGIApp | None:
        kind, _, bearer = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and _same(bearer.strip(), token):
            return None
        try:
            cookies = SimpleCookie(headers.get("cookie", ""))
        except CookieError:
            cookies = SimpleCookie()
        if COOKIE in cookies and _same(cookies[COOKIE].value, token):
            return None
        query = parse_qs(scope["query_string"].decode("latin-1"))
        if scope["path"] == "/" and _same(query.get("token", [""])[0], token):
            # The address that was printed; from now on the browser sends a cookie.
            answer = RedirectResponse(".")
            answer.set_cookie(COOKIE, token, httponly=True, samesite="strict")
            return answer
        return problem(
            401,
            "a token is needed: open the address that the server has printed, "
            "or send it as Authorization: Bearer",
            {"WWW-Authenticate": "Bearer"},
        )


def _same(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())


class BodyLimit:
    """Refuses bodies that are too large or come too slowly, while they come.

    Lengths that clients state are believed only if they are too large.
    """

    def __init__(self, app: ASGIApp, most: Callable[[str], int], patience: float) -> None:
        """Put it around an app.

        Args:
            app: what reads the bodies.
            most: gives the bytes that a body for a path may have.
            patience: seconds for a body without bytes; each 16 KiB give one more.
        """
        self.app, self.most, self.patience = app, most, patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the app read within the limits: else `receive` raises 413 or 408."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        most, clock = self.most(scope["path"]), asyncio.get_running_loop().time
        stated = Headers(scope=scope).get("content-length", "")
        too_large = HTTPException(413, f"a body may have {most:,} bytes here")
        received, complete, began = 0, False, clock()

        async def receive_within() -> Message:
            nonlocal received, complete
            if complete:  # what comes now is only that the client has gone
                return await receive()
            if stated.isdecimal() and int(stated) > most:
                raise too_large
            try:
                until = began + self.patience + received / LEAST_RATE
                async with asyncio.timeout(until - clock()):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, "the body comes too slowly") from None
            received += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if received > most:
                raise too_large
            return message

        await self.app(scope, receive_within, send)
