"""Run the app with uvicorn, with timeouts for slow clients and an orderly end."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Iterator

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from toonbox.errors import UsageError
from toonbox.serve.app import Service
from toonbox.serve.settings import ServerOptions

try:
    import resource
except ModuleNotFoundError:  # Windows: there files have no such limit
    resource = None  # type: ignore[assignment]

_CONNECTIONS = 700  # further ones get 503, if there are files for so many
_FURTHER = 50  # that may wait for their 503; still further ones are cut off
_FILES = 8192  # to have open, if that is allowed: more than any burst of connections takes
_BACKLOG = 1024
_KEEP_ALIVE = 5  # seconds


class PatientProtocol(H11Protocol):
    """HTTP that disconnects clients which neither send nor receive."""

    patience = 20.0  # seconds
    most = _CONNECTIONS + _FURTHER
    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the head of a request, unless there are far too many connections."""
        super().connection_made(transport)
        self._wait()
        if len(self.connections) > self.most:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Go on waiting unless the head is complete."""
        super().data_received(data)
        self._cancel_if_busy()

    def on_response_complete(self) -> None:
        """Wait for the next request, or for the rest of a body that nobody has read."""
        super().on_response_complete()
        if self.cycle.response_complete:
            self._wait()

    def pause_writing(self) -> None:
        """Wait for the client to take some of the answer."""
        super().pause_writing()
        self._wait()

    def resume_writing(self) -> None:
        """Cancel the wait, unless it is for a request."""
        super().resume_writing()
        self._cancel_if_busy()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the wait."""
        super().connection_lost(exc)
        self._cancel()

    def _wait(self) -> None:
        self._cancel()
        self._waiting = self.loop.call_later(self.patience, self.transport.abort)

    def _cancel_if_busy(self) -> None:
        answering = self.cycle is not None and not self.cycle.response_complete
        if answering and not self.flow.write_paused:
            self._cancel()

    def _cancel(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()


class Server(uvicorn.Server):
    """Serves until `stop` says so, not by signals of its own; then lets running requests finish."""

    def __init__(self, app: FastAPI, options: ServerOptions, stop: Callable[[], bool]) -> None:
        connections = allowed_connections()
        limits = {"patience": options.patience, "most": connections + _FURTHER}
        patient = type("Protocol", (PatientProtocol,), limits)
        logging.getLogger("uvicorn").setLevel(logging.ERROR)
        config = uvicorn.Config(
            app,
            http=patient,
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=connections,
            backlog=connections,  # are accepted at once, before any is counted
            timeout_keep_alive=_KEEP_ALIVE,
            timeout_graceful_shutdown=int(options.deadline) + 1,
        )
        super().__init__(config)
        self._stop = stop
        self._service: Service = app.state.service

    async def on_tick(self, counter: int) -> bool:
        """Look whether to end."""
        if self._stop():
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End event streams first, which would never end."""
        self._service.ending = True
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `toonbox.parallel`."""
        yield


def allowed_connections() -> int:
    """Raise this process's limit of open files, and return for how many connections it is enough.

    Each takes two files while it downloads one.
    """
    if resource is None:
        return _CONNECTIONS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files, most = (
        _FILES if limit == resource.RLIM_INFINITY else min(limit, _FILES) for limit in (soft, hard)
    )
    if files < most:
        with contextlib.suppress(OSError, ValueError):  # the system has another limit
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            files = most
    return max(1, min(_CONNECTIONS, files // 2 - _FURTHER))


def listen(host: str, port: int) -> socket.socket:
    """Open the socket first, so that an error comes at once.

    Raises:
        UsageError: the address cannot be had.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except OSError as error:
        raise UsageError(f"cannot listen on {host}:{port}: {error.strerror}") from error
