"""What clients do by mistake and on purpose: the server answers, lives on, and keeps nothing."""

import errno
import resource
import selectors
import socket
import time
from contextlib import contextmanager

import pytest

from serving import LARGE, PATIENCE, answer_on, files_below, form, noise, slow_reader, wait_until
from toonbox.serve import app

HEAD = "POST /api/cartoonize HTTP/1.1\r\nHost: localhost\r\n"


def read_all(connection):
    """Read until the other side closes; whether it does so in a civil way does not matter."""
    found = b""
    try:
        while more := connection.recv(1 << 16):
            found += more
    except ConnectionError:
        pass
    return found


def is_cut_off(connection, piece):
    """Send a little again and again until that is no longer possible."""
    until = time.monotonic() + PATIENCE
    try:
        while time.monotonic() < until:
            connection.sendall(piece)
            time.sleep(0.05)
    except ConnectionError:
        return True
    return False


def taken(server):
    return server.service.pictures._taken


def test_four_hundred_at_once(serve, photo):
    """A few are drawn, the rest are told to come again; nobody is left without an answer."""
    server = serve(workers=1, queue=16)
    request = f"{HEAD}Content-Length: {len(photo)}\r\nConnection: close\r\n\r\n".encode() + photo
    answers, selector = {}, selectors.DefaultSelector()
    for _ in range(400):
        connection = server.raw(request)
        connection.setblocking(False)
        answers[connection] = b""
        selector.register(connection, selectors.EVENT_READ)
    until = time.monotonic() + PATIENCE
    while selector.get_map():
        assert time.monotonic() < until
        for key, _ in selector.select(1):
            more = key.fileobj.recv(1 << 16)
            answers[key.fileobj] += more
            if not more:
                selector.unregister(key.fileobj)
                key.fileobj.close()
    statuses = [int(answer.split(b" ", 2)[1]) for answer in answers.values()]
    assert {*statuses} == {200, 429}
    assert statuses.count(200) >= 17
    busy = next(answer for answer in answers.values() if b" 429 " in answer)
    assert b"retry-after: " in busy.lower()
    assert server.post("/api/cartoonize", photo).status == 200


@pytest.mark.parametrize("begin", ["", "GET /health HTTP/1.1\r\nHost: lo"])
def test_who_never_asks_is_cut_off(serve, begin):
    server = serve(patience=0.3)
    with server.raw(begin.encode()) as connection:
        assert read_all(connection) == b""


def test_who_asks_by_the_letter_is_cut_off(serve):
    server = serve(patience=0.5)
    with server.raw() as connection:
        assert is_cut_off(connection, b"x")


def test_a_connection_lives_on_between_requests(serve):
    server = serve(patience=20)
    with server.raw() as connection:
        for _ in range(3):
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert answer_on(connection).json()["status"] == "ok"


@pytest.mark.parametrize("path", ["/api/cartoonize", "/api/jobs"])
@pytest.mark.parametrize("stated", ["length", "chunked"])
def test_a_body_that_does_not_go_on(serve, photo, path, stated, spool):
    body, kind = form(("a.jpg", photo))
    server = serve(patience=0.7)
    if stated == "length":
        sent, size = body[:500], f"Content-Length: {len(body)}"
    else:
        sent, size = b"1f4\r\n" + body[:500] + b"\r\n", "Transfer-Encoding: chunked"
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n{size}\r\n\r\n"
    with server.raw(head.encode() + sent) as connection:
        answer = answer_on(connection)
    assert (answer.status, answer.detail) == (408, "the body comes too slowly")
    wait_until(lambda: taken(server) == 0 and not server.service.jobs._jobs)
    assert server.service.budget._bodies == 0


def test_a_body_that_stops_after_a_quick_start(serve, spool):
    """What came quickly is no allowance for a long silence."""
    server = serve(patience=1)
    body, kind = form(("a.jpg", bytes(4 << 20)))  # 256 seconds of the least rate
    head = f"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n"
    with server.raw(head.encode() + body[:-1]) as connection:
        answer = answer_on(connection)
    assert (answer.status, answer.detail) == (408, "the body comes too slowly")


def test_a_picture_that_comes_slower_than_its_deadline(serve, photo):
    server = serve(deadline=0.3)
    with server.raw(
        f"{HEAD}Content-Length: {len(photo)}\r\n\r\n".encode() + photo[:9]
    ) as connection:
        answer = answer_on(connection)
    assert (answer.status, answer.detail) == (408, "the picture comes too slowly")


@pytest.mark.parametrize("path", ["/api/cartoonize", "/api/jobs", "/api/styles", "/health"])
def test_a_huge_length_is_refused_at_once(serve, path):
    """Not one byte of the body is sent, or waited for."""
    server = serve()
    _, kind = form()
    method = "POST" if path in ("/api/cartoonize", "/api/jobs") else "GET"
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
    with server.raw(f"{head}Content-Length: {1 << 50}\r\n\r\n".encode()) as connection:
        answer = answer_on(connection)
    if method == "POST":
        assert (answer.status, answer.detail[:15]) == (413, "a body may have")
    else:
        assert answer.status == 200  # nobody wants that body


@pytest.mark.parametrize("stated", ["length", "chunked"])
@pytest.mark.parametrize("kind", ["bare", "form"])
def test_bodies_above_the_limit(serve, photo, stated, kind, spool):
    server = serve(max_body=500)
    body, content_type = form(("a.jpg", photo))
    body = body if kind == "form" else photo
    headers = {"content_type": content_type} if kind == "form" else {}
    parts = iter([body[:450], body[450:]]) if stated == "chunked" else body
    answer = server.post("/api/cartoonize", parts, **headers)
    assert (answer.status, answer.detail) == (413, "a body may have at most 500 bytes")
    assert server.post("/api/cartoonize", b"x" * 500).status == 415


def test_a_length_that_lies(serve, photo):
    """What comes beyond the stated length is no request; what is missing is never drawn."""
    server = serve()
    short = f"{HEAD}Content-Length: 10\r\n\r\n".encode() + photo
    with server.raw(short) as connection:
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 4")
    assert b" 200 " not in answer
    with server.raw(
        f"{HEAD}Content-Length: {len(photo) + 1}\r\n\r\n".encode() + photo
    ) as connection:
        connection.shutdown(socket.SHUT_WR)
        read_all(connection)
    wait_until(lambda: taken(server) == 0)
    for wrong in ("-1", "1e3", "0x10", "10, 11"):
        with server.raw(f"{HEAD}Content-Length: {wrong}\r\n\r\n".encode()) as connection:
            assert read_all(connection).startswith(b"HTTP/1.1 400")
    assert server.get("/health").status == 200


def test_what_is_left_of_a_refused_body_is_not_read_for_ever(serve):
    server = serve(patience=1, max_body=1000)
    with server.raw(f"{HEAD}Content-Length: {1 << 40}\r\n\r\n".encode()) as connection:
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 413")
        assert is_cut_off(connection, b"x" * 1000)


def test_forms_of_many_parts_or_huge_heads(serve, spool):
    server = serve()
    many, kind = form(*((f"{n}.jpg", b"") for n in range(20_000)))
    for path in ("/api/cartoonize", "/api/jobs"):
        assert "files" in server.post(path, many, content_type=kind).detail
    part = '--{0}\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n'
    for head in ("X-Long: " + "x" * 1_000_000, *["\r\n".join(f"X-{n}: x" for n in range(10_000))]):
        body = (part.format("----toonbox") + head + "\r\n\r\nx\r\n------toonbox--\r\n").encode()
        for path in ("/api/cartoonize", "/api/jobs"):
            answer = server.post(path, body, content_type=kind)
            assert (answer.status, "the form is damaged" in answer.detail) == (400, True)
    long_boundary = f"multipart/form-data; boundary={'x' * 5000}"
    assert server.post("/api/jobs", b"", content_type=long_boundary).status == 400
    assert files_below(spool) == []


def test_huge_heads_of_requests(serve):
    server = serve()
    with server.raw(
        b"GET /" + b"x" * 200_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
    ) as connection:
        assert read_all(connection)[:12] in (b"HTTP/1.1 400", b"")
    assert server.get("/health").status == 200


@pytest.mark.usefixtures("isolated_here")
def test_names_with_folders_stay_in_theirs(serve, photo, spool):
    server = serve()
    names = ["../../../up.jpg", "..", "C:\\x\\win.jpg", "a\0b.jpg", "\u202egpj.exe.jpg", "x" * 999]
    body = b"".join(form((name, photo))[0].removesuffix(b"------toonbox--\r\n") for name in names)
    answer = server.post("/api/jobs", body + b"------toonbox--\r\n", content_type=form()[1])
    assert answer.status == 202, answer.body
    told = server.wait_for_job(answer.json()["id"])
    assert told["state"] == "done", told
    assert all("/" not in each["name"] for each in told["failures"])
    assert {*spool.parent.iterdir()} == {spool}


def test_uploads_that_are_broken_off(serve, photo, spool):
    server = serve()
    body, kind = form(("a.jpg", photo))
    for path in ("/api/cartoonize", "/api/jobs"):
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
        head += f"Content-Length: {len(body)}\r\n\r\n"
        with server.raw(head.encode() + body[: len(body) // 2]):
            wait_until(lambda: taken(server) or server.service.jobs._jobs)
        wait_until(lambda: taken(server) == 0 and not server.service.jobs._jobs)
    wait_until(lambda: files_below(spool) == [])
    assert server.service.budget._bodies == server.service.jobs._disk == 0


def test_a_full_disk_while_uploading(serve, photo, spool, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    server = serve()
    monkeypatch.setattr(app, "_append", full)
    answer = server.send_files("/api/jobs", ("a.jpg", photo))
    assert (answer.status, answer.detail) == (507, "No space left on device")
    assert files_below(spool) == []
    assert server.post("/api/cartoonize", photo).status == 200  # needs no disk


def test_a_full_disk_while_converting(serve, photo, tmp_path):
    """A limit on the size of files, which the job's process inherits, does the same."""
    server = serve()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(photo) + 10, before[1]))
    try:
        answer = server.send_files("/api/jobs?format=bmp", ("a.jpg", photo))
        told = server.wait_for_job(answer.json()["id"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (told["state"], told["message"]) == (
        "failed",
        "a.toon.bmp cannot be written: File too large",
    )


@contextmanager
def untaken(server):
    """Ask for a large answer without reading it; give its pixels once it is drawn."""
    body = noise(LARGE)
    head = f"{HEAD.replace(' HTTP', '?format=bmp HTTP')}Content-Length: {len(body)}\r\n\r\n"
    with slow_reader(server, head.encode() + body):
        wait_until(lambda: b"toonbox_processing_seconds_count" in server.get("/metrics").body)
        yield LARGE[0] * LARGE[1]


def test_who_does_not_take_the_answer(serve):
    """A large answer to a client that does not read is dropped after a while."""
    server = serve(patience=2)
    with untaken(server):
        wait_until(lambda: taken(server) == server.service.budget._bodies == 0)


def test_who_takes_the_answer_slowly_blocks_nobody(serve, photo):
    """What is drawn has no place in the queue any more; its bytes are still counted."""
    server = serve(patience=PATIENCE, workers=1, queue=0)
    with untaken(server) as pixels:
        wait_until(lambda: taken(server) == 0)
        assert server.post("/api/cartoonize", photo).status == 200
        assert server.service.budget._bodies > pixels
    wait_until(lambda: server.service.budget._bodies == 0)
