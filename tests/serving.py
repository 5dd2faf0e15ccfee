"""A server for tests: real sockets on 127.0.0.1, in a thread of the test's own process."""

import http.client
import io
import json
import logging
import os
import socket
import threading
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from toonbox.serve.app import create_app
from toonbox.serve.server import Server, listen
from toonbox.serve.settings import ServerOptions

LOGS = [logging.getLogger(f"toonbox.serve.{name}") for name in ("app", "limits")]
LARGE = (2400, 1800)  # pixels: as a BMP more than the system takes for a client that does not read
PATIENCE = 120  # seconds; on a busy machine anything may take long


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self):
        return json.loads(self.body)

    @property
    def detail(self):
        """Why it was refused."""
        assert self.headers["Content-Type"] == "application/problem+json", self.body
        told = self.json()
        assert told["status"] == self.status
        return told["detail"]


@dataclass
class Client:
    port: int
    headers: dict[str, str] = field(default_factory=dict)

    def ask(self, method, path, body=None, **headers):
        """Ask once; `content_type=` becomes Content-Type."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, PATIENCE)) as connection:
            connection.request(method, path, body, {**self.headers, **named})
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())

    def get(self, path, **headers):
        return self.ask("GET", path, **headers)

    def post(self, path, body=b"", **headers):
        return self.ask("POST", path, body, **headers)

    def send_files(self, path, *files):
        """Post a form; `files` are (name, bytes)."""
        body, kind = form(*files)
        return self.post(path, body, content_type=kind)

    def wait_for_job(self, id, states=("done", "failed")):
        def ended():
            answer = self.get(f"/api/jobs/{id}")
            assert answer.status == 200, answer.body
            told = answer.json()
            return told if told["state"] in states else None

        return wait_until(ended)

    def raw(self, data=b"", timeout=PATIENCE):
        """Open a connection and send bytes that need not be HTTP."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout)
        connection.sendall(data)
        return connection


@dataclass
class Running(Client):
    app: object = None
    stopped: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None
    reported: list[Exception] = field(default_factory=list)

    @property
    def service(self):
        return self.app.state.service

    def wait_ready(self):
        token = {"Authorization": f"Bearer {self.service.options.token}"}
        wait_until(lambda: self.get("/ready", **token).status == 200)

    def note(self, record):
        """Keep the error of what the server logs."""
        self.reported.append(record.exc_info[1])
        return True

    def stop(self):
        for log in LOGS:
            log.removeFilter(self.note)
        self.stopped.set()
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()


def start(site=None, **options):
    """Start a server on a free port."""
    settings = ServerOptions(port=0, **options)
    listening = listen("127.0.0.1", 0)
    running = Running(listening.getsockname()[1])
    running.app = create_app(settings, site)
    for log in LOGS:
        log.addFilter(running.note)
    server = Server(running.app, settings, running.stopped.is_set)
    protocol = server.config.http
    patience, protocol.patience = protocol.patience, PATIENCE  # for questions whether it is ready

    def run():
        with listening:
            server.run([listening])

    running.thread = threading.Thread(target=run)
    running.thread.start()
    running.wait_ready()
    protocol.patience = patience
    return running


def answer_on(connection):
    """Read an answer from a connection of `Client.raw`."""
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    return Answer(answer.status, answer.headers, answer.read())


def noise(size):
    """The bytes of a JPEG photo of noise."""
    stream = io.BytesIO()
    Image.effect_noise(size, 100).save(stream, "JPEG", quality=30)
    return stream.getvalue()


@contextmanager
def slow_reader(server, data):
    """Send bytes over a connection that takes very little of the answer before it is read."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with connection:
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(data)
        yield connection


def wait_until(look):
    """Wait until `look` returns something, and return that."""
    until = time.monotonic() + PATIENCE
    while not (found := look()):
        assert time.monotonic() < until, "it never happened"
        time.sleep(0.02)
    return found


def files_below(folder):
    """List all files below a folder from which the server may remove some meanwhile."""
    return [Path(below, name) for below, _, names in os.walk(folder) for name in names]


def form(*files, field="file"):
    """Encode files, (name, bytes), as multipart/form-data: the body and its type."""
    boundary = "----toonbox"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n".encode()
        + data
        + b"\r\n"
        for name, data in files
    ]
    body = b"".join(parts) + f"--{boundary}--\r\n".encode()
    return body, f"multipart/form-data; boundary={boundary}"
