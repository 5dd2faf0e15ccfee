"""Pictures: bytes in, bytes out, and everything that is refused."""

import io
import threading

import numpy as np
import pytest
from PIL import Image

import toonbox
from serving import form, wait_until
from toonbox.engine import style
from toonbox.options import OutputOptions, StyleOptions, VideoOptions
from toonbox.serve import pictures


def opened(answer):
    return Image.open(io.BytesIO(answer.body))


@pytest.fixture
def blocked(monkeypatch):
    """Let nothing be drawn until the event is set; give it, and what has begun."""
    go, begun, convert = threading.Event(), [], pictures.Converter.convert

    def wait(self, *arguments):
        begun.append(arguments)
        assert go.wait(120)
        return convert(self, *arguments)

    monkeypatch.setattr(pictures.Converter, "convert", wait)
    yield go, begun
    go.set()


def test_bytes_in_bytes_out(serve, photo, style_folder):
    server = serve()
    answer = server.post("/api/cartoonize?strength=0.5&surface=1.5&format=png", photo)
    assert answer.status == 200, answer.body
    assert answer.headers["Content-Type"] == "image/png"
    assert answer.headers["Content-Disposition"].startswith(
        'attachment; filename="picture.toon.png"'
    )
    expected = toonbox.cartoonize_bytes(
        photo, style=style_folder, strength=0.5, surface=1.5, format="png"
    )
    np.testing.assert_array_equal(np.asarray(opened(answer)), Image.open(io.BytesIO(expected)))


def test_a_form_gives_the_name(serve, photo):
    server = serve()
    answer = server.send_files("/api/cartoonize", ("../Ça va/été 100%.jpg", photo))
    assert answer.status == 200, answer.body
    assert answer.headers["Content-Type"] == "image/jpeg"
    name = answer.headers["Content-Disposition"]
    assert name.endswith("filename*=UTF-8''%C3%A9t%C3%A9%20100%25.toon.jpg")
    name.encode("ascii")
    assert opened(answer).format == "JPEG"


@pytest.mark.parametrize("size", ["length", "chunked"])
def test_bodies_with_and_without_a_length(serve, photo, size):
    body = photo if size == "length" else iter([photo[:100], photo[100:]])
    assert serve().post("/api/cartoonize", body).status == 200


def test_every_option_is_offered_with_its_help(serve):
    spec = serve().get("/openapi.json").json()

    def parameters(path):
        listed = spec["paths"][path]["post"]["parameters"]
        return {each["name"]: each for each in listed if each["in"] == "query"}

    of_pictures, of_jobs = parameters("/api/cartoonize"), parameters("/api/jobs")
    kinds = {StyleOptions: (of_pictures, of_jobs), OutputOptions: (of_pictures, of_jobs)}
    for kind, places in {**kinds, VideoOptions: (of_jobs,)}.items():
        for name, field in kind.__dataclass_fields__.items():
            for place in places:
                if name not in ("resume", "keep_partial"):
                    assert place[name]["description"] == field.metadata["help"]
    assert of_pictures["strength"]["schema"]["maximum"] == 1
    assert of_pictures["metadata"]["schema"]["enum"] == ["keep", "strip", "no-gps"]
    assert not {"start", "resume", "host"} & {*of_pictures}


@pytest.mark.parametrize(
    ("query", "status", "detail"),
    [
        ("strength=2", 422, "strength: Input should be less than or equal to 1"),
        ("strength=nan", 422, "strength: Input should be a finite number"),
        ("resolution=big", 422, "resolution: Input should be 'native'"),
        ("resolution=0", 422, "resolution must be pixels or 'native'"),
        ("colour=red", 422, "colour: Extra inputs are not permitted"),
        ("texture=1", 422, "style tiny has no knob texture; its knobs: surface"),
        ("format=docx", 422, "cannot write docx"),
        ("format=jpeg&lossless=true", 422, "JPEG is never lossless"),
        ("style=gone", 422, "no style 'gone'; available: anime"),
        ("style=/etc", 422, "no style '/etc'"),
        ("max_memory=1000", 422, "of memory are too little"),
        ("max_pixels=10", 413, "is larger than the limit of 10 pixels"),
    ],
)
def test_refused_options(serve, photo, query, status, detail):
    answer = serve().post(f"/api/cartoonize?{query}", photo)
    assert (answer.status, detail in answer.detail) == (status, True), answer.body


def bomb():
    """A small file of 64 megapixels."""
    stream = io.BytesIO()
    Image.new("1", (8_000, 8_000)).save(stream, "PNG")
    return stream.getvalue()


def test_refused_bodies(serve, photo):
    server = serve()
    for body, status, detail in [
        (b"", 400, "there is no picture in the body"),
        (b"some text", 415, "picture: is text, not a picture"),
        (photo[: len(photo) // 2], 422, "picture: ends before the picture is complete"),
        (bomb(), 413, "is larger than the limit of 50,000,000 pixels"),
    ]:
        answer = server.post("/api/cartoonize", body)
        assert (answer.status, detail in answer.detail) == (status, True), answer.body
    # A client may lower the limit, not raise it.
    assert server.post("/api/cartoonize?max_pixels=1000000000", bomb()).status == 413


def test_refused_forms(serve, photo):
    server = serve()
    two, kind = form(("a.jpg", photo), ("b.jpg", photo))
    other, _ = form(("a.jpg", photo), field="picture")
    no_name = two.replace(b'name="file"; ', b"")
    for body, content_type, status, detail in [
        (two, kind, 413, "more than 1 files"),
        (other, kind, 400, "files in a form must be named 'file'"),
        (no_name, kind, 400, "files in a form must be named 'file'"),
        (two[:300], kind, 400, "the form ends before it is complete"),
        (b"nonsense", kind, 400, "the form is damaged"),
        (two, "multipart/form-data", 400, "the form has no boundary"),
        (b"------toonbox--\r\n", kind, 400, ""),
    ]:
        answer = server.post("/api/cartoonize", body, content_type=content_type)
        assert (answer.status, detail in answer.detail) == (status, True), answer.body


def test_every_style_by_its_name(serve, photo, tiny_style, style_folder):
    tiny_style("other", seed=7, to=style_folder.parent)
    (style_folder.parent / "broken").mkdir()
    (style_folder.parent / "broken" / "card.toml").write_text("?")
    server = serve()
    styles = server.get("/api/styles").json()
    assert styles[0] == {
        **{"name": "tiny", "description": "A tiny seeded network", "knobs": ["surface"]},
        **{"resolution": 64, "detail": 0, "multiple": 8, "reach": 126, "beyond": 4},
    }
    names = [style["name"] for style in styles]
    assert {"comic", "other"} < {*names}
    assert "broken" not in names
    answer = server.post("/api/cartoonize?style=other", photo)
    other = toonbox.cartoonize_bytes(photo, style=style_folder.parent / "other")
    assert answer.body == other


def test_a_damaged_style_is_the_servers_error(serve, photo, tiny_style, style_folder):
    (tiny_style("bad", to=style_folder.parent) / "style.onnx").write_bytes(b"?")
    server = serve()
    answer = server.post("/api/cartoonize?style=bad", photo)
    assert (answer.status, "damaged" in answer.detail) == (500, True)
    assert "damaged" in str(server.reported.pop())


def test_unexpected_errors_are_answered_and_reported(serve, photo, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError("oh")

    server = serve()
    monkeypatch.setattr(pictures.Converter, "estimate", fail)
    answer = server.post("/api/cartoonize", photo)
    assert (answer.status, answer.detail) == (500, "unexpected error; the server's log says more")
    assert isinstance(server.reported.pop(), ZeroDivisionError)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert b'toonbox_errors_total{status="500"} 1.0' in server.get("/metrics").body


def test_a_full_queue_says_when_to_come_again(serve, photo, blocked):
    go, begun = blocked
    server = serve(workers=1, queue=2)
    answers = []

    def ask():
        answers.append(server.post("/api/cartoonize", photo))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    wait_until(lambda: server.service.pictures._taken == 3 and begun)
    full = server.post("/api/cartoonize", photo)
    assert (full.status, full.detail) == (429, "too many pictures are waiting")
    assert int(full.headers["Retry-After"]) >= 1
    assert b"toonbox_in_progress 3.0" in server.get("/metrics").body
    assert server.get("/health").status == 200
    go.set()
    for thread in threads:
        thread.join()
    assert [answer.status for answer in answers] == [200] * 3
    assert len({answer.body for answer in answers}) == 1
    text = server.get("/metrics").body.decode()
    assert "toonbox_in_progress 0.0" in text
    assert "toonbox_queue_seconds_count 3.0" in text
    assert 'toonbox_processing_seconds_count{style="tiny"} 3.0' in text
    assert 'toonbox_errors_total{status="429"} 1.0' in text


def test_the_deadline(serve, photo, blocked):
    go, begun = blocked
    server = serve(workers=1, queue=0, deadline=2)
    answer = server.post("/api/cartoonize", photo)
    assert (answer.status, answer.detail) == (504, "took longer than 2 seconds")
    # What is still being drawn keeps its place.
    assert server.post("/api/cartoonize", photo).status == 429
    go.set()
    wait_until(lambda: server.service.pictures._taken == 0)
    assert len(begun) == 1


def animation():
    """A GIF of five frames, all different."""
    stream = io.BytesIO()
    frames = [Image.new("RGB", (64, 48), (50 * n, 0, 0)) for n in range(5)]
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:])
    return stream.getvalue()


@pytest.mark.parametrize(
    ("strength", "drawn"),
    [(0, 1), (1, 0)],  # without the network, one frame is drawn until somebody looks
)
def test_what_nobody_waits_for_is_not_finished(serve, blocked, monkeypatch, strength, drawn):
    go, begun = blocked
    server = serve(workers=1, queue=0, deadline=2)
    done, blend = [], style.blended
    monkeypatch.setattr(style, "blended", lambda *given: done.append(1) or blend(*given))
    answer = server.post(f"/api/cartoonize?strength={strength}", animation())
    assert (answer.status, len(begun)) == (504, 1)
    go.set()
    wait_until(lambda: server.service.pictures._taken == 0)
    assert len(done) == drawn


def test_who_waits_and_goes_is_forgotten(serve, photo, blocked):
    go, begun = blocked
    server = serve(workers=1, queue=5)
    first = threading.Thread(target=server.post, args=("/api/cartoonize", photo))
    first.start()
    wait_until(lambda: begun)
    head = (
        f"POST /api/cartoonize HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(photo)}\r\n\r\n"
    )
    with server.raw(head.encode() + photo):
        wait_until(lambda: server.service.pictures._taken == 2)
    wait_until(lambda: server.service.pictures._taken == 1)
    go.set()
    first.join()
    wait_until(lambda: server.service.pictures._taken == 0)
    assert len(begun) == 1
    assert b'toonbox_errors_total{status="499"} 1.0' in server.get("/metrics").body


def test_pictures_wait_for_memory(serve, photo, monkeypatch):
    """Two pictures that need all there is are drawn one after the other by two workers."""
    server = serve(workers=2)
    budget, at_once, most = server.service.budget, 0, 0
    lock, convert = threading.Lock(), pictures.Converter.convert

    def counted(self, *arguments):
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        try:
            return convert(self, *arguments)
        finally:
            with lock:
                at_once -= 1

    monkeypatch.setattr(pictures.Converter, "convert", counted)
    estimate = pictures.Converter.estimate

    def all_there_is(self, job):
        estimate(self, job)
        return pictures.Need(budget.drawing_limit // 2 + 1)

    monkeypatch.setattr(pictures.Converter, "estimate", all_there_is)
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(server.post("/api/cartoonize", photo)))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status for answer in answers] == [200] * 6
    assert most == 1
    wait_until(lambda: budget._bodies == 0)


def test_no_room_for_more_bodies(serve, photo):
    server = serve()
    server.service.budget._bodies_limit = len(photo) - 1
    answer = server.post("/api/cartoonize", photo)
    assert (answer.status, answer.detail) == (503, "no memory for more requests")
    wait_until(lambda: server.service.budget._bodies == 0)
