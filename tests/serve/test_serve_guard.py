"""Who may ask: names of this machine, pages of its own, the token; and what every answer says."""

import io

import pytest
from PIL import Image

from toonbox.serve.limits import Guard
from toonbox.serve.settings import ServerOptions, is_loopback


def test_every_answer_has_the_headers(serve, photo):
    server = serve()
    for answer in (
        server.get("/health"),
        server.get("/nowhere"),
        server.post("/api/cartoonize", photo),
    ):
        assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Access-Control-Allow-Origin"] is None
    assert answer.headers["Cache-Control"] == "no-store"


def test_head_answers_as_get_does(serve):
    server = serve()
    answer = server.ask("HEAD", "/health")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Content-Length"] == server.get("/health").headers["Content-Length"]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:8000", 200),
        ("127.0.0.1", 200),
        ("[::1]:99", 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example:80", 403),
        ("10.0.0.1", 403),
        ("[::1", 403),
        ("", 403),
    ],
)
def test_names_that_lead_here(serve, host, status):
    """A page of another site whose name leads here all of a sudden (DNS rebinding) is refused."""
    answer = serve().get("/api/styles", Host=host)
    assert answer.status == status
    if status == 403:
        assert "--names" in answer.detail


def test_more_names(serve):
    server = serve(names="toons.example, other.example")
    assert server.get("/health", Host="Toons.Example:8000").status == 200
    assert server.get("/health", Host="other.example").status == 200
    assert server.get("/health", Host="evil.example").status == 403


def test_two_hosts_or_none(serve):
    server = serve()
    for hosts in (b"Host: localhost\r\nHost: evil.example\r\n", b""):
        with server.raw(b"GET /health HTTP/1.1\r\n" + hosts + b"\r\n") as connection:
            assert connection.recv(100).startswith(b"HTTP/1.1 400")
    with server.raw(b"GET /health HTTP/1.0\r\n\r\n") as connection:
        assert connection.recv(100).startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1:{port}", 200),
        ("http://localhost:{port}", 403),
        ("http://127.0.0.1:1", 403),
        ("https://evil.example", 403),
        ("null", 403),
        ("http://[", 403),
    ],
)
def test_pages_of_other_sites(serve, photo, origin, status):
    server = serve()
    origin = origin.format(port=server.port)
    answer = server.post("/api/cartoonize", photo, Origin=origin)
    assert answer.status == status
    assert answer.headers["Access-Control-Allow-Origin"] is None


def test_an_error_of_the_guard_is_answered(serve, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError

    server = serve()
    monkeypatch.setattr(Guard, "_is_known", fail)
    answer = server.get("/health")
    assert (answer.status, answer.detail) == (500, "unexpected error; the server's log says more")
    assert isinstance(server.reported.pop(), ZeroDivisionError)


def test_the_token(serve, photo):
    server = serve(token="secret")
    assert server.get("/health").status == 200
    for path in ("/api/styles", "/metrics", "/openapi.json", "/", "/?token=wrong", "/nowhere"):
        answer = server.get(path)
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    for value in ("Bearer wrong", "Basic secret", "secret", "Bearer", "Bearer sécret"):
        assert server.get("/api/styles", Authorization=value).status == 401
    assert server.get("/api/styles", Cookie="toonbox-token=wrong").status == 401
    assert server.get("/api/styles", Cookie="a=b; toonbox-token=secret").status == 200
    answer = server.post("/api/cartoonize", photo, Authorization="Bearer secret")
    assert Image.open(io.BytesIO(answer.body)).format == "JPEG"


def test_an_empty_token_is_none():
    """Not one that everybody sends who sends nothing."""
    assert Guard(print, ServerOptions(token=""), print).token is None


def test_the_printed_address_gives_a_cookie(serve):
    server = serve(token="secret")
    answer = server.get("/?token=secret")
    assert (answer.status, answer.headers["Location"]) == (307, ".")
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("toonbox-token=secret;")
    assert "httponly" in cookie.lower()
    assert "samesite=strict" in cookie.lower()
    assert server.get("/api/styles", Cookie=cookie.partition(";")[0]).status == 200
    assert server.get("//evil.example/?token=secret").status == 401  # leads nowhere


def test_the_site(serve, tmp_path):
    (tmp_path / "app.mjs").write_text("export {}")
    site = {
        "index.html": b"<!doctype html>",
        "app.mjs": tmp_path / "app.mjs",
        "vendor/ort.wasm": b"\0asm",
        "models/comic.onnx": b"\x08",
    }
    server = serve(site=site)
    for path, kind, body in [
        ("/", "text/html; charset=utf-8", b"<!doctype html>"),
        ("/app.mjs", "text/javascript; charset=utf-8", b"export {}"),
        ("/vendor/ort.wasm", "application/wasm", b"\0asm"),
        ("/models/comic.onnx", "application/octet-stream", b"\x08"),
    ]:
        answer = server.get(path)
        assert (answer.status, answer.headers["Content-Type"], answer.body) == (200, kind, body)
    for path in ("/../conftest.py", "/%2e%2e/app.mjs", "/vendor", "/app.mjs/", "//etc/passwd"):
        assert server.get(path).status == 404
    assert server.get("/api/styles").json()[0]["name"] == "tiny"


def test_without_a_page(serve):
    answer = serve().get("/")
    assert (answer.status, answer.json()["status"]) == (404, 404)


def test_loopback():
    assert all(map(is_loopback, ("localhost", "127.9.9.9", "::1")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "a.example", "10.0.0.1", "")))
